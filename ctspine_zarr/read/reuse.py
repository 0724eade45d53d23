"""Memory of arrays that come and go in few sizes, as those of samples do.

It is kept, as it is, for the next array of as many bytes: for new memory the system clears pages, which
takes a tenth of a stream's time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.pages import new_pages

# Below that many bytes the allocator itself uses memory again.
_LEAST: Final = 1 << 17
_MOST_KEPT: Final = 1 << 25


def reused(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of any values, C-contiguous; of those let go last, up to 32 MiB are kept.

    Raises:
        MemoryError: there is not so much.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _LEAST:
        return np.empty(shape, dtype)
    return np.frombuffer(_kept(size) or _Memory(size), dtype).reshape(shape)


class _Memory:
    """Memory that is one array's at a time, and the system's again as soon as it is not kept."""

    def __init__(self, size: int) -> None:
        self.bytes = new_pages(size)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self.bytes)

    def __release_buffer__(self, view: memoryview) -> None:
        view.release()
        if len(self.bytes) <= _MOST_KEPT:
            _idle.append(self)
        with suppress(IndexError):  # another thread has taken what was there
            while sum(len(memory.bytes) for memory in tuple(_idle)) > _MOST_KEPT:
                _idle.popleft()


# Without a lock, which a collector's call could meet in the thread that has it: each step is one operation.
_idle: Final[deque[_Memory]] = deque()


def _kept(size: int) -> _Memory | None:
    for memory in tuple(_idle):
        if len(memory.bytes) == size:
            with suppress(ValueError):  # another thread has it
                _idle.remove(memory)
                return memory
    return None
