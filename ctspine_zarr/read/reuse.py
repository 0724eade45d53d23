"""Memory of arrays that come and go in few sizes, as those of samples do.

It is kept, as it is, for the next array of as many bytes: for new memory the system clears pages, which
takes a tenth of a stream's time.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.pages import lent, new_pages

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
    return lent(_kept(size) or new_pages(size), _keep, shape, dtype)


# Without a lock, which a collector's call could meet in the thread that has it: each step is one operation.
_idle: Final[list[mmap.mmap]] = []


def _keep(memory: mmap.mmap) -> None:
    """Keep it for the next array; what exceeds the bound is the system's again, the oldest first."""
    if len(memory) <= _MOST_KEPT:
        _idle.append(memory)
    with suppress(IndexError):  # another thread has taken what was there
        while sum(map(len, tuple(_idle))) > _MOST_KEPT:
            _idle.pop(0)


def _kept(size: int) -> mmap.mmap | None:
    for memory in tuple(_idle):
        if len(memory) == size:
            with suppress(ValueError):  # another thread has it
                _idle.remove(memory)
                return memory
    return None
