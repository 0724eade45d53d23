"""Runs: chunks of a shard that are read as one range of bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.storage import Merging, Span

type Run = tuple[int, int]
"""The place of its first chunk in a list, and one past that of its last."""


def spans(starts: NDArray[np.int64], stops: NDArray[np.int64], merging: Merging) -> list[Span]:
    """The ranges of bytes that chunks are read as; see `runs`. A chunk may be absent, and have none."""
    is_there = starts != stops
    starts, stops = starts[is_there], stops[is_there]
    return [(int(starts[first]), int(stops[last - 1])) for first, last in runs(starts, stops, merging)]


def runs(starts: NDArray[np.int64], stops: NDArray[np.int64], merging: Merging) -> list[Run]:
    """Chunks in runs that are each read as one range; none where there are no chunks.

    Args:
        starts, stops: where the bytes of each chunk lie, which has some; ascending.
        merging: which ranges are better read as one.
    """
    if not len(starts):
        return []
    begins, ends = starts.tolist(), stops.tolist()
    found: list[Run] = []
    first = wanted = 0
    for place, after in pairwise(_edges(starts, stops, merging.longest)):
        size = ends[after - 1] - begins[place]
        gap, total = begins[place] - ends[place - 1], ends[after - 1] - begins[first]
        if place > first and not _is_one(gap, total, wanted + size, merging):
            found.append((first, place))
            first, wanted = place, 0
        wanted += size
    return [*found, (first, len(begins))]


def _is_one(gap: int, total: int, wanted: int, merging: Merging) -> bool:
    """Whether two runs with a gap between them are better read as one range of so many bytes."""
    return gap <= merging.gap and total <= merging.longest and total <= merging.waste * wanted


def _edges(starts: NDArray[np.int64], stops: NDArray[np.int64], longest: int) -> Sequence[int]:
    """The places where runs without a gap, of at most `longest` bytes, begin, and the last one's end."""
    breaks = (np.flatnonzero(starts[1:] != stops[:-1]) + 1).tolist()
    edges = [0]
    for before, after in pairwise([0, *breaks, len(starts)]):
        edges.extend(_pieces(starts, stops, before, after, longest))
    return edges


def _pieces(
    starts: NDArray[np.int64], stops: NDArray[np.int64], first: int, last: int, longest: int
) -> Iterator[int]:
    """The ends of the parts of at most `longest` bytes of a run without a gap; one chunk may have more."""
    while first < last:
        fits = int(np.searchsorted(stops[first:last], starts[first] + longest, "right"))
        first += max(fits, 1)
        yield first
