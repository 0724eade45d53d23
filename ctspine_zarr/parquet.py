"""Tables as Parquet files. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.outputs import require_free, whole_file
from ctspine_zarr.read.tables import LISTS

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError as error:
    _MESSAGE = "Parquet files need pyarrow: pip install 'ctspine-zarr[parquet]'"
    raise MissingDependency(_MESSAGE) from error


def write_parquet(table: pd.DataFrame, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a table, such as `store.vertebrae`, as one Parquet file.

    Lists of texts are lists there; objects, such as rows of a spreadsheet, whose fields differ by case, are
    JSON texts. An index that has a name is the first column.

    Args:
        table: of a store, or made from one.
        path: its folder is made where it does not exist.
        overwrite: replace a file that is there.

    Raises:
        StorageError: the file exists, or cannot be written; it is never there in part.
    """
    path = Path(path)
    if not overwrite:
        require_free(path)
    flat = table.reset_index() if table.index.name else table
    columns = {str(name): _column(str(name), flat[name]) for name in flat.columns}
    with whole_file(path) as file:
        parquet.write_table(pa.table(columns), file)


def _column(name: str, values: pd.Series[Any]) -> pa.Array:
    if name in LISTS:
        return pa.array(values, pa.list_(pa.string()))
    if any(isinstance(value, tuple | Mapping) for value in values):
        return pa.array([json.dumps(value, ensure_ascii=False) for value in values], pa.string())
    # Without a value there is no type to see.
    if values.dtype == object and values.isna().all():
        return pa.nulls(len(values), pa.string())
    # As in a column of a workbook, where 1 may stand above "one".
    if values.dtype == object and len({type(value) for value in values.dropna()}) > 1:
        return pa.array([None if pd.isna(value) else str(value) for value in values], pa.string())
    return pa.Array.from_pandas(values)
