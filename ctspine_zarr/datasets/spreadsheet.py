"""The dataset's spreadsheet of patients, joined to cases by id."""

from __future__ import annotations

import datetime as dt
import io
import math
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ctspine_zarr.errors import SourceError
from ctspine_zarr.format.record import Cell

KEY: Final = "Patient Id"
MOST_INFLATED: Final = 1 << 28
MOST_CELLS: Final = 1 << 24
"""Bytes of a workbook's files together; cells and rows of its sheet."""

type Rows = Mapping[str, tuple[Mapping[str, Cell], ...]]


def read_spreadsheet(workbook: bytes, name: str) -> Rows:
    """Patient id -> its rows, column -> value; blank cells are left out, dates are ISO text.

    Args:
        workbook: bytes of an `.xlsx` file.
        name: what it is called in messages.

    Raises:
        SourceError: not a workbook, one that is too large (see `sheet_rows`), or its first sheet has no
            `Patient Id` column.
    """
    return _by_patient(sheet_rows(workbook, name), name)


def sheet_rows(
    workbook: bytes, name: str, most_rows: int | None = None, most_columns: int | None = None
) -> list[tuple[Any, ...]]:
    """The cells of a workbook's first sheet, row by row; a row ends with its last cell that is there.

    Args:
        workbook: bytes of an `.xlsx` file.
        name: what it is called in messages.
        most_rows, most_columns: that are read; all by default.

    Raises:
        SourceError: not a workbook, or one that inflates to more than 256 MiB, or has more than 16,777,216
            cells, where a row has those before its last one as well.
    """
    import openpyxl

    try:
        _require_small(workbook)
        book = openpyxl.load_workbook(io.BytesIO(workbook), read_only=True, data_only=True)
        try:
            sheet = book.worksheets[0]
            # It says how large it is, and would be filled up to that.
            sheet.reset_dimensions()
            return list(_bounded(sheet.iter_rows(max_row=most_rows, values_only=True), most_columns))
        finally:
            book.close()
    # It raises whatever its zip and XML parsers do.
    except Exception as error:
        message = f"cannot read spreadsheet {name}: {error}"
        raise SourceError(message) from error


def _require_small(workbook: bytes) -> None:
    """Do nothing where the members of an archive are small: no more of each is read than it says itself."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_INFLATED:
        message = f"{size} bytes once it is inflated; legal: at most {MOST_INFLATED}"
        raise ValueError(message)


def _bounded(rows: Iterable[Sequence[Any]], most_columns: int | None) -> Iterator[tuple[Any, ...]]:
    cells = 0
    for row in rows:
        # A row that is not there at all is counted as well.
        cells += len(row) + 1
        if cells > MOST_CELLS:
            message = f"more than {MOST_CELLS} cells and rows; legal: as many, blank ones included"
            raise ValueError(message)
        yield tuple(row[:most_columns])


def _by_patient(rows: Iterable[tuple[Any, ...]], name: str) -> Rows:
    lines = iter(rows)
    header = [str(cell).strip() if cell is not None else "" for cell in next(lines, ())]
    if KEY not in header:
        message = f"spreadsheet {name} has columns {header}; legal: one of them {KEY!r}"
        raise SourceError(message)
    patients: dict[str, list[Mapping[str, Cell]]] = defaultdict(list)
    for line in lines:
        row = {
            name: _plain(cell) for name, cell in zip(header, line, strict=False) if name and cell is not None
        }
        if KEY in row:
            patients[str(row.pop(KEY)).strip()].append(row)
    return {patient: tuple(found) for patient, found in patients.items()}


def _plain(cell: Any) -> Cell:
    if isinstance(cell, dt.datetime | dt.date | dt.time):
        return cell.isoformat()
    # JSON has no NaN and no infinity.
    is_plain = isinstance(cell, str | int | bool) or (isinstance(cell, float) and math.isfinite(cell))
    return cell if is_plain else str(cell)
