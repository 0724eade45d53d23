"""Runners: who runs a task over many items, of which one never stops the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from typing import Final, override

from ctspine_zarr.errors import NoWorkers

TRIES: Final = 3
"""Times that an item is tried whose worker dies, before it is given up."""

DIED: Final = f"its worker died of it {TRIES} times"
"""What there is to say of an item without a result."""

# Seconds between two looks at how many workers there are.
_LOOK: Final = 2.0


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
    """The event that an item is done; `result` is None where its worker died of it, each time."""

    worker: int
    item: Item
    result: Result | None


type Progress[Item, Result] = Started[Item] | Finished[Item, Result]


class Runner(ABC):
    """Whatever runs a task over many items."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Items under way at once at the most, as far as is known now; at least 1."""

    @property
    def is_here(self) -> bool:
        """Whether the task runs on this machine, and sees the files that were brought to it."""
        return True

    @property
    def is_alone(self) -> bool:
        """Whether the task runs in this process, and sees what no other does."""
        return False

    @abstractmethod
    def run[Item, Result](
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Progress[Item, Result]]:
        """Run `task` on every item and say so as each starts and finishes.

        Items in flight never outnumber the workers. Closing the iterator, or any exception in the
        caller, ends what can be ended at once, in the middle of its items.

        Args:
            task: returns rather than raises what can go wrong with an item; an exception ends the
                run. It is pickled, with items and results, unless the runner is alone.
            items: taken one by one, as workers become free.

        Raises:
            NoWorkers: there are none, or no more.
        """


@dataclass(frozen=True)
class Serial(Runner):
    """This process, an item at a time."""

    @property
    @override
    def workers(self) -> int:
        return 1

    @property
    @override
    def is_alone(self) -> bool:
        return True

    @override
    def run[Item, Result](
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Progress[Item, Result]]:
        for item in items:
            yield Started(0, item)
            yield Finished(0, item, task(item))


@dataclass(frozen=True)
class OnExecutor(Runner):
    """An executor that somebody else made and will end: of processes, of MPI ranks, of a cluster.

    Attributes:
        executor: any of `concurrent.futures`; where it breaks, the run ends.
        count: tells how many items it has under way at once, which may change.
        deaths: exceptions which say that workers died each time that they had an item.
    """

    executor: Executor
    count: Callable[[], int]
    deaths: tuple[type[Exception], ...] = ()

    @property
    @override
    def workers(self) -> int:
        return max(1, self.count())

    @property
    @override
    def is_here(self) -> bool:
        return False

    @override
    def run[Item, Result](
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Progress[Item, Result]]:
        flight = Flight[Item, Result](lambda item: self.executor.submit(task, item), self.deaths)
        try:
            yield from flight.run(iter(items), lambda: self.workers)
        except BrokenExecutor as error:
            message = (
                f"the executor broke ({error or type(error).__name__}); legal: one that works, a new one"
            )
            raise NoWorkers(message) from error
        finally:
            flight.cancel()


class Flight[Item, Result]:
    """Items under way in an executor.

    Args:
        submit: gives an item to the executor.
        deaths: exceptions which say that workers died each time that they had an item. Another item may
            have been the cause, so it is tried again, alone, once all others are done.

    Attributes:
        busy: worker -> its item, all along: also while an item is submitted to what breaks just then.
    """

    def __init__(
        self, submit: Callable[[Item], Future[Result]], deaths: tuple[type[Exception], ...] = ()
    ) -> None:
        self.busy: dict[int, Item] = {}
        self._submit, self._deaths = submit, deaths
        self._futures: dict[Future[Result], int] = {}

    def run(self, queue: Iterator[Item], workers: Callable[[], int]) -> Iterator[Progress[Item, Result]]:
        """Work off a queue."""
        suspects: list[Item] = []
        yield from self._work_off(queue, workers, suspects.append)
        for item in suspects:
            yield from self._work_off(iter([item]), lambda: 1, None)

    def _work_off(
        self,
        queue: Iterator[Item],
        workers: Callable[[], int],
        suspect: Callable[[Item], None] | None,
    ) -> Iterator[Progress[Item, Result]]:
        """Work off a queue; what workers die of is handed over, or without a result where nobody takes it."""
        while True:
            free = [worker for worker in range(workers()) if worker not in self.busy]
            for worker, item in zip(free, queue, strict=False):
                self.busy[worker] = item
                self._futures[self._submit(item)] = worker
                yield Started(worker, item)
            if not self.busy:
                return
            for future in wait(self._futures, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                result, is_dead = self._result(future)
                worker = self._futures.pop(future)
                item = self.busy.pop(worker)
                if is_dead and suspect is not None:
                    suspect(item)
                else:
                    yield Finished(worker, item, result)

    def cancel(self) -> None:
        """Let nothing begin that has not begun."""
        for future in self._futures:
            future.cancel()

    def _result(self, future: Future[Result]) -> tuple[Result | None, bool]:
        """The result, and whether workers died instead of giving one."""
        try:
            return future.result(), False
        except self._deaths:
            return None, True
