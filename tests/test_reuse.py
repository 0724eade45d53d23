"""Memory of samples: given again, and how much of it is kept; `test_pages` has what builds share."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctspine_zarr as cz
from ctspine_zarr.read.reuse import _idle, reused

UINT8 = np.dtype(np.uint8)
SHAPE = (3, 1 << 20)


def test_memory_serves_again_for_as_many_bytes() -> None:
    _idle.clear()
    address = reused(SHAPE, UINT8).ctypes.data
    assert reused([SHAPE[1] // 2, 3], np.dtype("int16")).ctypes.data == address
    array = reused(SHAPE, UINT8)
    assert array.ctypes.data == address
    assert array.flags.writeable
    assert reused(SHAPE, UINT8).ctypes.data != address


@given(st.lists(st.integers(1, 40), max_size=30))
def test_at_most_32_mib_are_kept(sizes: list[int]) -> None:
    arrays = [reused([size << 20], UINT8) for size in sizes]
    while arrays:
        arrays.pop()
        assert sum(map(len, _idle)) <= 32 << 20


def test_samples_that_are_kept_stay_as_they_are(phantom_store: cz.Store) -> None:
    stream = cz.Stream(phantom_store, cz.Slices(window=(-1000, 1000)))
    pairs = [(sample["image"], sample["image"].copy()) for _ in range(2) for sample in stream]
    assert all(np.array_equal(kept, copy) for kept, copy in pairs)


def test_memory_is_not_kept_once_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor over a sample, held by a script to its end, outlives what modules have."""
    _idle.clear()
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    for size in range(4):
        reused([(1 << 20) + size], UINT8)
    assert _idle == []
