"""Boxes of a case's arrays into arrays of the caller's: padded, converted, each chunk decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import fill_with
from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.threads import share_out
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.read.regions import Region
from ctspine_zarr.read.sample import require_fill
from ctspine_zarr.scaling import Scaling


@dataclass(frozen=True, slots=True)
class Filling:
    """One array of a case, and where its voxels go.

    Attributes:
        voxels: the array.
        targets: (z, y, x), one for each region.
        padding: of what lies beyond the volume, as a stored value.
        scaling: of the values, for targets of floats.
    """

    voxels: Voxels
    targets: Iterable[NDArray[Any]]
    padding: float
    scaling: Scaling | None = None

    def requests(self, regions: Sequence[Region]) -> list[Request]:
        """What has to be read; what needs no reading is written to the targets now.

        Raises:
            UnknownValue: a padding that the array's dtype does not hold.
        """
        require_fill(self.padding, self.voxels.dtype)
        requests = []
        for region, target in zip(regions, self.targets, strict=True):
            for margin in region.margins:
                fill_with(target[margin], self.padding, self.voxels.dtype, self.scaling)
            requests.append(Request(region.inside, target[region.target]))
        return requests


def fill(regions: Sequence[Region], fillings: Sequence[Filling], *, at_once: bool) -> None:
    """Fill the targets; all arrays are under way together where a request is a round trip (`at_once`).

    Raises: as `Voxels.fill` and `Filling.requests`.
    """
    reads = [(one, one.requests(regions)) for one in fillings]
    share_out(_fill_each, reads, len(reads) if at_once else 1)


def _fill_each(reads: Iterator[tuple[Filling, list[Request]]]) -> None:
    for filling, requests in reads:
        filling.voxels.fill(requests, filling.scaling)
