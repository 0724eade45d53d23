"""Progress: bars on a terminal, log lines elsewhere. The only module that knows rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

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
from ctspine_zarr.cli import logs
from ctspine_zarr.text import size

if TYPE_CHECKING:
    from ctspine_zarr.write.build import Event


@contextmanager
def follow(plan: cz.Plan, *, quiet: bool = False) -> Iterator[Callable[[Event], None]]:
    """A listener for a build's events, shown on standard error and told to the logs."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _Lines(plan).on_event
        return
    lines = _Lines(plan, shown=True)
    with _Bars(plan, console) as bars:

        def tell(event: Event) -> None:
            lines.on_event(event)
            bars.on_event(event)

        yield tell


@contextmanager
def follow_cases(doing: str, *, is_quiet: bool = False, what: str = "cases") -> Iterator[FollowedCases]:
    """A listener for cases that are worked off one by one, shown on standard error and told to the logs.

    Args:
        doing: what is done to them.
        is_quiet: show nothing.
        what: they are, where they are no cases.
    """
    console = Console(stderr=True)
    if is_quiet or not console.is_terminal:
        yield FollowedCases(None, shown=is_quiet, what=what)
        return
    overall = _overall(doing, console)
    with overall:
        yield FollowedCases(overall, shown=True, what=what)


class FollowedCases:
    """Cases that are worked off one by one: a bar with bytes, cases and time left, or a line a case.

    Args:
        overall: the bar; None where there is none.
        shown: whether the terminal is not to have the lines, but the log file alone.
        what: they are.
    """

    def __init__(self, overall: Progress | None, *, shown: bool, what: str = "cases") -> None:
        self._overall, self._shown, self._what = overall, shown, what
        self._tally = _Tally(0, 0, what)
        self._task: TaskID | None = None

    def begin(self, cases: int, size: int) -> None:
        """Say how many cases there are, and their bytes."""
        self._tally = _Tally(cases, size, self._what)
        if self._overall is not None:
            self._task = self._overall.add_task("", total=size, cases=self._tally.cases_text)

    def add(self, size: int, done: str) -> None:
        """Say that a case is done.

        Args:
            size: bytes of it.
            done: what was done.
        """
        self._tally.add(size)
        if self._overall is not None and self._task is not None:
            self._overall.update(self._task, advance=size, cases=self._tally.cases_text)
        logs.progress(f"{done}; {self._tally}", shown=self._shown)

    def note(self, text: str) -> None:
        """Say something more, a line above the bar where there is one."""
        if self._overall is not None:
            self._overall.console.print(text, markup=False, highlight=False)
        logs.progress(text, shown=self._shown)


def _overall(doing: str, console: Console) -> Progress:
    """A bar with bytes, cases and time left."""
    return Progress(
        TextColumn(doing),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[cases]}"),
        TimeRemainingColumn(),
        console=console,
    )


class _Tally:
    """Cases, or what else there is, and bytes that are done."""

    def __init__(self, cases: int, size: int, what: str = "cases") -> None:
        self.all_cases, self.all_bytes, self.what = cases, size, what
        self.cases = self.bytes = 0
        self._begun = time.monotonic()

    def add(self, size: int) -> None:
        self.cases += 1
        self.bytes += size

    @property
    def cases_text(self) -> str:
        return f"{self.cases}/{self.all_cases} {self.what}"

    def __str__(self) -> str:
        left = (time.monotonic() - self._begun) * (self.all_bytes - self.bytes) / max(self.bytes, 1)
        return (
            f"{self.cases} of {self.all_cases} {self.what}, "
            f"{size(self.bytes)} of {size(self.all_bytes)}, {left:.0f} s left"
        )


class _Lines:
    """One line a finished case; `shown` where bars show the same."""

    def __init__(self, plan: cz.Plan, *, shown: bool = False) -> None:
        self._shown = shown
        self._tally = _Tally(len(plan.pending), plan.read_bytes)

    def on_event(self, event: Event) -> None:
        if isinstance(event, cz.CaseStarted):
            return
        self._tally.add(event.case.bytes)
        if isinstance(event, cz.CaseBuilt):
            done = f"built {event.case.id} in {event.seconds:.1f} s"
        else:
            done = f"refused {event.case.id}"
        logs.progress(f"{done}; {self._tally}", shown=self._shown)


class _Bars:
    """An overall bar with bytes, cases and time left, and below it a line a worker."""

    def __init__(self, plan: cz.Plan, console: Console) -> None:
        self._tally = _Tally(len(plan.pending), plan.read_bytes)
        self._overall = _overall("building", console)
        self._task = self._overall.add_task("", total=plan.read_bytes, cases=self._tally.cases_text)
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
        self._overall.update(self._task, advance=event.case.bytes, cases=self._tally.cases_text)
        if isinstance(event, cz.CaseFailed):
            self._live.console.print(f"refused {event.case.id}", markup=False, highlight=False)
