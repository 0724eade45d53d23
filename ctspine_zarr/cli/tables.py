"""Tables of cases and labels as they are printed: for a person, as CSV, and for JSON."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ctspine_zarr.format.names import printable
from ctspine_zarr.tables.records import LISTS
from ctspine_zarr.text import shape_text, size, spacing_text, span_text

type Rows = list[dict[str, Any]]

# Rows that rich lays out at once; it takes seconds for thousands.
_MOST_LAID_OUT: Final = 500
_PRINTED: Final = (
    *("case", "split", "source", "size (z, y, x)", "spacing mm", "labels", "findings", "stored", "level"),
    *("study_date", "study", "series_number", "series", "position", "collection", "licence"),
    *("cm3", "HU mean", "spread", "5 % to 95 %", "centroid (z, y, x)", "pieces", "cut"),
)
"""Names of columns that a person reads."""

_RIGHT: Final = (
    *("size (z, y, x)", "series_number", "stored", "cm3", "HU mean", "spread", "5 % to 95 %", "pieces"),
)


def with_metadata(table: pd.DataFrame, metadata: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A table with the columns of metadata by its `case`, and how these are named there.

    A name that the table has, or that is printed for a person, begins with `metadata:`, as often as it takes.
    """
    taken = {*map(str, table.columns), *_PRINTED}
    own = dict[str, str]()
    # Those first that can be what they are.
    for name in sorted(metadata.columns, key=lambda name: printable(name) in taken):
        new = name
        while printable(new) in taken:
            new = f"metadata:{new}"
        own[name] = new
        taken.add(printable(new))
    return table.join(metadata.rename(columns=own), on="case"), [own[name] for name in metadata.columns]


def as_csv(table: pd.DataFrame) -> str:
    """CSV with a line of names; lists are joined by spaces, objects are JSON."""
    flat = table.copy()
    for name in [name for name, dtype in table.dtypes.items() if dtype.name == "object"]:
        cells = [_cell(value, is_list=name in LISTS) for value in table[name]]
        # Else pandas would make floats of large integers.
        flat[name] = pd.Series(cells, flat.index, dtype="object")
    return str(flat.to_csv(index=False, lineterminator="\n"))


def shown_csv(table: pd.DataFrame) -> str:
    """CSV as it is for other programs, and for a terminal so that nothing in it is a command."""
    text = as_csv(table)
    return "\n".join(map(printable, text.split("\n"))) if _is_terminal() else text


def _cell(value: Any, *, is_list: bool) -> Any:
    if is_list and isinstance(value, tuple | list):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | Mapping) else value


def rows_of(table: pd.DataFrame) -> Rows:
    """An object a row, of JSON's types: what is missing is None."""
    rows = table.to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def cases_of(table: pd.DataFrame, added: Sequence[str] = ()) -> Rows:
    """What a person reads of each case, and the columns that are added."""
    return [
        {
            "case": row["case"],
            "split": row["split"],
            "source": row["source"],
            "size (z, y, x)": shape_text([row["slices"], row["rows"], row["columns"]]),
            "spacing mm": spacing_text([row[f"spacing_{axis}"] for axis in "zyx"]),
            "labels": span_text(row["labels"]) if row["has_mask"] else "no mask",
            "findings": ", ".join(dict.fromkeys(row["findings"])),
            "stored": size(row["stored_bytes"]),
            **_texts(row, added),
        }
        for row in rows_of(table)
    ]


def labels_of(table: pd.DataFrame, added: Sequence[str] = ()) -> Rows:
    """What a person reads of each label, and the columns that are added."""
    return [
        {
            "case": row["case"],
            "level": row["level"],
            "cm3": f"{row['cm3']:.1f}",
            "HU mean": f"{row['hu_mean']:.0f}",
            "spread": f"{row['hu_std']:.0f}",
            "5 % to 95 %": f"{row['hu_p05']:.0f} to {row['hu_p95']:.0f}",
            "centroid (z, y, x)": ", ".join(f"{row[f'centroid_{axis}']:.0f}" for axis in "zyx"),
            "pieces": str(row["pieces"]),
            "cut": "yes" if row["is_cut"] else "",
            "findings": ", ".join(dict.fromkeys(row["findings"])),
            **_texts(row, added),
        }
        for row in rows_of(table)
    ]


def series_of(table: pd.DataFrame, added: Sequence[str] = ()) -> Rows:
    """What a person reads of each series, and the columns that are added."""
    names = ("study_date", "study", "series_number", "series", "position", "collection", "licence")
    return [{"case": row["case"], **_texts(row, [*names, *added])} for row in rows_of(table)]


def _texts(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    cells = {name: row[name] for name in names}
    return {
        # A float as far as it is exact.
        name: "" if cell is None else f"{cell:.15g}" if isinstance(cell, float) else str(cell)
        for name, cell in cells.items()
    }


def text(rows: Rows) -> str:
    """A table: laid out for a terminal's width; elsewhere, or where it is long, a line a row."""
    # What a store says is text, and no markup.
    shown = [{printable(name): printable(cell) for name, cell in row.items()} for row in rows]
    lines: Iterable[str] = ()
    if shown and _is_terminal() and len(shown) <= _MOST_LAID_OUT:
        lines = _laid_out(shown)
    elif shown:
        lines = _lines(shown)
    return "\n".join([*lines, f"{len(rows)} rows"])


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _laid_out(rows: Rows) -> list[str]:
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        side: Literal["left", "right"] = "right" if name in _RIGHT else "left"
        table.add_column(Text(name), justify=side, overflow="fold", no_wrap=name == "case")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    page = Console(file=io.StringIO(), width=Console().width, highlight=False, color_system=None)
    with page.capture() as captured:
        page.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _lines(rows: Rows) -> Iterator[str]:
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    for row in ({name: name for name in widths}, *rows):
        cells = (
            row[name].rjust(width) if name in _RIGHT else row[name].ljust(width)
            for name, width in widths.items()
        )
        yield "  ".join(cells).rstrip()
