"""The table of series, and of the collections that cases come from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
DTYPES: Final = MappingProxyType(
    dict[str, Any].fromkeys((*_CASE, *_SERIES, *_COLLECTION, "text"), "str")
    | {"series_number": "Int64", "thickness_mm": "float64"}
)
"""Column -> dtype, in which what is missing has a place; in order.

It is given to a column as that is made: older versions of pandas make letters of None where they make `str`
of a column that is there.
"""


def series_table(records: Iterable[Record], spec: Spec) -> pd.DataFrame:
    """One row a line of a case, or one of a case without any; see `Store.series` for the columns.

    Args:
        records: of cases, in the order of rows.
        spec: of their dataset.
    """
    import pandas as pd

    rows = [row for record in records for row in _rows(record, spec)]
    columns = zip(*rows, strict=True) if rows else ((),) * len(DTYPES)
    cells = zip(DTYPES.items(), columns, strict=True)
    return pd.DataFrame({name: pd.Series(list(column), dtype=dtype) for (name, dtype), column in cells})


def _rows(record: Record, spec: Spec) -> Iterator[tuple[object, ...]]:
    about = (record.id, record.split, record.source, record.patient_id)
    found = spec.collections.get(record.source, _UNKNOWN)
    known = (found.title, found.licence, found.licence_note, found.doi, found.url, found.citation)
    blank = [text or None for text in known]
    lines: Iterable[Series | None] = record.series or (None,)
    for line in lines:
        said = [None if line is None else getattr(line, name) for name in _SERIES]
        yield (*about, *said, *blank, None if line is None else line.text)
