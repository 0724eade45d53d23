"""The dataset's spreadsheet of patients, joined to cases by id."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ctspine_zarr.errors import SourceError

KEY = "Patient Id"

type Rows = Mapping[str, tuple[Mapping[str, Any], ...]]


def read_spreadsheet(file: Path | BinaryIO, name: str) -> Rows:
    """Patient id -> its rows, column -> value; blank cells are left out, dates are ISO text.

    Args:
        file: the workbook.
        name: what it is called in messages.

    Raises:
        SourceError: not a workbook, or its first sheet has no `Patient Id` column.
    """
    import openpyxl

    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            rows = list(book.worksheets[0].iter_rows(values_only=True))
        finally:
            book.close()
    # It raises whatever its zip and XML parsers do.
    except Exception as error:
        message = f"cannot read spreadsheet {name}: {error}"
        raise SourceError(message) from error
    return _by_patient(rows, name)


def _by_patient(rows: Iterable[tuple[Any, ...]], name: str) -> Rows:
    lines = iter(rows)
    header = [str(cell).strip() if cell is not None else "" for cell in next(lines, ())]
    if KEY not in header:
        message = f"spreadsheet {name} has columns {header}; legal: one of them {KEY!r}"
        raise SourceError(message)
    patients: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        row = {
            name: _plain(cell) for name, cell in zip(header, line, strict=False) if name and cell is not None
        }
        if KEY in row:
            patients[str(row.pop(KEY)).strip()].append(row)
    return {patient: tuple(found) for patient, found in patients.items()}


def _plain(cell: Any) -> str | int | float | bool:
    if isinstance(cell, dt.datetime | dt.date | dt.time):
        return cell.isoformat()
    return cell if isinstance(cell, str | int | float | bool) else str(cell)
