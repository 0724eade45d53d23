"""Run a task over many items, here or in worker processes: one item never stops the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any

from ctspine_zarr.errors import NoWorkers


@dataclass(frozen=True, slots=True)
class Started[Item]:
    """The event that an item was taken up.

    Attributes:
        worker: from 0 on; no two items under way have the same.
    """

    worker: int
    item: Item


@dataclass(frozen=True, slots=True)
class Finished[Item, Result]:
    """The event that an item is done; `result` is None where its worker process died of it."""

    worker: int
    item: Item
    result: Result | None


type Progress[Item, Result] = Started[Item] | Finished[Item, Result]


def run_each[Item, Result](
    task: Callable[[Item], Result], items: Iterable[Item], workers: int = 1
) -> Iterator[Progress[Item, Result]]:
    """Run `task` on every item and say so as each starts and finishes.

    Items in flight never outnumber the workers. One worker is this process; more are spawned
    processes, so `task`, items and results must be picklable. Closing the iterator, or any
    exception in the caller, ends the processes at once, in the middle of their items. They
    also end by themselves where this process is killed.

    Args:
        task: returns rather than raises what can go wrong with an item; an exception ends the run.
        items: taken one by one, as workers become free.
        workers: at least 1.

    Raises:
        NoWorkers: processes cannot start at all.
    """
    queue = iter(items)
    if workers == 1:
        for item in queue:
            yield Started(0, item)
            yield Finished(0, item, task(item))
        return
    while suspects := (yield from _run_pool(task, queue, workers)):
        # One of them took its process down and the pool with it; each alone shows which.
        for worker, item in suspects:
            yield Finished(worker, item, _run_alone(task, item))


def usable_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_pool[Item, Result](
    task: Callable[[Item], Result], queue: Iterator[Item], workers: int
) -> Generator[Progress[Item, Result], None, tuple[tuple[int, Item], ...]]:
    """Work off the queue; returns what was in flight if the pool broke, else nothing."""
    busy: dict[int, Item] = {}
    futures: dict[Future[Result], int] = {}
    with _pool(workers) as pool:
        _require_processes(pool)
        try:
            while True:
                free = [worker for worker in range(workers) if worker not in busy]
                for worker, item in zip(free, queue, strict=False):
                    # Noted before it is submitted: a pool that breaks just then has it too.
                    busy[worker] = item
                    futures[pool.submit(task, item)] = worker
                    yield Started(worker, item)
                if not busy:
                    return ()
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    worker = futures.pop(future)
                    yield Finished(worker, busy.pop(worker), result)
        except BrokenProcessPool:
            return tuple(busy.items())


def _run_alone[Item, Result](task: Callable[[Item], Result], item: Item) -> Result | None:
    with _pool(1) as pool:
        _require_processes(pool)
        try:
            return pool.submit(task, item).result()
        except BrokenProcessPool:
            return None


def _require_processes(pool: ProcessPoolExecutor) -> None:
    """Tell a pool that cannot start from one that an item broke."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        message = (
            "worker processes cannot start; in a script, call this below "
            'if __name__ == "__main__":, or ask for 1 worker'
        )
        raise NoWorkers(message) from error


class _Context(multiprocessing.context.SpawnContext):
    """Spawns processes and remembers them, so that no others are ended with them."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        self.processes.append(SpawnProcess(*args, **options))
        return self.processes[-1]


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes that are gone when the context ends, whatever ends it."""
    context = _Context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        yield pool
    except BaseException:
        for process in context.processes:
            # One that could not start has nothing to end.
            if process.pid is not None:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    # Ctrl-C reaches every process of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
