"""Memory for large arrays: given, let go and given again."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctspine_zarr.memory.pages import pages, zeros
from ctspine_zarr.memory.reuse import reused

UINT8 = np.dtype(np.uint8)
SHAPE = (4, 1 << 18)

type Give = Callable[[Sequence[int], np.dtype[Any]], NDArray[Any]]


@pytest.fixture(params=[pages, reused])
def give(request: pytest.FixtureRequest) -> Give:
    """What gives memory: of builds, of samples."""
    found: Give = request.param
    return found


def filled(give: Give, number: int) -> None:
    """Have memory, and see that nobody else writes to it."""
    for _ in range(100):
        array = give(SHAPE, UINT8)
        array[...] = number
        assert (array == number).all()


def test_arrays_that_live_at_once_share_no_memory(give: Give) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(filled, [give] * 8, range(8)))


def test_memory_that_a_view_still_has_is_not_given_again(give: Give) -> None:
    view = give(SHAPE, UINT8)[1:3, ::2]
    view[...] = 7
    gc.collect()
    others = [give(SHAPE, UINT8) for _ in range(4)]
    for other in others:
        other[...] = 9
    assert (view == 7).all()
    buffer = memoryview(others.pop()[2])
    gc.collect()
    give(SHAPE, UINT8)[...] = 1
    assert buffer.tobytes() == bytes([9]) * SHAPE[1]


def test_numbers_that_begin_at_zero_do_so_after_other_arrays() -> None:
    pages([SHAPE[1]], UINT8)[...] = 5
    assert not zeros([SHAPE[1] // 8], np.dtype(np.int64)).any()


def test_more_than_there_is_is_an_error() -> None:
    with pytest.raises(MemoryError):
        pages([2**62, 8], UINT8)
