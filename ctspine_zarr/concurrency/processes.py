"""Worker processes of this one, which end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any, override

from ctspine_zarr.concurrency.runners import TRIES, Finished, Flight, Progress, Runner
from ctspine_zarr.errors import NoWorkers


@dataclass(frozen=True)
class Processes(Runner):
    """Spawned processes.

    They end at once, in the middle of their items, where the run is left, and by themselves where
    this process is killed. An item whose process dies is tried again, alone.

    Attributes:
        count: at least 1.
    """

    count: int

    @property
    @override
    def workers(self) -> int:
        return self.count

    @override
    def run[Item, Result](
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Progress[Item, Result]]:
        queue = iter(items)
        while suspects := (yield from _run_pool(task, queue, self.count)):
            # One of them took its process down and the pool with it; each alone shows which.
            for worker, item in suspects:
                yield Finished(worker, item, _run_alone(task, item))


def _run_pool[Item, Result](
    task: Callable[[Item], Result], queue: Iterator[Item], workers: int
) -> Generator[Progress[Item, Result], None, tuple[tuple[int, Item], ...]]:
    """Work off the queue; returns what was in flight if the pool broke, else nothing."""
    with _pool(workers) as pool:
        _require_processes(pool)
        flight = Flight[Item, Result](lambda item: pool.submit(task, item))
        try:
            yield from flight.run(queue, lambda: workers)
        except BrokenProcessPool:
            return tuple(flight.busy.items())
    return ()


def _run_alone[Item, Result](task: Callable[[Item], Result], item: Item) -> Result | None:
    for _ in range(TRIES - 1):
        with _pool(1) as pool:
            _require_processes(pool)
            with contextlib.suppress(BrokenProcessPool):
                return pool.submit(task, item).result()
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
