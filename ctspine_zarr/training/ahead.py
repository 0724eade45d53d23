"""Reads that are under way before what they give is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class Ahead[T]:
    """Work that is begun under a number, in a thread of its own, and taken later.

    With no thread it is done when it is begun.
    """

    def __init__(self, threads: ThreadPoolExecutor | None) -> None:
        self._threads = threads
        self._begun: dict[int, Future[T]] = {}

    def begin(self, number: int, work: Callable[[], T]) -> None:
        """Do it soon; an exception is kept for `take`."""
        self._begun[number] = _done(work) if self._threads is None else self._threads.submit(work)

    def take(self, number: int) -> T:
        """What the work gave, once; waits for it."""
        return self._begun.pop(number).result()


@contextmanager
def ahead(threads: int) -> Iterator[Ahead[Any]]:
    """Work in this many threads; what is not taken when the context ends is given up."""
    if not threads:
        yield Ahead(None)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ctspine_zarr-ahead")
    try:
        yield Ahead(pool)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _done[T](work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(work())
    return future
