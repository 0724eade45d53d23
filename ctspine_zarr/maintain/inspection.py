"""The inspection of a store whose state is known: case by case, then as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ctspine_zarr.concurrency.runners import DIED, Finished, Progress, Runner, Serial
from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.errors import StoreUpdated
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.above import store_problems
from ctspine_zarr.maintain.checks import case_problems
from ctspine_zarr.maintain.comparison import Comparison, file_problems
from ctspine_zarr.maintain.journal import Journal
from ctspine_zarr.maintain.quick import HubRecord, QuickChecks, quick_checks, read_receipts_of
from ctspine_zarr.maintain.reports import CaseReport, Proof, Verification
from ctspine_zarr.manifest.state import State, UpdateCheck
from ctspine_zarr.sources.source import Fetched
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.arrivals import Arrival, run_on_files

type OnCase = Callable[[CaseReport], None]
type OnBegin = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Subject:
    """A case to inspect.

    Attributes:
        entry: its line of the catalog.
        known: what the quick checks have found; None where all of it is to be read.
        beside: what is known of its source.
    """

    entry: Entry
    known: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _WithFiles:
    """A case to inspect whose files must be looked at.

    Attributes:
        subject: the case of the store.
        receipt: of the case.
        case: as the source has it.
    """

    subject: _Subject
    receipt: Receipt
    case: SourceCase


@dataclass(frozen=True)
class Inspection:
    """What is inspected, and how.

    Attributes:
        storage: of the store.
        state: that it should hold.
        runner: who inspects the cases.
        comparison: the source that they are compared with.
        journal: where whole cases are noted.
        quick: whether no shard is read.
        record: what the Hub has recorded of every object, with which they are compared in place of reading.
    """

    storage: Storage
    state: State
    runner: Runner
    comparison: Comparison | None = None
    journal: Journal | None = None
    quick: bool = False
    record: HubRecord | None = None

    def report(
        self, chosen: Collection[str] = (), on_begin: OnBegin | None = None, on_case: OnCase | None = None
    ) -> Verification:
        """What was found; see `verify`.

        Args:
            chosen: ids of cases; all by default.
            on_begin, on_case: see `verify`.

        Raises:
            StoreUpdated: the store was updated meanwhile.
            StorageError: a store elsewhere than in a folder cannot be read; or the journal cannot.
            HubError: the source cannot be reached any more.
        """
        wanted = [entry for entry in self.state.entries if not chosen or entry.record.id in chosen]
        noted = self.journal.whole(wanted) if self.journal else frozenset()
        unread = [entry for entry in wanted if entry.record.id not in noted]
        if on_begin is not None:
            on_begin(len(unread), sum(entry.record.stored_bytes for entry in unread))
        is_quick = self.quick or self.record is not None
        quick = quick_checks(self.storage, unread, self.state.spec, self.record) if is_quick else None
        reports = {entry.record.id: _report(entry, ()) for entry in wanted if entry.record.id in noted}
        for entry, report in self.case_reports(unread, quick):
            if self.journal is not None and not report.problems:
                self.journal.add(entry)
            reports[report.case] = report
            if on_case is not None:
                on_case(report)
        # Where a part of the cases was quickly checked, receipts of the others are not known.
        receipts = None if quick is None or chosen else quick.kept(unread)
        problems = tuple(store_problems(self.state, self.storage, chosen, receipts, self.record))
        self._require_current([*problems, *(line for one in reports.values() for line in one.problems)])
        root, compared = self.state.root, self.comparison
        unbuilt = () if compared is None or chosen else compared.unbuilt(self.state)
        ordered = tuple(reports[entry.record.id] for entry in wanted)
        return Verification(ordered, problems, root.refused, root.seal, unbuilt, self._proof)

    @property
    def _proof(self) -> Proof:
        if self.record is not None:
            return "record"
        return "sizes" if self.quick else "bytes"

    def case_reports(
        self, entries: Sequence[Entry], quick: QuickChecks | None = None
    ) -> Iterator[tuple[Entry, CaseReport]]:
        """What was found of cases, as each is done.

        Args:
            entries: of the cases.
            quick: the quick checks of them; by default every byte is read.

        Raises: as `report`.
        """
        subjects = [_Subject(entry, _known(entry, quick)) for entry in entries]
        with_files: list[_WithFiles] = []
        if self.comparison is not None:
            receipts = quick or read_receipts_of(self.storage, entries, self.state.spec)
            compared = [_compared(one, self.comparison, receipts.receipts) for one in subjects]
            subjects = [one for one in compared if isinstance(one, _Subject)]
            with_files = [one for one in compared if isinstance(one, _WithFiles)]
        # What the quick checks have found is at hand.
        alone = Serial() if quick else self.runner
        inspect = functools.partial(_inspected, storage=self.storage, spec=self.state.spec)
        yield from _finished(alone.run(inspect, subjects), lambda subject: subject.entry)
        if self.comparison is not None and with_files:
            source = self.comparison.source
            both = functools.partial(
                _inspected_with_files, storage=self.storage, spec=self.state.spec, where=source.name
            )
            steps = run_on_files(self.runner, source, with_files, both)
            yield from _finished(steps, lambda one: one.subject.entry)

    def _require_current(self, problems: Collection[str]) -> None:
        """Do nothing where what was found is of the state that holds."""
        if problems and UpdateCheck(self.storage, self.state.root.seal)():
            message = f"{self.storage.location} was updated while it was verified; verify it again"
            raise StoreUpdated(message)


def _known(entry: Entry, quick: QuickChecks | None) -> tuple[str, ...] | None:
    return None if quick is None else tuple(quick.problems.get(entry.record.id, ()))


def _compared(
    subject: _Subject, comparison: Comparison, receipts: Mapping[str, Receipt]
) -> _Subject | _WithFiles:
    """The same with what is known of its source, and with its files where they must be looked at."""
    entry = subject.entry
    case, receipt = comparison.cases.get(entry.record.id), receipts.get(entry.record.id)
    if case is None:
        return _Subject(entry, subject.known, (comparison.absence(entry.record.id),))
    named = _Subject(entry, subject.known, tuple(comparison.by_names(entry, case)))
    # A receipt that is damaged is told, and says nothing of files.
    if receipt is None or comparison.is_settled(receipt, case):
        return named
    return _WithFiles(named, receipt, case)


def _finished[Item](
    steps: Iterable[Progress[Item, CaseReport]], entry_of: Callable[[Item], Entry]
) -> Iterator[tuple[Entry, CaseReport]]:
    for step in steps:
        if isinstance(step, Finished):
            entry = entry_of(step.item)
            yield entry, step.result or _report(entry, (DIED,))


def _inspected(subject: _Subject, storage: Storage, spec: Spec) -> CaseReport:
    known = case_problems(subject.entry, storage, spec) if subject.known is None else subject.known
    return _report(subject.entry, (*known, *subject.beside))


def _inspected_with_files(
    arrival: Arrival[_WithFiles, Fetched], storage: Storage, spec: Spec, where: str
) -> CaseReport:
    asked, files = arrival.planned, arrival.files
    of_files = [arrival.reason] if files is None else file_problems(files, asked.receipt, where)
    report = _inspected(asked.subject, storage, spec)
    return _report(asked.subject.entry, (*report.problems, *of_files))


def _report(entry: Entry, problems: tuple[str, ...]) -> CaseReport:
    record = entry.record
    return CaseReport(record.id, problems, record.has_mask, record.stored_bytes)
