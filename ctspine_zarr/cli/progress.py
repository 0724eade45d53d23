"""A build's progress: bars on a terminal, log lines elsewhere. The only module that knows rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import ctspine_zarr as cz
from ctspine_zarr.text import size

if TYPE_CHECKING:
    from ctspine_zarr.write.build import Event


@contextmanager
def follow(plan: cz.Plan) -> Iterator[Callable[[Event], None]]:
    """A listener for a build's events, shown on standard error."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _Bars(plan, console) as bars:
            yield bars.on_event
    else:
        yield _Lines(plan).on_event


class _Tally:
    """Cases and bytes of a plan that are done."""

    def __init__(self, plan: cz.Plan) -> None:
        self.all_cases, self.all_bytes = len(plan.pending), plan.read_bytes
        self.cases = self.bytes = 0
        self._begun = time.monotonic()

    def add(self, size: int) -> None:
        self.cases += 1
        self.bytes += size

    def __str__(self) -> str:
        left = (time.monotonic() - self._begun) * (self.all_bytes - self.bytes) / max(self.bytes, 1)
        return (
            f"{self.cases} of {self.all_cases} cases, "
            f"{size(self.bytes)} of {size(self.all_bytes)}, {left:.0f} s left"
        )


class _Lines:
    """One line a finished case."""

    def __init__(self, plan: cz.Plan) -> None:
        self._tally = _Tally(plan)

    def on_event(self, event: Event) -> None:
        if isinstance(event, cz.CaseStarted):
            return
        self._tally.add(event.case.bytes)
        if isinstance(event, cz.CaseBuilt):
            done = f"built {event.case.id} in {event.seconds:.1f} s"
        else:
            done = f"refused {event.case.id}"
        click.echo(f"{done}; {self._tally}", err=True)


class _Bars:
    """An overall bar with bytes, cases and time left, and below it a line a worker."""

    def __init__(self, plan: cz.Plan, console: Console) -> None:
        self._tally = _Tally(plan)
        self._overall = Progress(
            TextColumn("building"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[cases]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._overall.add_task("", total=plan.read_bytes, cases=self._cases())
        self._lines = Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console)
        self._workers: list[TaskID] = []
        self._live = Live(Group(self._overall, self._lines), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def on_event(self, event: Event) -> None:
        while len(self._workers) <= event.worker:
            self._workers.append(self._lines.add_task("", start=False))
        line = self._workers[event.worker]
        if isinstance(event, cz.CaseStarted):
            doing = f"worker {event.worker + 1}: {event.case.id}, {size(event.case.bytes)}"
            self._lines.reset(line, description=doing)
            return
        self._lines.reset(line, start=False, description=f"worker {event.worker + 1}: free")
        self._tally.add(event.case.bytes)
        self._overall.update(self._task, advance=event.case.bytes, cases=self._cases())
        if isinstance(event, cz.CaseFailed):
            self._live.console.print(f"refused {event.case.id}", markup=False, highlight=False)

    def _cases(self) -> str:
        return f"{self._tally.cases}/{self._tally.all_cases} cases"
