"""Findings of a store, by the rules of this version, whichever version built it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ctspine_zarr.errors import DamagedStore, StoreUpdated, require_known
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Finding, Severity, at_least
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.outputs import require_free, whole_file
from ctspine_zarr.quality.examined import Examined, Told, leak_findings, rows
from ctspine_zarr.quality.report import document, lines, page
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.select import Criteria
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import all_at_once

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class QualityReport:
    """What is found of the cases of a store, to be read by people and programs.

    Attributes:
        location: of the store.
        spec: of its dataset.
        cases: all that were looked at, with all their findings and the figures of their levels.
        severity: the least that is told.
        damaged: id of each case whose receipt cannot be read -> what is wrong; they are not in `cases`.
    """

    location: str
    spec: Spec
    cases: tuple[Examined, ...]
    severity: Severity
    damaged: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def told(self) -> tuple[Examined, ...]:
        """The same cases with the findings that are told."""
        return tuple(one.at_least(self.severity) for one in self.cases)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row a finding that is told, as `qc` gives them."""
        import pandas as pd

        return pd.DataFrame.from_records(list(rows(self.told, self.spec)), columns=list(Told._fields))

    def holds(self, severity: str) -> bool:
        """Whether any case has a finding that weighs as much, or more, told or not.

        Raises:
            UnknownValue: a severity that is none.
        """
        asked = at_least(_severity(severity))
        return any(found.severity in asked for one in self.cases for found in one.findings)

    def text(self) -> str:
        """A line a finding that is told, then how often each kind was found; printable."""
        return "\n".join(lines(self.told, self.spec, self.damaged))

    def json(self) -> dict[str, Any]:
        """The findings that are told, and counts of them, as a JSON document."""
        return document(self.location, self.told, self.spec, self.damaged)

    def html(self) -> str:
        """One page: counts, the figures of all levels, the findings that are told; it loads nothing else."""
        return page(self.location, self.cases, self.told, self.spec, self.damaged)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the page to a file, whole or not at all.

        Args:
            path: its folder is made where it does not exist.
            overwrite: replace a file that is there.

        Raises:
            StorageError: a file is there, or it cannot be written.
        """
        if not overwrite:
            require_free(Path(path))
        with whole_file(Path(path)) as file:
            file.write(self.html().encode())


def qc(store: Store, *, severity: str = "info", **criteria: Unpack[Criteria]) -> pd.DataFrame:
    """One row a finding of the cases that fit every criterion, case by case.

    Columns: case, split, source; code, severity, message; labels (names), figures (name -> number).

    Args and raises: as `quality_report`.

    Raises:
        DamagedStore: a receipt is missing or altered.
    """
    report = quality_report(store, severity=severity, **criteria)
    if report.damaged:
        raise DamagedStore("; ".join(report.damaged.values()))
    return report.findings


def quality_report(store: Store, *, severity: str = "info", **criteria: Unpack[Criteria]) -> QualityReport:
    """What is found of the cases that fit every criterion, without reading a voxel.

    Findings about labels are found anew by this version's rules, from the catalog and each case's receipt,
    so that they are the same whichever version built the store; those about headers are as the build saw
    them. Leaks are those of `store`, whichever of its cases fit. A case whose receipt is missing or altered
    stops no other: the report has it as damaged, and leaks are those of the cases beside it.

    Args:
        store: an open one.
        severity: the least that is told: `info`, `warning` or `error`.
        criteria: as for `Store.select`; with `labels`, of the labels of that set.

    Raises:
        UnknownCase, UnknownValue: as for `Store.select`; a severity that is none.
        StoreUpdated: a receipt is gone since the store was updated.
    """
    least = _severity(severity)
    chosen = store.select(**criteria)
    leaking = _leaking(store)

    def examine(entry: Entry) -> Examined:
        record, name = entry.record, chosen.label_set
        found = {} if not record.labels else _receipt(store, entry).foreground_of(name or store.spec.mask)
        one = Examined.of(record, store.spec, found, is_own=name is None)
        return one.having([leaking[record.id]] if record.id in leaking else [])

    found = _of_each(examine, chosen)
    damaged = {case: str(one) for case, one in found.items() if isinstance(one, DamagedStore)}
    cases = tuple(one for one in found.values() if isinstance(one, Examined))
    return QualityReport(store.location, store.spec, cases, least, damaged)


def _receipt(store: Store, entry: Entry) -> Receipt:
    # Of a Case of its own, which is let go: many receipts with their counts of HU fill the memory.
    return Case(store.storage, entry, store.spec, store.reading).receipt


def _leaking(store: Store) -> dict[str, Finding]:
    """Case -> its finding, of each case that leaks."""
    try:
        leaks = store.leaks()
    except StoreUpdated:
        raise
    except DamagedStore:
        found = _of_each(lambda entry: _receipt(store, entry).record.id, store)
        leaks = store[[case for case, one in found.items() if isinstance(one, str)]].leaks()
    columns = [leaks.index, leaks["split"], leaks["group"], leaks["why"]]
    return leak_findings(list(zip(*(column.tolist() for column in columns), strict=True)))


def _of_each[T](ask: Callable[[Entry], T], store: Store) -> dict[str, T | DamagedStore]:
    """Id of each case -> what a function gives for it, or the damage that it meets."""

    def attempt(entry: Entry) -> T | DamagedStore:
        try:
            return ask(entry)
        except StoreUpdated:
            raise
        except DamagedStore as error:
            return error

    return dict(zip(store.entries, all_at_once(attempt, list(store.entries.values())), strict=True))


def _severity(asked: str) -> Severity:
    require_known("severity", [asked], list(Severity))
    return Severity(asked)
