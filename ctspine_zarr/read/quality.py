"""Findings of a store, by the rules of this version, whichever version built it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from ctspine_zarr.errors import require_known
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Severity, at_least
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.quality.examined import Examined, leak_findings
from ctspine_zarr.quality.report import document, lines, page
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.select import Criteria
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import all_at_once

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("case", "split", "source", "code", "severity", "message", "labels", "figures")


@dataclass(frozen=True)
class QualityReport:
    """What is found of the cases of a store, to be read by people and programs.

    Attributes:
        location: of the store.
        spec: of its dataset.
        cases: all that were looked at, with all their findings and the figures of their levels.
        severity: the least that is told.
    """

    location: str
    spec: Spec
    cases: tuple[Examined, ...]
    severity: Severity

    @cached_property
    def told(self) -> tuple[Examined, ...]:
        """The same cases with the findings that are told."""
        return tuple(one.at_least(self.severity) for one in self.cases)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row a finding that is told, as `qc` gives them."""
        import pandas as pd

        names = self.spec.labels
        rows = [
            (
                *(one.case, one.split, one.source),
                *(found.code, str(found.severity), found.message),
                tuple(names.get(label, str(label)) for label in found.labels),
                dict(found.figures),
            )
            for one in self.told
            for found in one.findings
        ]
        return pd.DataFrame.from_records(rows, columns=list(COLUMNS))

    def holds(self, severity: str) -> bool:
        """Whether any case has a finding that weighs as much, or more, told or not.

        Raises:
            UnknownValue: a severity that is none.
        """
        asked = at_least(_severity(severity))
        return any(found.severity in asked for one in self.cases for found in one.findings)

    def text(self) -> str:
        """A line a finding that is told, then how often each kind was found; printable."""
        return "\n".join(lines(self.told, self.spec))

    def json(self) -> dict[str, Any]:
        """The findings that are told, and counts of them, as a JSON document."""
        return document(self.location, self.told, self.spec)

    def html(self) -> str:
        """One page: counts, the figures of all levels, the findings that are told; it loads nothing else."""
        return page(self.location, self.cases, self.told, self.spec)

    def save(self, path: str | Path) -> None:
        """Write the page to a file, whole or not at all, in place of any that is there.

        Raises:
            StorageError: it cannot be written.
        """
        with whole_file(Path(path)) as file:
            file.write(self.html().encode())


def qc(store: Store, *, severity: str = "info", **criteria: Unpack[Criteria]) -> pd.DataFrame:
    """One row a finding of the cases that fit every criterion, case by case.

    Columns: case, split, source; code, severity, message; labels (names), figures (name -> number).

    Args and raises: as `quality_report`.
    """
    return quality_report(store, severity=severity, **criteria).findings


def quality_report(store: Store, *, severity: str = "info", **criteria: Unpack[Criteria]) -> QualityReport:
    """What is found of the cases that fit every criterion, without reading a voxel.

    Findings about labels are found anew by this version's rules, from the catalog and each case's receipt,
    so that they are the same whichever version built the store; those about headers are as the build saw
    them. Leaks are those of `store`, whichever of its cases fit.

    Args:
        store: an open one.
        severity: the least that is told: `info`, `warning` or `error`.
        criteria: as for `Store.select`; with `labels`, of the labels of that set.

    Raises:
        UnknownCase, UnknownValue: as for `Store.select`; a severity that is none.
        DamagedStore: a receipt is missing or altered.
    """
    least = _severity(severity)
    return QualityReport(store.location, store.spec, tuple(examined(store, **criteria)), least)


def examined(store: Store, **criteria: Unpack[Criteria]) -> list[Examined]:
    """The cases of a store that fit every criterion, and what is found of each; see `quality_report`."""
    chosen = store.select(**criteria)
    leaks = store.leaks()
    columns = [leaks.index, leaks["split"], leaks["group"], leaks["why"]]
    leaking = leak_findings(list(zip(*(column.tolist() for column in columns), strict=True)))

    def examine(entry: Entry) -> Examined:
        # Of a Case of its own, which is let go: many receipts with their counts of HU fill the memory.
        case, record = Case(store.storage, entry, store.spec, store.reading), entry.record
        name = chosen.label_set
        found = {} if not record.labels else case.receipt.foreground_of(name or store.spec.mask)
        one = Examined.of(record, store.spec, found, is_own=name is None)
        return one.having([leaking[record.id]] if record.id in leaking else [])

    return all_at_once(examine, list(chosen.entries.values()))


def _severity(asked: str) -> Severity:
    require_known("severity", [asked], list(Severity))
    return Severity(asked)
