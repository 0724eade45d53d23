"""Which chunks a read touches, and which bytes it asks for: as one looks at each chunk alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctspine_zarr.arrays.indexing import Ranges, Request, touched_chunks, touched_numbers
from ctspine_zarr.arrays.runs import runs, spans
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Merging

type Extents = list[tuple[int, int]]

SHAPE: Shape = (20, 31, 17)


@st.composite
def extents(draw: st.DrawFn) -> Extents:
    """Where chunks lie, ascending, some of them without a gap; chunks between are not wanted."""
    found, at = [], draw(st.integers(0, 50))
    for gap, size in draw(st.lists(st.tuples(st.sampled_from([0, 0, 1, 7, 40]), st.integers(1, 30)))):
        found.append((at + gap, at + gap + size))
        at += gap + size
    return found


mergings = st.builds(
    Merging,
    gap=st.integers(0, 50),
    longest=st.integers(1, 200),
    waste=st.floats(1, 4),
    small_bytes=st.just(0),
    at_once=st.booleans(),
)


def without_gaps(found: Extents, longest: int) -> list[Extents]:
    """Chunk by chunk: one joins the run before where it touches it, and both have at most `longest` bytes."""
    together: list[Extents] = []
    for start, stop in found:
        if together and together[-1][-1][1] == start and stop - together[-1][0][0] <= longest:
            together[-1].append((start, stop))
        else:
            together.append([(start, stop)])
    return together


def read_as_one(found: Extents, merging: Merging) -> list[Extents]:
    """Run by run: one joins what is before where neither gap, length nor waste is too much."""
    together: list[Extents] = []
    for run in without_gaps(found, merging.longest):
        whole = [*together[-1], *run] if together else run
        total = whole[-1][1] - whole[0][0]
        wanted = sum(stop - start for start, stop in whole)
        if (
            together
            and run[0][0] - together[-1][-1][1] <= merging.gap
            and total <= min(merging.longest, merging.waste * wanted)
        ):
            together[-1] += run
        else:
            together.append(run)
    return together


@given(extents(), mergings)
def test_chunks_are_merged_as_one_by_one(found: Extents, merging: Merging) -> None:
    starts, stops = np.array(found, np.int64).reshape(-1, 2).T
    expected = read_as_one(found, merging)
    assert [found[first:last] for first, last in runs(starts, stops, merging)] == expected
    assert spans(starts, stops, merging) == [(run[0][0], run[-1][1]) for run in expected]


@given(extents(), mergings, st.data())
def test_absent_chunks_are_in_no_span(found: Extents, merging: Merging, data: st.DataObject) -> None:
    starts, stops = np.array(found, np.int64).reshape(-1, 2).T
    places = data.draw(st.lists(st.integers(0, len(found)), unique=True))
    at = [found[place][0] if place < len(found) else 10_000 for place in places]
    begins, ends = (np.insert(bounds, places, at) for bounds in (starts, stops))
    assert spans(begins, ends, merging) == spans(starts, stops, merging)


@st.composite
def ranges(draw: st.DrawFn) -> Ranges:
    along = []
    for size in SHAPE:
        start, stop = draw(st.integers(0, size)), draw(st.integers(0, size))
        along.append(range(start, stop, draw(st.integers(1, 9))))
    z, y, x = along
    return z, y, x


@given(st.lists(ranges(), max_size=4), st.tuples(*[st.integers(1, 9)] * 3))
def test_the_numbers_of_touched_chunks_are_those_that_have_a_part(wanted: list[Ranges], chunk: Shape) -> None:
    requests = [Request(one, np.empty([len(axis) for axis in one])) for one in wanted]
    assert touched_numbers(requests, SHAPE, chunk).tolist() == sorted(touched_chunks(requests, SHAPE, chunk))
