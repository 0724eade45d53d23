"""Memory of samples: given, let go and given again."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import ctspine_zarr as cz
from ctspine_zarr.read.reuse import _idle, reused

UINT8 = np.dtype(np.uint8)
SHAPE = (3, 1 << 20)


def filled(number: int) -> None:
    """Have memory, and see that nobody else writes to it."""
    for _ in range(100):
        array = reused(SHAPE, UINT8)
        array[...] = number
        assert (array == number).all()


def test_arrays_that_live_at_once_share_no_memory() -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(filled, range(8)))


def test_memory_that_a_view_still_has_is_not_given_again() -> None:
    view = reused(SHAPE, UINT8)[1:3, ::2]
    view[...] = 7
    gc.collect()
    others = [reused(SHAPE, UINT8) for _ in range(4)]
    for other in others:
        other[...] = 9
    assert (view == 7).all()
    buffer = memoryview(others.pop()[2])
    gc.collect()
    reused(SHAPE, UINT8)[...] = 1
    assert buffer.tobytes() == bytes([9]) * SHAPE[1]


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
        assert sum(len(memory.bytes) for memory in _idle) <= 32 << 20


def test_samples_that_are_kept_stay_as_they_are(phantom_store: cz.Store) -> None:
    stream = cz.SliceStream(phantom_store, window=(-1000, 1000))
    pairs = [(sample["image"], sample["image"].copy()) for _ in range(2) for sample in stream]
    assert all(np.array_equal(kept, copy) for kept, copy in pairs)
