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
# Of an answer, in bytes: what a larger one announces is not believed before it comes.
_MOST_RECEIVED: Final = 1 << 24


class Kept:
    """Memory that was let go and waits for the next array of as many bytes.

    Args:
        most: bytes that are kept; what exceeds them is the system's again, the oldest first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Without a lock, which a collector's call could meet in the thread that has it: each step is one
        # operation.
        self._idle: list[mmap.mmap] = []

    @property
    def bytes(self) -> int:
        """How many are kept."""
        return sum(map(len, tuple(self._idle)))

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of any values, C-contiguous.

        Raises:
            MemoryError: there is not so much.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < _LEAST:
            return np.empty(shape, dtype)
        return lent(self._taken(size) or new_pages(size), self._keep, shape, dtype)

    def clear(self) -> None:
        """Keep nothing."""
        self._idle.clear()

    def _keep(self, memory: mmap.mmap) -> None:
        if len(memory) <= self._most:
            self._idle.append(memory)
        with suppress(IndexError):  # another thread has taken what was there
            while self.bytes > self._most:
                self._idle.pop(0)

    def _taken(self, size: int) -> mmap.mmap | None:
        for memory in tuple(self._idle):
            if len(memory) == size:
                with suppress(ValueError):  # another thread has it
                    self._idle.remove(memory)
                    return memory
        return None


# Of samples, which a loader's workers hold between passes, and of answers, which are many at once.
_SAMPLES: Final = Kept(1 << 25)
_ANSWERS: Final = Kept(1 << 26)


def reused(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of any values, C-contiguous; of those let go last, up to 32 MiB are kept.

    Raises:
        MemoryError: there is not so much.
    """
    return _SAMPLES.array(shape, dtype)


def received(parts: Iterable[bytes | memoryview], most: int) -> bytes | memoryview:
    """Bytes that come in parts, in one piece; up to 64 MiB of memory are kept for the next ones.

    Args:
        parts: each is let go once it was copied.
        most: bytes that they have together at most.
    """
    if not _LEAST < most <= _MOST_RECEIVED:
        return b"".join(parts)
    # Of few sizes, so that one that is kept fits; memory that nothing comes for is never touched.
    piece = memoryview(_ANSWERS.array([1 << (most - 1).bit_length()], np.dtype(np.uint8)))
    stop = 0
    for part in parts:
        start, stop = stop, stop + len(part)
        piece[start:stop] = part
    return piece[:stop]
