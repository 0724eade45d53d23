"""Memory that a process fills for another one, and fills again once that has let go of it.

New shared memory for each batch costs a loader's worker more than reading its samples: the system clears
its pages, and the other process has to map and to free them. Here both keep a slot mapped.

A slot is a file without a name: a page whose first byte says whether its data are in use, then the data. The
sender sets the byte as it pickles them, the receiver clears it once no array of them is left; whether the
sender itself has any, weak references tell.
"""

from __future__ import annotations

import math
import mmap
import os
import secrets
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import reduction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.concurrency.identity import exists
from ctspine_zarr.memory.pages import lent

CAN_SHARE: Final = hasattr(os, "memfd_create")
"""Whether the system has files without a name."""

# Bytes of the slots of a sender, and how many there are: each is three files, two of them its own.
_MOST: Final = 1 << 29
_MOST_SLOTS: Final = 64

_DATA: Final = mmap.PAGESIZE
_FREE, _USED, _LOST = 0, 1, 2


class Slot:
    """Memory of the process that fills it.

    Args:
        size: bytes of data.

    Raises:
        OSError: the system gives no file.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._file = os.memfd_create("ctspine-zarr")
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, _DATA + size)
        self._memory = mmap.mmap(self._file, _DATA + size)
        self._is_known = False
        self._held: list[Callable[[], object]] = []

    @property
    def is_free(self) -> bool:
        """Whether nobody has its data: no array here, none on its way, none at the receiver."""
        # In that order: another thread may send it between the two.
        return all(held() is None for held in self._held) and self._memory[0] == _FREE

    @property
    def is_lost(self) -> bool:
        """Whether a process may have its data for ever."""
        return self._memory[0] == _LOST

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of any values in its first bytes, C-contiguous; it is used while there is a view of it."""
        array = np.frombuffer(self._memory, dtype, math.prod(shape), _DATA)
        self.hold(array)
        return array.reshape(shape)

    def hold(self, held: Sent | NDArray[Any]) -> None:
        """Keep it in use while this object lives, besides those named before."""
        self._held = [*(one for one in self._held if one() is not None), weakref.ref(held)]

    def send(self) -> Any:
        """Mark it in use by the receiver; gives its file the first time, then None."""
        self._memory[0] = _USED
        if self._is_known:
            return None
        self._is_known = True
        return reduction.DupFd(self._file)


@dataclass(frozen=True, eq=False, weakref_slot=True, slots=True)
class Sent:
    """An array on its way: unpickling gives it, where the receiver is, once.

    Attributes:
        receiver: its name.
        number: of the slot, among all that the receiver gets.
        slot: whose data begin with the array.
        shape, dtype: of the array.
    """

    receiver: str
    number: tuple[int, int]
    slot: Slot
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __reduce__(self) -> tuple[Callable[..., NDArray[Any]], tuple[Any, ...]]:
        return _received, (self.receiver, self.number, self.slot.send(), self.shape, self.dtype)


