"""The table of series, and of the collections that cases come from. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ctspine_zarr.format.record import Record
from ctspine_zarr.format.series import Series
from ctspine_zarr.format.spec import SourceCollection, Spec

if TYPE_CHECKING:
    import pandas as pd

_CASE: Final = ("case", "split", "source", "patient_id")
_SERIES: Final = (
    *("study_date", "study_id", "study", "study_uid_end", "series_number", "series", "series_uid_end"),
    *("position", "thickness_mm", "kernel"),
)
_COLLECTION: Final = ("collection", "licence", "licence_note", "doi", "url", "citation")
_UNKNOWN: Final = SourceCollection(title="")
DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys((*_CASE, *_SERIES, *_COLLECTION, "text"), "str")
    | {"series_number": "Int64", "thickness_mm": "float64"}
)
"""Column -> dtype, in which what is missing has a place."""


def series_table(records: Iterable[Record], spec: Spec) -> pd.DataFrame:
    """One row a line of a case, or one of a case without any; see `Store.series` for the columns.

    Args:
        records: of cases, in the order of rows.
        spec: of their dataset.
    """
    import pandas as pd

    columns = [*_CASE, *_SERIES, *_COLLECTION, "text"]
    rows = [row for record in records for row in _rows(record, spec)]
    return pd.DataFrame.from_records(rows, columns=columns).astype(dict[Hashable, Any](DTYPES))


def _rows(record: Record, spec: Spec) -> Iterator[tuple[object, ...]]:
    about = (record.id, record.split, record.source, record.patient_id)
    found = spec.collections.get(record.source, _UNKNOWN)
    known = (found.title, found.licence, found.licence_note, found.doi, found.url, found.citation)
    blank = [text or None for text in known]
    lines: Iterable[Series | None] = record.series or (None,)
    for line in lines:
        said = [None if line is None else getattr(line, name) for name in _SERIES]
        yield (*about, *said, *blank, None if line is None else line.text)
