"""Threads that the interpreter's end does not wait for: what hangs in one is ended by Ctrl-C."""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

type _Work = tuple[Future[Any], Callable[[], Any]]


class Background:
    """A pool of at most so many daemon threads, begun as work comes.

    concurrent.futures' own pool is waited for at exit, a request that hangs for minutes included.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()

    def submit[T](self, work: Callable[[], T]) -> Future[T]:
        """Do it soon; what it raises is the future's."""
        future: Future[T] = Future()
        self._work.put((future, work))
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._begun - self._lost < self._most:
                self._begin()
        return future

    def give_up(self, future: Future[Any]) -> None:
        """Wait no more for what is under way: another thread takes its thread's place, until it ends."""
        with self._lock:
            if not future.cancel() and not future.done():
                self._lost += 1
                self._begin()

    def close(self) -> None:
        """Let the threads end once nothing is left to do."""
        for _ in range(self._begun):
            self._work.put(None)

    def _begin(self) -> None:
        self._begun += 1
        threading.Thread(target=self._run, daemon=True, name="ctspine_zarr").start()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            _do(*item)
            # Neither what was done nor what it gave is held while waiting.
            del item
            if self._is_surplus():
                return
            self._idle.release()

    def _is_surplus(self) -> bool:
        """Whether a thread that was given up, which this may be, has been replaced."""
        with self._lock:
            if not self._lost:
                return False
            self._lost -= 1
            self._begun -= 1
            return True


def pool(purpose: str, most: int) -> Background:
    """The threads of this process for one purpose; a forked child has none of its parent's.

    Args:
        purpose: another than that of work that waits for these threads.
        most: threads at most.
    """
    return _pool(os.getpid(), purpose, most)


@functools.cache
def _pool(process: int, purpose: str, most: int) -> Background:  # noqa: ARG001 - the key
    return Background(most)


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
        future.set_exception(error)
        # The error keeps this frame, which must not keep the error.
        del future
