"""Requests that are under way together, in threads that no other process sees, and until a deadline.

The threads ask, the caller waits: Ctrl-C is heeded while a request hangs. obstore's own coroutines are
not used: at the interpreter's end its threads would still call back, which ends the process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from ctspine_zarr.concurrency.background import pool
from ctspine_zarr.errors import StorageError

SECONDS: Final = 60.0
"""Seconds that a request may take, where the option `timeout` does not say so."""

PART: Final = 1 << 24
"""Bytes that have to come, or go, in the time of one request."""

_MOST_SECONDS: Final = 86_400

# Threads that make requests are others than those that ask for several objects, which wait for them.
_MOST_OBJECTS: Final = 64
# From 100 ms away 64 cubes came in 0.7 of the time that they took with 64; 256 gained nothing more.
_MOST_REQUESTS: Final = 128
# Seconds of one wait: a request that has not begun has no deadline yet, and others are put off.
_LONGEST_WAIT: Final = 0.25


class Deadline:
    """The moment by which a request must have ended; none before it begins.

    Args:
        seconds: that it has.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = math.inf

    def put_off(self) -> None:
        """Give it all of its time again, from now on."""
        self._ends = time.monotonic() + self.seconds

    def extend(self, seconds: float) -> None:
        """Give it so many seconds more."""
        self._ends += seconds

    @property
    def left(self) -> float:
        """Seconds; below 0 once it has passed."""
        return self._ends - time.monotonic()

    @property
    def passed(self) -> TimeoutError:
        """The error that says that it has."""
        return TimeoutError(f"given up, for it did not end within {self.seconds:g} s")


type Ask[Answer] = Callable[[Deadline], Answer]


def all_at_once[Asked, Answer](ask: Callable[[Asked], Answer], items: Sequence[Asked]) -> list[Answer]:
    """What `ask` says of each item, in order; at most 64 are under way in a process.

    Args:
        ask: must not call this function itself.
        items: what to ask for.
    """
    asked: list[Future[Answer]] = []
    try:
        asked.extend(pool("objects", _MOST_OBJECTS).submit(partial(ask, item)) for item in items)
        return [one.result() for one in asked]
    finally:
        # Nothing here is held by the error that is kept.
        while asked:
            asked.pop().cancel()


def within[Answer](seconds: float, asks: Sequence[Ask[Answer]]) -> list[Answer]:
    """What requests give, all at once and in order; at most 128 are under way in a process.

    One that has not ended so many seconds after its begin is given up; its thread goes on until the
    request itself ends, and others do not wait for it.

    Args:
        seconds: until each deadline.
        asks: each is told its deadline, which it may put off.

    Raises:
        TimeoutError: a deadline passed.
    """
    threads = pool("requests", _MOST_REQUESTS)
    deadlines = [Deadline(seconds) for _ in asks]
    asked: list[Future[Answer]] = []
    try:
        for ask, deadline in zip(asks, deadlines, strict=True):
            asked.append(threads.submit(partial(_begun, ask, deadline)))
        return [_taken(one, deadline) for one, deadline in zip(asked, deadlines, strict=True)]
    finally:
        # Nothing here is held by the error that is kept.
        while asked:
            threads.give_up(asked.pop())


def legal_seconds(value: object) -> float:
    """The option `timeout` as a number.

    Raises:
        StorageError: it is none that is legal.
    """
    try:
        seconds = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 < seconds <= _MOST_SECONDS:
        message = f"option timeout {value!r}; legal: seconds, a number above 0, at most {_MOST_SECONDS}"
        raise StorageError(message)
    return seconds


def arriving(stream: Iterable[Any], left: int, deadline: Deadline, every: int = PART) -> Iterator[memoryview]:
    """Up to so many bytes of an answer, in parts, as they come.

    Args:
        stream: the answer.
        left: bytes.
        deadline: put off each time so many bytes have come.
        every: how many.

    Raises:
        TimeoutError: nobody waits for them any more.
    """
    since = 0
    try:
        for some in stream:
            part = memoryview(some)[:left]
            yield part
            left, since = left - len(part), since + len(part)
            if since >= every:
                deadline.put_off()
                since = 0
            if left <= 0:
                return
            if deadline.left <= 0:
                raise deadline.passed
    finally:
        # Whoever keeps the error keeps this frame, which must not keep the connection.
        del stream


def _begun[Answer](ask: Ask[Answer], deadline: Deadline) -> Answer:
    deadline.put_off()
    return ask(deadline)


def _taken[Answer](asked: Future[Answer], deadline: Deadline) -> Answer:
    while True:
        try:
            return asked.result(max(0.0, min(deadline.left, _LONGEST_WAIT)))
        except TimeoutError as error:
            if asked.done():
                raise
            if deadline.left <= 0:
                raise deadline.passed from error
