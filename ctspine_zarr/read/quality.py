"""Findings of a store, by the rules of this version, whichever version built it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

from ctspine_zarr.errors import require_known
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.findings import Severity
from ctspine_zarr.quality.examined import Examined, leak_findings
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.select import Criteria
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import all_at_once

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("case", "split", "source", "code", "severity", "message", "labels", "figures")


def qc(store: Store, *, severity: str = "info", **criteria: Unpack[Criteria]) -> pd.DataFrame:
    """One row a finding of the cases that fit every criterion, case by case.

    Findings about labels are found anew by this version's rules, from the catalog and each case's receipt, so
    that they are the same whichever version built the store; those about headers are as the build saw them. No
    voxel is read. Leaks are those of `store`, whichever of its cases fit.

    Columns: case, split, source; code, severity, message; labels (names), figures (name -> number).

    Args:
        store: an open one.
        severity: the least that is told: `info`, `warning` or `error`.
        criteria: as for `Store.select`; with `labels`, of the labels of that set.

    Raises:
        UnknownCase, UnknownValue: as for `Store.select`; a severity that is none.
        DamagedStore: a receipt is missing or altered.
    """
    import pandas as pd

    require_known("severity", [severity], list(Severity))
    names = store.spec.labels
    rows = [
        (
            *(one.case, one.split, one.source),
            *(found.code, str(found.severity), found.message),
            tuple(names.get(label, str(label)) for label in found.labels),
            dict(found.figures),
        )
        for one in examined(store, **criteria)
        for found in one.at_least(Severity(severity)).findings
    ]
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS))


def examined(store: Store, **criteria: Unpack[Criteria]) -> list[Examined]:
    """The cases of a store that fit every criterion, and what is found of each; see `qc`."""
    chosen = store.select(**criteria)
    leaks = store.leaks()
    rows = zip(leaks.index, leaks["split"], leaks["group"], leaks["why"], strict=True)
    leaking = leak_findings(
        [(str(case), str(split), int(group), str(why)) for case, split, group, why in rows]
    )

    def examine(entry: Entry) -> Examined:
        # Of a Case of its own, which is let go: many receipts with their counts of HU fill the memory.
        case, record = Case(store.storage, entry, store.spec, store.reading), entry.record
        name = chosen.label_set
        found = {} if not record.labels else case.receipt.foreground_of(name or store.spec.mask)
        one = Examined.of(record, store.spec, found, is_own=name is None)
        return one.having([leaking[record.id]] if record.id in leaking else [])

    return all_at_once(examine, list(chosen.entries.values()))
