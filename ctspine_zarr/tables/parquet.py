"""Columns of stated types as the bytes of a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from ctspine_zarr.errors import Malformed


class Kind(StrEnum):
    """Types of a column; any may have blanks."""

    TEXT = "text"
    TEXTS = "texts"
    """A list of texts in each cell."""
    FLOAT = "float"
    INTEGER = "integer"
    FLAG = "flag"
    PICTURE = "picture"
    """A struct of a file's `bytes` and its `path`, which the Hub and `datasets` take for an image."""


# By which a table of a store is told from a file of a user's of that name.
_MARK: Final = "ctspine_zarr"
_MARKED: Final = "table"
# Characters of a message.
_MOST_TOLD: Final = 300
_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    Kind.TEXT: pa.string(),
    Kind.TEXTS: pa.list_(pa.string()),
    Kind.FLOAT: pa.float64(),
    Kind.INTEGER: pa.int64(),
    Kind.FLAG: pa.bool_(),
    Kind.PICTURE: pa.struct({"bytes": pa.binary(), "path": pa.string()}),
}


def columns_of(data: bytes) -> dict[str, Kind]:
    """Column -> kind, of a Parquet file in their order; without those of other types.

    Args:
        data: of the file.

    Raises:
        Malformed: it is no Parquet file.
    """
    kinds = {form: kind for kind, form in _TYPES.items()}
    fields = _schema(data)
    # Parquet has a name of its own for what is in a list.
    types = {
        one.name: pa.list_(one.type.value_type) if pa.types.is_list(one.type) else one.type for one in fields
    }
    return {name: kinds[form] for name, form in types.items() if form in kinds}


def is_marked(data: bytes) -> bool:
    """Whether bytes are a Parquet file that `encode_parquet` made, of whatever version."""
    try:
        return (_schema(data).metadata or {}).get(_MARK.encode()) is not None
    except Malformed:
        return False


def _schema(data: bytes) -> pa.Schema:
    try:
        return parquet.read_schema(pa.BufferReader(data))
    # By what is wrong with its footer.
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"is no Parquet file: {seen(error)}"
        raise Malformed(message) from error


def seen(error: Exception) -> str:
    """What Arrow says, on one line of bounded length."""
    return " ".join(str(error).split())[:_MOST_TOLD]


def encode_parquet(columns: Mapping[str, tuple[Kind, Sequence[object]]], *, rows: int | None = None) -> bytes:
    """A Parquet file of these columns, in their order; the same bytes by the same version of pyarrow.

    Args:
        columns: name -> its kind and a cell a row; None is a blank.
        rows: of a group, which readers that want some of them read whole; by default pyarrow's.
    """
    fields = [pa.field(name, _TYPES[kind]) for name, (kind, _) in columns.items()]
    pictures = {name: {"_type": "Image"} for name, (kind, _) in columns.items() if kind is Kind.PICTURE}
    # As `datasets` writes it: https://huggingface.co/docs/datasets, `Features.arrow_schema`.
    features = {"huggingface": json.dumps({"info": {"features": pictures}})} if pictures else {}
    arrays = [pa.array(cells, field.type) for field, (_, cells) in zip(fields, columns.values(), strict=True)]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, {_MARK: _MARKED, **features}))
    file = pa.BufferOutputStream()
    parquet.write_table(table, file, row_group_size=rows, compression="zstd", write_page_index=True)
    written: bytes = file.getvalue().to_pybytes()
    return written
