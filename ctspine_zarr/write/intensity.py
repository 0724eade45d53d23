"""Statistics of an image's HU, padding apart. Pure arithmetic."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec.structs import asdict
from numpy.typing import NDArray

from ctspine_zarr.format.record import Intensity, Padding
from ctspine_zarr.write.distribution import Distribution, collectors, figures

LEAST_MEASURED: Final = -1024
"""HU below which neither a body nor the air around it lies: a 12-bit scanner's least value."""

_PADDING_SHARE: Final = 1000


class IntensityMeter:
    """Exact figures of an image's HU, from its slabs.

    Memory: 5 MB for integers that span fewer than 2**16 values; for all others a copy of the image.
    """

    def __init__(self, dtype: np.dtype[Any], low: float, high: float) -> None:
        """Of an image of a dtype, all voxels of which lie from `low` to `high`."""
        self._values = collectors(dtype, low, high)()

    def add(self, slab: NDArray[Any]) -> None:
        """Take in slices, C-contiguous; it may run on any thread, one call at a time."""
        self._values.add(slab.reshape(-1))

    def result(self) -> Intensity:
        """Of all slabs, one or more; to be called once."""
        every = self._values.result()
        padding = _padding(every)
        is_part = padding is not None and padding.voxels < every.size
        shown = figures(every.above_least() if is_part else every)
        return Intensity(min=every.at(0), max=every.at(every.size - 1), padding=padding, **asdict(shown))


def _padding(every: Distribution) -> Padding | None:
    """The least value, where it is below air's and at least one voxel in 1,000 has it."""
    least, voxels = every.at(0), every.least_count
    if least >= LEAST_MEASURED or voxels * _PADDING_SHARE < every.size:
        return None
    return Padding(least, voxels)
