"""Memory that comes and goes in few sizes: that of samples, and of what comes over a net.

It is kept, as it is, for the next of as many bytes: for new memory the system clears pages, which takes
a tenth of a stream's time, and more than the receiving of an answer's bytes itself.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.memory.pages import lent, new_pages

# Below that many bytes the allocator itself uses memory again.
_LEAST: Final = 1 << 17
# Between passes a loader's worker keeps no more of samples; of batches see `shared`.
_LEAST_KEPT: Final = 1 << 25
# Of an answer, in bytes: what a larger one announces is not believed before it comes.
_MOST_RECEIVED: Final = 1 << 24


def reused(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of any values, C-contiguous; of those let go last as many bytes are kept as are in use, and
    32 MiB at least.

    Raises:
        MemoryError: there is not so much.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _LEAST:
        return np.empty(shape, dtype)
    memory = _kept(size) or new_pages(size)
    _used[id(memory)] = size
    return lent(memory, _keep, shape, dtype)


def received(parts: Iterable[bytes | memoryview], most: int) -> bytes | memoryview:
    """Bytes that come in parts, in one piece, in memory that is used again.

    Args:
        parts: each is let go once it was copied.
        most: bytes that they have together at most.
    """
    if not _LEAST < most <= _MOST_RECEIVED:
        return b"".join(parts)
    # Of few sizes, so that one that is kept fits; memory that nothing comes for is never touched.
    piece = memoryview(reused([1 << (most - 1).bit_length()], np.dtype(np.uint8)))
    stop = 0
    for part in parts:
        start, stop = stop, stop + len(part)
        piece[start:stop] = part
    return piece[:stop]


# Without a lock, which a collector's call could meet in the thread that has it: each step is one operation.
_idle: Final[list[mmap.mmap]] = []
_used: Final[dict[int, int]] = {}


def _keep(memory: mmap.mmap) -> None:
    """Keep it for the next array; what exceeds the bound is the system's again, the oldest first."""
    _used.pop(id(memory), None)
    most = max(_LEAST_KEPT, sum(tuple(_used.values())))
    if len(memory) <= most:
        _idle.append(memory)
    with suppress(IndexError):  # another thread has taken what was there
        while sum(map(len, tuple(_idle))) > most:
            _idle.pop(0)


def _kept(size: int) -> mmap.mmap | None:
    for memory in tuple(_idle):
        if len(memory) == size:
            with suppress(ValueError):  # another thread has it
                _idle.remove(memory)
                return memory
    return None
