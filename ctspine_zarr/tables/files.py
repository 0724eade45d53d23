"""Tables of pandas as Parquet files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.outputs import require_free, whole_file
from ctspine_zarr.tables.parquet import seen
from ctspine_zarr.tables.records import LISTS


def write_parquet(table: pd.DataFrame, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a table, such as `store.vertebrae`, as one Parquet file.

    Lists of texts are lists there; objects, such as rows of a spreadsheet, whose fields differ by case, are
    JSON texts. An index that has a name is the first column. Integers beyond 64 bits are texts.

    Args:
        table: of a store, or made from one.
        path: its folder is made where it does not exist.
        overwrite: replace a file that is there.

    Raises:
        UnknownValue: two columns of one name, the index's included, or values that no column can have.
        StorageError: the file exists, or cannot be written; it is never there in part.
    """
    path = Path(path)
    if not overwrite:
        require_free(path)
    index = [table.index.name] if table.index.name else []
    names = [str(name) for name in [*index, *table.columns]]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        message = f"a table with two columns {twice[0]!r}; legal: names that differ, the index's included"
        raise UnknownValue(message)
    flat = table.reset_index() if index else table
    columns = {name: _column(name, flat[own]) for name, own in zip(names, flat.columns, strict=True)}
    with whole_file(path) as file, _told("a table"):
        parquet.write_table(pa.table(columns), file)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of Arrow's and JSON's as one of ours."""
    try:
        yield
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        message = f"{what}: {seen(error)}; legal: numbers, texts, true and false, or tuples of texts"
        raise UnknownValue(message) from error


def _column(name: str, values: pd.Series[Any]) -> pa.Array:
    with _told(f"column {name!r}"):
        return _converted(name, values)


def _converted(name: str, values: pd.Series[Any]) -> pa.Array:
    # A table of a user's may have columns of these names as well, of other values.
    is_lists = values.dtype == object and all(isinstance(value, tuple | list) for value in values.dropna())
    if name in LISTS and is_lists:
        return pa.array(values, pa.list_(pa.string()))
    if any(isinstance(value, tuple | Mapping) for value in values):
        return pa.array([json.dumps(value, ensure_ascii=False) for value in values], pa.string())
    # Without a value there is no type to see.
    if values.dtype == object and values.isna().all():
        return pa.nulls(len(values), pa.string())
    # As in a column of a workbook, where 1 may stand above "one".
    if values.dtype == object and (len({*map(type, values.dropna())}) > 1 or any(map(_is_large, values))):
        return pa.array([None if pd.isna(value) else str(value) for value in values], pa.string())
    return pa.Array.from_pandas(values)


def _is_large(value: object) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63
