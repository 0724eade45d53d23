"""Cases whose files have come to this machine, a few of them ahead of the encoders."""

from __future__ import annotations

import functools
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ctspine_zarr.concurrency.background import Background
from ctspine_zarr.concurrency.runners import Finished, Progress, Runner, Started
from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.sources.source import CaseVolumes, Supply


class OfCase(Protocol):
    """Whatever is to be done with the files of a case."""

    @property
    @abstractmethod
    def case(self) -> SourceCase:
        """The case, as the source has it."""


@dataclass(frozen=True, slots=True)
class Arrival[Planned: OfCase, V: CaseVolumes]:
    """A case whose files are here, or the reason why they are not."""

    planned: Planned
    files: V | None = None
    reason: str = ""


def run_on_files[Planned: OfCase, V: CaseVolumes, Result](
    runner: Runner,
    source: Supply[V],
    cases: Iterable[Planned],
    task: Callable[[Arrival[Planned, V]], Result],
) -> Iterator[Progress[Planned, Result]]:
    """Run a task on the files of every case: they are brought to where it runs, and let go again.

    Args:
        runner: who runs it.
        source: of the files.
        cases: taken one by one.
        task: see `Runner.run`.

    Raises:
        HubError: the source cannot be reached.
        NoWorkers: see `Runner.run`.
    """
    if not runner.is_here:
        far = functools.partial(_fetched_and_done, source=source, task=task)
        yield from runner.run(far, cases)
        return
    for step in runner.run(task, arrivals(source, cases)):
        if isinstance(step, Started):
            yield Started(step.worker, step.item.planned)
            continue
        if step.item.files is not None:
            source.release(step.item.files)
        yield Finished(step.worker, step.item.planned, step.result)


def _fetched_and_done[Planned: OfCase, V: CaseVolumes, Result](
    planned: Planned, source: Supply[V], task: Callable[[Arrival[Planned, V]], Result]
) -> Result:
    """The result of a task on another machine, which the files are brought to."""
    arrival = fetched(source, planned)
    try:
        return task(arrival)
    finally:
        if arrival.files is not None:
            source.release(arrival.files)


def arrivals[Planned: OfCase, V: CaseVolumes](
    source: Supply[V], cases: Iterable[Planned]
) -> Iterator[Arrival[Planned, V]]:
    """Each case in order, its files fetched; at most `source.ahead` more are here or on their way.

    Raises:
        HubError: the source cannot be reached.
    """
    if not source.ahead:
        yield from (fetched(source, case) for case in cases)
        return
    fetchers, left = Background(source.ahead), threading.Event()
    coming: deque[Future[Arrival[Planned, V]]] = deque()
    try:
        for case in cases:
            coming.append(fetchers.submit(partial(_awaited, source, case, left)))
            if len(coming) > source.ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        left.set()
        for future in coming:
            future.cancel()
        fetchers.close()


def fetched[Planned: OfCase, V: CaseVolumes](source: Supply[V], case: Planned) -> Arrival[Planned, V]:
    """A case's arrival.

    Raises:
        HubError: the source cannot be reached.
    """
    try:
        return Arrival(case, source.fetch(case.case))
    except CaseRefused as error:
        return Arrival(case, reason=str(error))


def _awaited[Planned: OfCase, V: CaseVolumes](
    source: Supply[V], case: Planned, left: threading.Event
) -> Arrival[Planned, V]:
    """The same; where nobody waits for it any more, its files go again."""
    arrival = fetched(source, case)
    if left.is_set() and arrival.files is not None:
        source.release(arrival.files)
    return arrival
