"""Memory for large arrays, which is not the allocator's.

That keeps what is freed for the thread that asked for it, and each thread of a build would keep its own.
What is let go here is the next array's: for new memory the system clears pages, a twelfth of a build.
Until then the system may take it back where it needs it (`MADV_FREE`).
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CAN_KEEP: Final = hasattr(mmap, "MADV_FREE") and hasattr(mmap, "MADV_DONTNEED")

# Without a lock, which a collector's call could meet in the thread that has it: each step is one operation.
_idle: Final[list[mmap.mmap]] = []


def pages(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of any values, C-contiguous, of one voxel or more.

    Raises:
        MemoryError: there is not so much.
    """
    size = math.prod(shape) * dtype.itemsize
    return lent(_kept(size) or new_pages(size), _free, shape, dtype)


def zeros(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of zeros, C-contiguous, of one number or more, few parts of which will be written to: the
    others take no memory.

    Raises:
        MemoryError: there is not so much.
    """
    memory = new_pages(math.prod(shape) * dtype.itemsize, "MADV_NOHUGEPAGE")
    return np.frombuffer(memory, dtype).reshape(shape)


def lent(
    memory: mmap.mmap,
    let_go: Callable[[mmap.mmap], None],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    start: int = 0,
) -> NDArray[Any]:
    """An array in memory that has room for it, C-contiguous.

    Args:
        memory: that no other array has.
        let_go: called with it once neither the array nor a view of it is left, in any thread.
        shape, dtype: of the array.
        start: the byte of the memory that it begins with.
    """
    return np.frombuffer(_Lent(memory, let_go), dtype, math.prod(shape), start).reshape(shape)


class _Lent:
    """Memory that one array has, and what is done with it afterwards."""

    def __init__(self, memory: mmap.mmap, let_go: Callable[[mmap.mmap], None]) -> None:
        self._memory, self._let_go = memory, let_go
        # Kept here, for at the interpreter's end modules have lost what they had.
        self._is_ending = sys.is_finalizing

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self._memory)

    def __release_buffer__(self, view: memoryview) -> None:
        view.release()
        if not self._is_ending():
            self._let_go(self._memory)


def _free(memory: mmap.mmap) -> None:
    if _CAN_KEEP:
        with suppress(OSError):  # where the system does without
            memory.madvise(mmap.MADV_FREE)
            _idle.append(memory)


def _kept(size: int) -> mmap.mmap | None:
    """The least idle memory that has so many bytes, without its other pages.

    Where there is none, what is idle goes: with what comes instead, more would be in use than ever was.
    """
    for memory in sorted(_idle, key=len):
        with suppress(ValueError):  # another thread has it
            if len(memory) >= size:
                _idle.remove(memory)
                rest = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
                if rest < len(memory):
                    memory.madvise(mmap.MADV_DONTNEED, rest)
                return memory
    _idle.clear()
    return None


def _mapped(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Memory that is shared, as it is by default, has pages of 4 KiB, of a file system's.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def new_pages(size: int, advice: str = "MADV_HUGEPAGE") -> mmap.mmap:
    """Memory of zeros, with an advice about its pages where the system takes it.

    Raises:
        MemoryError: there is not so much.
    """
    try:
        memory = _mapped(size)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError from error
    if hasattr(mmap, advice):
        with suppress(OSError):  # where the system does without
            memory.madvise(getattr(mmap, advice))
    return memory
