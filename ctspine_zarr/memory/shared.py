"""Memory that a process fills for another one, and fills again once that has let go of it.

New shared memory for each batch costs a loader's worker more than reading its samples: the system clears
its pages, and the other process has to map and to free them. Here both keep a slot mapped.

A slot is a file without a name, as long as its data and a page more, whose first byte says whether the data
are in use: the sender sets it when it sends them, the receiver clears it once no array is left.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import reduction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.memory.pages import lent

# Bytes of slots that a sender keeps.
_MOST: Final = 1 << 29

_DATA: Final = mmap.PAGESIZE
_FREE, _USED = 0, 1


class Slot:
    """Memory of the process that fills it.

    Args:
        size: bytes of data.

    Raises:
        OSError: the system has no more files.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._file = os.memfd_create("ctspine-zarr")
        self._close = weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, _DATA + size)
        self._memory = mmap.mmap(self._file, _DATA + size)
        self._is_known = False
        self._sent: Callable[[], Sent | None] = lambda: None

    @property
    def is_free(self) -> bool:
        """Whether no array in it is on its way, or there."""
        return self._sent() is None and self._memory[0] == _FREE

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of any values in its first bytes, C-contiguous."""
        return np.frombuffer(self._memory, dtype, math.prod(shape), _DATA).reshape(shape)

    def sent(self, sent: Sent) -> Sent:
        """That on its way which makes it used for as long as it is there itself, or what comes of it."""
        self._sent = weakref.ref(sent)
        return sent

    def go(self) -> Any:
        """Make it used until the receiver has let go; its file, the first time, and then None."""
        self._memory[0] = _USED
        if self._is_known:
            return None
        self._is_known = True
        return reduction.DupFd(self._file)

    def close(self) -> None:
        """Give its memory up."""
        self._memory.close()
        self._close()


@dataclass(frozen=True, eq=False, weakref_slot=True, slots=True)
class Sent:
    """An array on its way: unpickling gives it, where the receiver is, once.

    Attributes:
        receiver: its name.
        number: of the slot, among all that the receiver gets.
        slot: that has the array at its beginning.
        shape, dtype: of the array.
    """

    receiver: str
    number: tuple[int, int]
    slot: Slot
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __reduce__(self) -> tuple[Callable[..., NDArray[Any]], tuple[Any, ...]]:
        return _received, (self.receiver, self.number, self.slot.go(), self.shape, self.dtype)


class Sender:
    """The slots of this process, for a receiver in another one.

    Args:
        receiver: its name.
        most: bytes that they have together at most.
    """

    def __init__(self, receiver: str, most: int = _MOST) -> None:
        self._receiver = receiver
        self._most = most
        self._slots: list[Slot] = []

    def stacked(self, arrays: Sequence[NDArray[Any]]) -> Sent | None:
        """Arrays of one shape and dtype as one that has a new first axis; None where no memory is left for
        it, since the receiver has let go of too little.

        Raises:
            OSError: the system has no memory.
        """
        shape, dtype = (len(arrays), *arrays[0].shape), arrays[0].dtype
        number = self._free(math.prod(shape) * dtype.itemsize)
        if number is None:
            return None
        slot = self._slots[number]
        np.stack(arrays, out=slot.array(shape, dtype))
        return slot.sent(Sent(self._receiver, (os.getpid(), number), slot, shape, dtype))

    def _free(self, size: int) -> int | None:
        """The number of a free slot of so many bytes or more, the smallest, or else of a new one."""
        free = sorted((slot.size, number) for number, slot in enumerate(self._slots) if slot.is_free)
        fitting = [number for found, number in free if found >= size]
        if fitting:
            return fitting[0]
        rest = self._most - sum(slot.size for slot in self._slots)
        if size <= rest:
            self._slots.append(Slot(size))
            return len(self._slots) - 1
        # The largest of those that are too small gives way, for the least that is cleared anew.
        if free and size <= rest + free[-1][0]:
            _, number = free[-1]
            self._slots[number].close()
            self._slots[number] = Slot(size)
            return number
        return None


class Receiver:
    """What senders in other processes fill: it keeps their slots mapped for as long as it lives."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._slots: dict[tuple[int, int], mmap.mmap] = {}
        _receivers[self.name] = self

    def array(
        self, number: tuple[int, int], introduction: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """The array that a slot has; its memory is this process's until no view of it is left."""
        if introduction is not None:
            file = introduction.detach()
            try:
                self._slots[number] = mmap.mmap(file, 0)
            finally:
                os.close(file)
        return lent(self._slots[number], partial(_let_go, _forks[0]), shape, dtype, _DATA)


_receivers: Final[weakref.WeakValueDictionary[str, Receiver]] = weakref.WeakValueDictionary()


@cache
def can_share() -> bool:
    """Whether the system has files without a name."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        Slot(mmap.PAGESIZE).close()
    except OSError:
        return False
    return True


def _received(receiver: str, *of_array: Any) -> NDArray[Any]:
    return _receivers[receiver].array(*of_array)


def _let_go(forks: int, memory: mmap.mmap) -> None:
    """Free a slot, unless a process was forked meanwhile, which may read it for as long as it lives."""
    if forks == _forks[0]:
        memory[0] = _FREE


def _count_fork() -> None:
    _forks[0] += 1


_forks: Final = [0]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_count_fork, after_in_child=_count_fork)
