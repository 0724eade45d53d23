"""Reads by the native kernel: what it is told of an array, and of what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.arrays.conversion import by_kernel, plain
from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.reading import ArraySpec
from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.layout import grid
from ctspine_zarr.scaling import Scaling
from ctspine_zarr.storage import Merging

type Extent = tuple[int, int, int]
"""A chunk's number, and where its bytes start and stop."""

_CODECS: Final = frozenset({"blosc-zstd", "zstd", "predict"})


@dataclass(frozen=True)
class NativeRead:
    """One read of a shard by the kernel, in which each chunk is decoded once.

    Attributes:
        kernel: that does it.
        shard, wanted: as it takes them.
    """

    kernel: native.Kernel
    shard: native.Shard
    wanted: native.Wanted

    @classmethod
    def of(
        cls,
        array: ArraySpec,
        codec: Codec,
        bounds: NDArray[np.int64],
        requests: Sequence[Request],
        scaling: Scaling | None,
    ) -> Self | None:
        """A read; None where the kernel is not there, or cannot do it.

        Args:
            array: as the catalog has it.
            codec: of its chunks.
            bounds: of its chunks, as `decode_index` gives them.
            requests: what is wanted.
            scaling: of the values, where they are scaled.
        """
        kernel, dtype = native.kernel, array.dtype
        is_able = codec.name in _CODECS and all(
            by_kernel(dtype, request.target.dtype, scaling) for request in requests
        )
        if kernel is None or not is_able:
            return None
        shard = (bounds, grid(array.shape, codec.chunk), codec.chunk, dtype.name, codec.name)
        targets = [(request.target, _positions(request)) for request in requests]
        return cls(kernel, shard, (targets, plain(scaling)))

    def from_file(self, file: tuple[int, int], merging: Merging, threads: int) -> list[int]:
        """Read all; the numbers of the chunks that could not be decoded, ascending.

        Args:
            file: descriptor and size of the shard.
            merging: what is read as one.
            threads: at most so many are used.
        """
        return self.kernel.read_file(file, self.shard, self.wanted, (merging.gap, merging.longest), threads)

    def from_memory(
        self, parts: Sequence[tuple[int, memoryview]], numbers: Sequence[int], threads: int
    ) -> list[int]:
        """Read what these chunks have of it; the numbers of those that could not be decoded, ascending.

        Args:
            parts: of the shard: where each begins, and its bytes; ascending.
            numbers: of the chunks, ascending; those that are absent lie in no part.
            threads: at most so many are used.
        """
        readable = [(start, data.toreadonly()) for start, data in parts]
        return self.kernel.read_parts(readable, numbers, self.shard, self.wanted, threads)


def _positions(request: Request) -> tuple[native.Positions, native.Positions, native.Positions]:
    z, y, x = ((axis.start, axis.step, len(axis)) for axis in request.ranges)
    return z, y, x
