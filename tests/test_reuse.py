"""Memory of samples: given again, and how much of it is kept; `test_pages` has what builds share."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
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


def test_what_is_held_to_the_end_of_a_script_is_let_go_without_a_word() -> None:
    """As a tensor over it is, which outlives the modules."""
    script = "import builtins, numpy; from ctspine_zarr.read.reuse import reused; {}"
    held = "builtins.held = reused([1 << 20], numpy.dtype('uint8'))"
    done = subprocess.run(
        [sys.executable, "-c", script.format(held)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