class Stack:
    """An array whose rows are arrays of one shape, filled one by one.

    Attributes:
        array: all of it, C-contiguous, the first axis that of the rows.
    """

    def __init__(self, receiver: str, number: int, slot: Slot, array: NDArray[Any]) -> None:
        self.array = array
        self._receiver, self._number, self._slot = receiver, number, slot
        self._given = 0

    def next(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """The next row; None where there is none, or it is of another shape or dtype."""
        is_alike = (self.array.shape[1:], self.array.dtype) == (tuple(shape), dtype)
        if not is_alike or self._given == len(self.array):
            return None
        self._given += 1
        row: NDArray[Any] = self.array[self._given - 1]
        return row

    def are(self, arrays: Sequence[NDArray[Any]]) -> bool:
        """Whether these are the first rows, in order, whatever their shapes."""
        step = self.array.strides[0]
        first = self.array.__array_interface__["data"][0]
        return len(arrays) <= len(self.array) and all(
            one.__array_interface__["data"][0] == first + row * step
            and (one.nbytes, one.dtype) == (step, self.array.dtype)
            and one.flags.c_contiguous
            for row, one in enumerate(arrays)
        )

    def sent(self, shape: tuple[int, ...]) -> Sent:
        """The first rows on their way, once.

        Args:
            shape: of the array that they are received as.
        """
        sent = Sent(self._receiver, (os.getpid(), self._number), self._slot, shape, self.array.dtype)
        self._slot.hold(sent)
        return sent


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

    def stack(self, count: int, shape: Sequence[int], dtype: np.dtype[Any]) -> Stack | None:
        """Memory for so many arrays; None where the receiver has let go of too little, or the system gives
        no file.
        """
        try:
            number = self._free(count * math.prod(shape) * dtype.itemsize)
        except OSError:
            return None
        if number is None:
            return None
        slot = self._slots[number]
        return Stack(self._receiver, number, slot, slot.array((count, *shape), dtype))

    def stacked(self, arrays: Sequence[NDArray[Any]]) -> Sent | None:
        """Copies of arrays of one shape and dtype, on their way as one with a new first axis; see `stack`."""
        stack = self.stack(len(arrays), arrays[0].shape, arrays[0].dtype)
        if stack is None:
            return None
        np.stack(arrays, out=stack.array)
        return stack.sent(stack.array.shape)

    def _free(self, size: int) -> int | None:
        """The number of a free slot of so many bytes or more, the smallest, or else of a new one."""
        self._give_up_lost()
        free = sorted((slot.size, number) for number, slot in enumerate(self._slots) if slot.is_free)
        fitting = [number for found, number in free if found >= size]
        if fitting:
            return fitting[0]
        rest = self._most - sum(slot.size for slot in self._slots)
        if size <= rest and len(self._slots) < _MOST_SLOTS:
            self._slots.append(Slot(size))
            return len(self._slots) - 1
        # The largest of those that are too small gives way, for the least that is cleared anew.
        if free and size <= rest + free[-1][0]:
            _, number = free[-1]
            self._slots[number] = Slot(size)
            return number
        return None

    def _give_up_lost(self) -> None:
        for number, slot in enumerate(self._slots):
            if slot.is_lost:
                self._slots[number] = Slot(slot.size)


class Receiver:
    """What senders in other processes fill: it keeps their slots mapped for as long as it lives. A copy in
    this process is the same one, and one in another process another of the same name.

    Args:
        name: by which senders know it; by default a new one.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or secrets.token_hex(8)
        self._slots: dict[tuple[int, int], mmap.mmap] = {}
        _receivers[self.name] = self

    def __reduce__(self) -> tuple[Callable[[str], Receiver], tuple[str]]:
        return _receiver, (self.name,)

    def array(
        self, number: tuple[int, int], introduction: Any, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """The array that a slot has; its memory is this process's until no view of it is left."""
        if introduction is not None:
            file = introduction.detach()
            # Of processes that have ended nothing more comes.
            self._slots = {one: kept for one, kept in self._slots.items() if exists(one[0])}
            try:
                self._slots[number] = mmap.mmap(file, 0)
            finally:
                os.close(file)
        era = object() if _forking else _era[0]
        return lent(self._slots[number], partial(_let_go, era), shape, dtype, _DATA)


_receivers: Final[weakref.WeakValueDictionary[str, Receiver]] = weakref.WeakValueDictionary()


def _receiver(name: str) -> Receiver:
    return _receivers.get(name) or Receiver(name)


def _received(receiver: str, *of_array: Any) -> NDArray[Any]:
    return _receivers[receiver].array(*of_array)


def _let_go(era: object, memory: mmap.mmap) -> None:
    """Free a slot, or give it up where a process was forked meanwhile: that may read it while it lives."""
    memory[0] = _FREE if era is _era[0] and not _forking else _LOST


def _before_fork() -> None:
    _forking.append(None)
    _era[0] = object()


def _after_fork() -> None:
    _era[0] = object()
    _forking.pop()


# What lies between two forks, and whether one is under way: until the last hook has run, other threads may
# take arrays and let go of them. Without a lock: each step is one operation.
_era: Final = [object()]
_forking: Final[list[None]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
