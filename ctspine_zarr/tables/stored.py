"""The tables that a store has at its root, for readers of Parquet alone: the Hub's, DuckDB, polars."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ctspine_zarr.format.layout import CASES_TABLE, VERTEBRAE_TABLE
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.tables.parquet import Kind, encode_parquet
from ctspine_zarr.tables.records import CASE_COLUMNS, LABEL_COLUMNS, case_row, label_rows

THUMBNAIL: Final = "thumbnail"

# Rows that are read together where a reader wants some: each has a picture of up to 40 kB.
_CASES_A_GROUP: Final = 100
# Of columns that are not of floats.
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("case", "split", "source", "patient_id", "orientation", "transitional"), Kind.TEXT),
    **dict.fromkeys(("severity", "spreadsheet", "dtype", "codec", "path", "level", "region"), Kind.TEXT),
    **dict.fromkeys(("study_date", "study", "series", "position", "kernel"), Kind.TEXT),
    **dict.fromkeys(("labels", "findings"), Kind.TEXTS),
    **dict.fromkeys(
        ("slices", "rows", "columns", "label_voxels", "stored_bytes", "source_bytes"), Kind.INTEGER
    ),
    **dict.fromkeys(("label", "voxels", "pieces", "series_number"), Kind.INTEGER),
    **dict.fromkeys((f"{end}_{axis}" for end in ("start", "stop") for axis in "zyx"), Kind.INTEGER),
    **dict.fromkeys(("has_mask", "is_cut"), Kind.FLAG),
    THUMBNAIL: Kind.PICTURE,
}


def encode_tables(records: Sequence[Record], spec: Spec, thumbnails: Iterable[bytes]) -> dict[str, bytes]:
    """Key -> Parquet file of each table of a store; the same bytes by the same version of pyarrow.

    `cases.parquet` has the columns of `Store.cases`, the case's id first, its spreadsheet as JSON, and the
    thumbnail as the last: a struct of `bytes` and `path` that the Hub and `datasets` take for a picture.
    `vertebrae.parquet` has those of `Store.vertebrae`.

    Args:
        records: of the cases, in the order of rows.
        spec: of their dataset.
        thumbnails: a JPEG of each case; empty where it has none.
    """
    cases = _columns(CASE_COLUMNS, map(case_row, records))
    cases["spreadsheet"] = [json.dumps(cell, ensure_ascii=False) for cell in cases["spreadsheet"]]
    cases[THUMBNAIL] = [_picture(record, data) for record, data in zip(records, thumbnails, strict=True)]
    labels = _columns(LABEL_COLUMNS, label_rows(records, spec))
    return {
        CASES_TABLE: encode_parquet(_typed(cases), rows=_CASES_A_GROUP),
        VERTEBRAE_TABLE: encode_parquet(_typed(labels)),
    }


def _columns(names: Sequence[str], rows: Iterable[tuple[object, ...]]) -> dict[str, list[object]]:
    cells: list[list[object]] = [[] for _ in names]
    put: list[Callable[[object], None]] = [column.append for column in cells]
    for row in rows:
        for append, cell in zip(put, row, strict=True):
            append(cell)
    return dict(zip(names, cells, strict=True))


def _typed(columns: Mapping[str, Sequence[object]]) -> dict[str, tuple[Kind, Sequence[object]]]:
    return {name: (_KINDS.get(name, Kind.FLOAT), cells) for name, cells in columns.items()}


def _picture(record: Record, data: bytes) -> dict[str, object] | None:
    return {"bytes": data, "path": f"{record.id}.jpg"} if data else None
