"""The targets of a read, by the chunks that fill them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ctspine_zarr.arrays.conversion import convert, fill_with
from ctspine_zarr.arrays.indexing import Parts, Request, touched_chunks
from ctspine_zarr.format.codecs import Chunk
from ctspine_zarr.geometry import Shape
from ctspine_zarr.scaling import Scaling


@dataclass(frozen=True)
class Targets:
    """What each chunk that is touched has to fill, and in which form.

    Attributes:
        parts: of each chunk, by its number in C order.
        dtype: as stored.
        scaling: of the values, where they are scaled.
    """

    parts: Parts
    dtype: np.dtype[Any]
    scaling: Scaling | None

    @classmethod
    def of(
        cls,
        requests: Sequence[Request],
        shape: Shape,
        chunk: Shape,
        dtype: np.dtype[Any],
        scaling: Scaling | None,
    ) -> Self:
        """The targets of requests to an array of that shape and dtype, cut in such chunks."""
        return cls(touched_chunks(requests, shape, chunk), dtype, scaling)

    def only(self, numbers: Iterable[int]) -> Self:
        """Those of these chunks alone."""
        return replace(self, parts={number: self.parts[number] for number in numbers})

    def fill(self, number: int, chunk: Chunk) -> None:
        """Write what is wanted of a chunk."""
        for box, target in self.parts[number]:
            if self.scaling is None and target.dtype == self.dtype:
                chunk.copy_to(target, box)
            else:
                voxels = np.empty(target.shape, self.dtype)
                chunk.copy_to(voxels, box)
                convert(voxels, target, self.scaling)

    def fill_empty(self, number: int) -> None:
        """Write what is wanted of a chunk that is absent."""
        for _, target in self.parts[number]:
            fill_with(target, 0, self.dtype, self.scaling)
