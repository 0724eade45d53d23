"""Read-ahead: work that is begun in threads before its result is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ctspine_zarr.concurrency.background import Background


class Ahead[T]:
    """Work that is begun under a number, in a thread, and taken later.

    With no threads it is done when it is begun.
    """

    def __init__(self, threads: Background | None) -> None:
        self._threads = threads
        self._begun: dict[int, Future[T]] = {}

    def begin(self, number: int, work: Callable[[], T]) -> None:
        """Do it soon; in a thread, an exception is kept for `take`."""
        self._begun[number] = _done(work) if self._threads is None else self._threads.submit(work)

    def take(self, number: int) -> T:
        """What the work gave, once; waits for it."""
        return self._begun.pop(number).result()

    def give_up(self) -> None:
        """Do not begin what is not begun."""
        for future in self._begun.values():
            future.cancel()


@contextmanager
def ahead(threads: int) -> Iterator[Ahead[Any]]:
    """Work in this many threads; what is not taken when the context ends is given up."""
    pool = Background(threads) if threads else None
    work = Ahead[Any](pool)
    try:
        yield work
    finally:
        work.give_up()
        if pool is not None:
            pool.close()


def _done[T](work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(work())
    return future
