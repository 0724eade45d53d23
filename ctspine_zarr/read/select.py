"""Which cases of a catalog fit a request. Pure."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, SupportsIndex, TypedDict

from ctspine_zarr.dataset import LABELS, MAX_LABEL, SOURCE_NAMES, SPLIT_NAMES, VERTEBRAE
from ctspine_zarr.errors import UnknownValue, require_known
from ctspine_zarr.format.record import Code, Record

if TYPE_CHECKING:
    import pandas as pd

type OneOrMore[T] = T | Collection[T]


class Criteria(TypedDict, total=False):
    """What every selected case has. A criterion left out, or None, excludes nothing.

    Attributes:
        split: one of train, validation and test, or several.
        source: one of the four source datasets, or several.
        min_slices, max_slices: axial slices, inclusive.
        has_label: vertebrae that must all be present, as names (`"L6"`) or values (25).
        transitional: whether the dataset's card lists a transitional vertebra.
        without_finding: codes of findings, none of which the case may have.
    """

    split: OneOrMore[str] | None
    source: OneOrMore[str] | None
    min_slices: int | None
    max_slices: int | None
    has_label: OneOrMore[str | SupportsIndex] | None
    transitional: bool | None
    without_finding: OneOrMore[str] | None


def select(records: Iterable[Record], criteria: Criteria) -> list[Record]:
    """The records that fit, in their order.

    Raises:
        UnknownValue: a criterion, split, source or label that does not exist.
    """
    _known("criterion", set(criteria), Criteria.__optional_keys__)
    splits = _known("split", criteria.get("split"), SPLIT_NAMES)
    sources = _known("source", criteria.get("source"), SOURCE_NAMES)
    labels = {_label(label) for label in _several(criteria.get("has_label")) or ()}
    unwanted = _known("finding", criteria.get("without_finding"), list(Code)) or set()
    transitional = criteria.get("transitional")
    if transitional not in (None, True, False):
        message = f"transitional {transitional!r}; legal: True, False, None"
        raise UnknownValue(message)
    least, most = criteria.get("min_slices"), criteria.get("max_slices")
    return [
        record
        for record in records
        if (splits is None or record.split in splits)
        and (sources is None or record.source in sources)
        and (least is None or record.shape[0] >= least)
        and (most is None or record.shape[0] <= most)
        and labels <= {vertebra.label for vertebra in record.vertebrae}
        and transitional in (None, record.transitional is not None)
        and unwanted.isdisjoint(finding.code for finding in record.findings)
    ]


COLUMNS: Final = (
    *("case", "split", "source", "patient_id"),
    *("slices", "rows", "columns", "spacing_z", "spacing_y", "spacing_x", "orientation"),
    *("hu_min", "hu_max", "hu_mean", "labels", "label_voxels"),
    *("transitional", "findings", "spreadsheet"),
    *("dtype", "codec", "stored_bytes", "source_bytes", "path"),
)


def table(records: Iterable[Record]) -> pd.DataFrame:
    """One row a case, indexed by case id; see `Store.cases` for the columns."""
    import pandas as pd

    rows = [_row(record) for record in records]
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).set_index("case")


def _row(record: Record) -> tuple[object, ...]:
    hu = record.intensity
    return (
        *(record.id, record.split, record.source, record.patient_id),
        *record.shape,
        *record.spacing,
        record.orientation,
        *(hu.min, hu.max, hu.mean),
        tuple(vertebra.name for vertebra in record.vertebrae),
        sum(vertebra.voxels for vertebra in record.vertebrae),
        record.transitional,
        tuple(finding.code for finding in record.findings),
        record.spreadsheet,
        *(record.dtype, record.codec, record.stored_bytes, record.source_bytes, record.path),
    )


def _several[T: (str, str | SupportsIndex)](value: OneOrMore[T] | None) -> set[T] | None:
    if value is None:
        return None
    return {value} if isinstance(value, str | SupportsIndex) else set(value)


def _known(what: str, asked: OneOrMore[str] | None, legal: Collection[str]) -> set[str] | None:
    names = _several(asked)
    require_known(what, sorted(names or ()), legal)
    return names


def _label(label: str | SupportsIndex) -> int:
    value = LABELS.get(label) if isinstance(label, str) else operator.index(label)
    if value is None or value not in VERTEBRAE:
        message = f"unknown label {label!r}; legal: {', '.join(LABELS)}, or 1 to {MAX_LABEL}"
        raise UnknownValue(message)
    return value
