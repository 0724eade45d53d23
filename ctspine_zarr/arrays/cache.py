"""Arrays that were used last, up to a number of bytes: decoded chunks, and shards as stored."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ctspine_zarr.errors import integer

type Key = tuple[str, int]


class ArrayCache:
    """Arrays by a shard's path and a number. Threads may share one; a process begins with none.

    A copy by pickle or fork is empty: what other processes have is not seen here.
    """

    def __init__(self, limit: int) -> None:
        self.limit = integer("cache_bytes", limit, 0)
        self._clear()

    def __reduce__(self) -> tuple[type[ArrayCache], tuple[int]]:
        return ArrayCache, (self.limit,)

    def get(self, key: Key) -> NDArray[Any] | None:
        """An array, now the one used last; None where it is not there."""
        with self._own_lock():
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def get_or_make(self, key: Key, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """An array that is there, or is made now: once, however many threads want it at a time."""
        with self._own_lock():
            making = self._making.setdefault(key, threading.Lock())
        with making:
            array = self.get(key)
            if array is None:
                array = make()
                self.put(key, array)
            return array

    def drop(self, key: Key) -> None:
        """Keep an array no longer."""
        with self._own_lock():
            dropped = self._arrays.pop(key, None)
            self.bytes -= 0 if dropped is None else dropped.nbytes

    def put(self, key: Key, array: NDArray[Any]) -> None:
        """Keep an array, and drop those whose last use is longest ago until all fit."""
        with self._own_lock():
            replaced = self._arrays.pop(key, None)
            self._arrays[key] = array
            self.bytes += array.nbytes - (0 if replaced is None else replaced.nbytes)
            # Arrays are counted after they are there: Ctrl-C in between leaves too few counted.
            while self.bytes > self.limit and self._arrays:
                self.bytes -= self._arrays.popitem(last=False)[1].nbytes

    def _own_lock(self) -> threading.Lock:
        # A fork may have copied a lock that some thread of the parent held.
        if self._process != os.getpid():
            self._clear()
        return self._lock

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._arrays: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._making: dict[Key, threading.Lock] = {}
        self.bytes = 0
        self._process = os.getpid()
