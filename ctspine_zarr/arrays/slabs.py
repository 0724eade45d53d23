"""What a first read asks for together with a shard's index: slabs of chunks that the catalog tells of.

The catalog's word is used to ask, never to read: which bytes are which chunk the index alone says.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ctspine_zarr.arrays.indexing import Request, chunks_along
from ctspine_zarr.arrays.reading import ArraySpec
from ctspine_zarr.format.layout import grid
from ctspine_zarr.format.shard import unpacked_slabs
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Merging, Span


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of a shard that are there already.

    Attributes:
        parts: of each, where it starts and the bytes.
    """

    parts: Sequence[tuple[int, memoryview]] = ()

    def get(self, span: Span) -> memoryview | None:
        """The bytes from start to stop; None where they are not all here."""
        start, stop = span
        for first, data in self.parts:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        return None


def beside_index(array: ArraySpec, chunk: Shape, requests: Sequence[Request], merging: Merging) -> list[Span]:
    """The slabs that requests lie in, neighbours as one; none where the index is better known first.

    That is so where the catalog does not tell of slabs, and where they hold much more than is wanted.

    Args:
        array: as the catalog has it.
        chunk: (z, y, x) voxels of a chunk.
        requests: what is wanted.
        merging: what is worth how much in this place.
    """
    if not (array.slabs and requests):
        return []
    sizes = unpacked_slabs(array.slabs)
    edges = list(itertools.accumulate(sizes, initial=0))
    in_slab = math.prod(grid(array.shape, chunk)[1:])
    touched = _touched(requests, chunk)
    unwanted = sum(sizes[z] * max(0, 1 - chunks / in_slab) for z, chunks in touched.items())
    spans = list(_joined([(edges[z], edges[z + 1]) for z in sorted(touched)], merging.gap))
    total = sum(stop - start for start, stop in spans)
    return spans if unwanted <= merging.surplus and total <= merging.longest else []


def _touched(requests: Sequence[Request], chunk: Shape) -> Counter[int]:
    """Slab -> chunks that are wanted of it; of requests that overlap too many, not too few."""
    touched: Counter[int] = Counter()
    for request in requests:
        along_z, along_y, along_x = (
            chunks_along(positions, edge) for positions, edge in zip(request.ranges, chunk, strict=True)
        )
        for z in along_z:
            touched[z] += len(along_y) * len(along_x)
    return touched


def _joined(spans: Sequence[Span], gap: int) -> Iterator[Span]:
    """Spans in order, as one where no more than `gap` lies between."""
    start, stop = spans[0]
    for following, end in spans[1:]:
        if following - stop > gap:
            yield start, stop
            start = following
        stop = end
    yield start, stop
