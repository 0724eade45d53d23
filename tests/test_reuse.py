"""Memory of samples and answers: given again, and how much is kept; `test_pages` has what builds share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctspine_zarr as cz
from ctspine_zarr.memory.reuse import _idle, received, reused

UINT8 = np.dtype(np.uint8)
SHAPE = (3, 1 << 20)


def address(data: bytes | memoryview) -> int:
    return np.frombuffer(data, np.uint8).ctypes.data


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    _idle.clear()


def test_memory_serves_again_for_as_many_bytes() -> None:
    place = reused(SHAPE, UINT8).ctypes.data
    assert reused([SHAPE[1] // 2, 3], np.dtype("int16")).ctypes.data == place
    array = reused(SHAPE, UINT8)
    assert array.ctypes.data == place
    assert array.flags.writeable
    assert reused(SHAPE, UINT8).ctypes.data != place


@given(st.lists(st.integers(1, 40), max_size=30))
def test_as_much_is_kept_as_is_in_use_or_32_mib(sizes: list[int]) -> None:
    arrays = [reused([size << 20], UINT8) for size in sizes]
    while arrays:
        arrays.pop()
        in_use = sum(array.nbytes for array in arrays)
        assert kept() <= max(in_use, 32 << 20)
        if in_use + kept() < sum(sizes) << 20:
            assert kept() > max(in_use, 32 << 20) - (40 << 20), "no more is let go than has to be"


def kept() -> int:
    return sum(map(len, _idle))


@given(
    st.integers(0, 600_000),
    st.lists(st.integers(0, 600_000), max_size=5),
    st.integers(0, 300_000),
    st.booleans(),
)
def test_an_answer_is_its_parts_in_one_piece(
    size: int, edges: list[int], unsent: int, as_views: bool
) -> None:
    data = np.random.default_rng(size).bytes(size)
    edges = sorted(min(edge, size) for edge in edges)
    parts = [data[start:stop] for start, stop in pairwise([0, *edges, size])]
    found = received(map(memoryview, parts) if as_views else parts, size + unsent)
    assert bytes(found) == data


def test_answers_of_other_lengths_come_in_the_same_memory() -> None:
    place = address(received([bytes(700_000)], 700_000))
    answer = received([b"a" * 900_000], 900_000)
    assert address(answer) == place
    others = [received([b"b" * 900_000], 900_000) for _ in range(3)]
    assert bytes(answer) == b"a" * 900_000
    assert len({address(one) for one in [answer, *others]}) == 4


def test_what_an_answer_only_announces_takes_no_memory() -> None:
    def parts() -> Iterator[bytes]:
        before = resident()
        yield b"1"
        assert resident() - before < 4 << 20

    assert bytes(received(parts(), 16 << 20)) == b"1"


def resident() -> int:
    """Bytes of this process that are in memory."""
    return psutil.Process().memory_info().rss


def test_samples_that_are_kept_stay_as_they_are(phantom_store: cz.Store) -> None:
    stream = cz.Stream(phantom_store, cz.Slices(window=(-1000, 1000)))
    pairs = [(sample["image"], sample["image"].copy()) for _ in range(2) for sample in stream]
    assert all(np.array_equal(kept, copy) for kept, copy in pairs)


def test_memory_is_not_kept_once_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor over a sample, held by a script to its end, outlives what modules have."""
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    for size in range(4):
        reused([(1 << 20) + size], UINT8)
    assert _idle == []
