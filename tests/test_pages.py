"""Memory for large arrays: given, let go and given again."""

from __future__ import annotations

import gc
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ctspine_zarr.pages import pages, zeros

UINT8 = np.dtype(np.uint8)
SIZE = 3 * mmap.PAGESIZE


def filled(number: int) -> None:
    """Have memory, and see that nobody else writes to it."""
    for _ in range(50):
        array = pages([2, SIZE], UINT8)
        array[...] = number
        assert (array == number).all()


def test_arrays_that_live_at_once_share_no_memory() -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(filled, range(8)))


def test_memory_that_a_view_still_has_is_not_given_again() -> None:
    view = pages([4, SIZE], UINT8)[1:3, ::2]
    view[...] = 7
    gc.collect()
    others = [pages([4, SIZE], UINT8) for _ in range(4)]
    for other in others:
        other[...] = 9
    assert (view == 7).all()
    buffer = memoryview(others.pop()[2])
    gc.collect()
    pages([4, SIZE], UINT8)[...] = 1
    assert buffer.tobytes() == bytes([9]) * SIZE


def test_numbers_that_begin_at_zero_do_so_after_other_arrays() -> None:
    pages([SIZE], UINT8)[...] = 5
    assert not zeros([SIZE // 8], np.dtype(np.int64)).any()


def test_more_than_there_is_is_an_error() -> None:
    with pytest.raises(MemoryError):
        pages([2**62, 8], UINT8)
