"""Clinical metadata: tables of a user's, joined to cases by their ids or by those of patients. Pure.

A table is read column by column. Blank cells, and those that say NA or NaN, are left out. A column whose
cells are all whole numbers, numbers, or true and false, is of these; every other is text as it stands, so
that an id keeps its zeros. Without a point in any cell, what looks like an exponent is a letter of an id, as
of `1e5`. Dates of a workbook are ISO text.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final, Literal, Self

from msgspec import structs

from ctspine_zarr.datasets.series import SeriesByCase, is_series_list, read_series
from ctspine_zarr.datasets.spreadsheet import sheet_rows
from ctspine_zarr.errors import SourceError, UnknownValue
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.record import MOST_CELL, Cell, Columns, Record
from ctspine_zarr.format.series import columns_of
from ctspine_zarr.text import some_names

type By = Literal["case", "patient"]
type Line = tuple[str, Sequence[Any]]

ENDINGS: Final = (".csv", ".tsv", ".xlsx")
"""Of files that are read."""

MOST_BYTES: Final = 1 << 26
"""Of a file."""

MOST_ROWS: Final = 200_000
MOST_COLUMNS: Final = 256
MOST_NAME: Final = 128
"""Rows and columns of a table; characters of a column's name, and of a file's."""

MOST_ROW: Final = 1 << 16
"""Characters of a row as JSON: all rows of 1,005 cases are 66 MB at the most."""

# Keys of rows, and ids of cases, that match nothing and are named.
_MOST_TOLD: Final = 5
_BLANK: Final = frozenset({"", "na", "n/a", "nan", "null", "none"})
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,300})?(?:\.[0-9]{0,300})?(?:[eE][+-]?[0-9]{1,3})?")
_FLAGS: Final = {"true": True, "false": False}
_KEYS: Final[Mapping[str, By]] = {
    "case": "case",
    "caseid": "case",
    "patientid": "patient",
    "patient": "patient",
}


@dataclass(frozen=True)
class MetadataTable:
    """A table of metadata.

    Attributes:
        name: of its file.
        by: what its rows are keyed by.
        rows: key -> column -> value.
        series: of a list of series, case id -> its lines, which become the record's `series`; its rows are
            what they say in columns.
    """

    name: str
    by: By
    rows: Mapping[str, Columns]
    series: SeriesByCase = field(default_factory=dict)

    @classmethod
    def of_series(cls, name: str, series: SeriesByCase) -> Self:
        """A list of series, by the name of its file."""
        return cls(name, "case", {case: columns_of(lines) for case, lines in series.items()}, series)

    def added_to(self, record: Record) -> Record:
        """A case's record with what the table has of the case in place of what was there from it.

        A list of series takes no lines away: several may be joined, each of its own cases.
        """
        metadata = {name: row for name, row in record.metadata.items() if name != self.name}
        if self.series:
            series = self.series.get(record.id, record.series)
            return structs.replace(record, metadata=metadata, series=series)
        row = self.rows.get(record.patient_id if self.by == "patient" else record.id)
        found = metadata if row is None else metadata | {self.name: row}
        return structs.replace(record, metadata=dict(sorted(found.items())))

    def joined(self, cases: Mapping[str, str]) -> Joined:
        """The rows of cases.

        Args:
            cases: id -> id of the patient.
        """
        keys = cases if self.by == "patient" else {case: case for case in cases}
        found = {case: self.rows[key] for case, key in keys.items() if key in self.rows}
        used = set(keys.values())
        return Joined(
            self.name,
            found,
            unmatched_rows=tuple(key for key in self.rows if key not in used),
            unmatched_cases=tuple(case for case in cases if case not in found),
        )


@dataclass(frozen=True)
class Joined:
    """A table beside the cases that it is joined to.

    Attributes:
        name: of its file.
        rows: case id -> column -> value.
        unmatched_rows: keys of rows of no case.
        unmatched_cases: ids of cases without a row.
    """

    name: str
    rows: Mapping[str, Columns]
    unmatched_rows: tuple[str, ...]
    unmatched_cases: tuple[str, ...]

    def require_some(self, table: MetadataTable) -> None:
        """Do nothing where a row is of a case, or there is no row.

        Args:
            table: the table.

        Raises:
            SourceError: none of its rows is: it may be another dataset's, or keyed by another column.
        """
        if table.rows and len(self.unmatched_rows) == len(table.rows):
            seen = f"none of its {len(table.rows)} rows is of a {table.by} here: {self._keys}"
            cases = some_names(self.unmatched_cases, _MOST_TOLD)
            legal = f"of cases, such as {cases}" if table.by == "case" else f"of patients, as of {cases}"
            raise _wrong(self.name, f"{seen}; legal: {legal}, or another key: COLUMN=case or COLUMN=patient")

    @property
    def _keys(self) -> str:
        return some_names([printable(key[:MOST_NAME]) for key in self.unmatched_rows], _MOST_TOLD)

    def __str__(self) -> str:
        """What was joined, and what was not, in a line for a person."""
        told = [f"{self.name}: a row for {len(self.rows)} cases"]
        if self.unmatched_rows:
            told.append(f"{len(self.unmatched_rows)} rows of no case: {self._keys}")
        if self.unmatched_cases:
            cases = some_names(self.unmatched_cases, _MOST_TOLD)
            told.append(f"{len(self.unmatched_cases)} cases without a row: {cases}")
        return "; ".join(told)


def read_table(data: bytes, name: str, key: str | None = None) -> MetadataTable:
    """A table from the bytes of a file.

    Args:
        data: of a `.csv` or `.tsv` in UTF-8, whose first line has the columns' names, of an `.xlsx`, whose
            first sheet counts; or of the `Path.csv` of CTSpine1K's authors, known by its form.
        name: of the file.
        key: the column that tells which case a row is of: `COLUMN=case` or `COLUMN=patient`, or a column
            alone, which has ids of cases. By default a column `case`, `case_id`, `patient_id` or
            `patient`, however it is written.

    Raises:
        SourceError: no such table: another ending, no UTF-8, rows or cells that are too many or too
            long, a column or a key twice, or no column that is known to be the key.
        UnknownValue: a key that is no column.
    """
    name = PurePath(name).name
    if not name.isprintable() or not 0 < len(name) <= MOST_NAME or len(data) > MOST_BYTES:
        message = f"metadata of {len(data)} bytes; legal: {MOST_BYTES} at most, of a name of 1 to {MOST_NAME}"
        raise _wrong(name, message)
    ending = PurePath(name).suffix.lower()
    if ending not in ENDINGS:
        raise _wrong(name, f"ending {ending!r}; legal: {', '.join(ENDINGS)}")
    if ending == ".xlsx":
        rows = sheet_rows(data, name, MOST_ROWS + 2, MOST_COLUMNS + 1)
        return _table(rows, name, key, _of_workbook)
    text = _decoded(data, name)
    if key is None and is_series_list(text):
        return MetadataTable.of_series(name, read_series(text, name))
    return _table(_separated(text, name, ending), name, key, _of_texts)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(name, f"byte {error.start} is no UTF-8; legal: UTF-8, with or without a mark") from error


def _separated(text: str, name: str, ending: str) -> list[list[str]]:
    first = text.partition("\n")[0]
    # A spreadsheet in many languages separates by semicolons.
    mark = "\t" if ending == ".tsv" else max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        return [line for line, _ in zip(lines, range(MOST_ROWS + 2), strict=False)]
    except csv.Error as error:
        raise _wrong(name, f"no table: {error}; legal: cells of up to {MOST_CELL} characters") from error


def _table(
    rows: Iterable[Sequence[Any]], name: str, key: str | None, typed: Callable[[list[Any]], list[Cell | None]]
) -> MetadataTable:
    """The table of rows, of which the first that is not blank names the columns."""
    filled = [(at, row) for at, row in enumerate(rows, 1) if any(not _is_blank(cell) for cell in row)]
    if len(filled) < 2 or len(filled) > MOST_ROWS + 1:
        raise _wrong(name, f"{max(len(filled) - 1, 0)} rows; legal: names of columns, then 1 to {MOST_ROWS}")
    header = _header(filled.pop(0)[1], name)
    column, by = _key_of(header, key, name)
    for at, row in filled:
        if any(not _is_blank(cell) for cell in row[len(header) :]):
            raise _wrong(name, f"row {at} has more cells than the {len(header)} columns")
    cells = [[row[at] if at < len(row) else None for _, row in filled] for at in range(len(header))]
    keys = [_key_text(cell) for cell in cells[column]]
    kept = [at for at, label in enumerate(header) if label and at != column]
    values = [typed(cells[at]) for at in kept]
    lines = [(one, [of[at] for of in values]) for at, one in enumerate(keys)]
    if "" in keys:
        raise _wrong(name, f"row {filled[keys.index('')][0]} has no {header[column]}; legal: one in each row")
    return _keyed(name, by, [header[at] for at in kept], lines)


def _keyed(name: str, by: By, columns: list[str], lines: Sequence[Line]) -> MetadataTable:
    if twice := [key for key, count in Counter(key for key, _ in lines).items() if count > 1]:
        raise _wrong(name, f"several rows of {some_names(list(map(printable, twice)))}; legal: one of each")
    rows: dict[str, Columns] = {}
    for key, values in lines:
        row = {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        long = [column for column, cell in row.items() if isinstance(cell, str) and len(cell) > MOST_CELL]
        if long or len(json.dumps(row)) > MOST_ROW:
            legal = f"cells of {MOST_CELL} characters, and rows of {MOST_ROW}, at the most"
            raise _wrong(name, f"the row of {printable(key[:MOST_NAME])} is too long; legal: {legal}")
        rows[key] = row
    return MetadataTable(name, by, rows)


def _header(cells: Sequence[Any], name: str) -> list[str]:
    header = ["" if cell is None else str(cell).strip() for cell in cells]
    while header and not header[-1]:
        header.pop()
    named = [label for label in header if label]
    long = [label for label in named if len(label) > MOST_NAME or not label.isprintable()]
    if long or len(header) > MOST_COLUMNS:
        legal = f"{MOST_COLUMNS}, of printable names of up to {MOST_NAME} characters"
        raise _wrong(name, f"{len(header)} columns; legal: at most {legal}")
    if twice := [label for label, count in Counter(named).items() if count > 1]:
        raise _wrong(name, f"two columns {twice[0]!r}; legal: a name for each")
    return header


def _key_of(header: list[str], key: str | None, name: str) -> tuple[int, By]:
    """Index of the column that is the key, and what it tells."""
    if key is None:
        known = [re.sub(r"[\s_.-]", "", label.lower()) for label in header]
        for label, by in _KEYS.items():
            if label in known:
                return known.index(label), by
        legal = "a column case or patient_id, or a key COLUMN=case or COLUMN=patient (--metadata-key)"
        raise _wrong(name, f"columns {some_names(header)}; legal: {legal}")
    column, _, said = key.rpartition("=")
    column = column if column and said in {"case", "patient"} else key
    if column not in header:
        message = f"metadata {name} has no column {column!r} for a key; legal: {some_names(header)}"
        raise UnknownValue(message)
    return header.index(column), "patient" if column != key and said == "patient" else "case"


def _key_text(cell: Any) -> str:
    text = "" if cell is None else str(cell).strip()
    # An id is often written as the name of its file.
    return text.removesuffix(".gz").removesuffix(".nii")


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _BLANK)


def _of_texts(cells: list[Any]) -> list[Cell | None]:
    """The values of a column of texts."""
    texts = [None if _is_blank(cell) else str(cell).strip() for cell in cells]
    said = [text for text in texts if text is not None]
    kind: Callable[[str], Cell] = str
    if all(_INTEGER.fullmatch(text) for text in said):
        kind = int
    elif _are_numbers(said):
        kind = float
    elif all(text.lower() in _FLAGS for text in said):
        kind = _flag
    return [None if text is None else kind(text) for text in texts]


def _are_numbers(texts: list[str]) -> bool:
    has_point = any("." in text for text in texts)
    is_id = not has_point and any("e" in text.lower() for text in texts)
    return not is_id and all(_NUMBER.fullmatch(text) and _is_number(text) for text in texts)


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _of_workbook(cells: list[Any]) -> list[Cell | None]:
    """The values of a column of a workbook, which has types of its own."""
    return [None if _is_blank(cell) else _plain(cell) for cell in cells]


def _plain(cell: Any) -> Cell:
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    if isinstance(cell, dt.datetime | dt.date | dt.time):
        return cell.isoformat()
    # What no 64 bits hold, or is no number, is no number of a table.
    is_number = isinstance(cell, int | float) and abs(cell) < 2**63
    return cell if isinstance(cell, bool) or is_number else str(cell).strip()


def _wrong(name: str, seen: str) -> SourceError:
    return SourceError(f"metadata {printable(name[:MOST_NAME])}: {seen}")
