"""Tables of what records say. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format.findings import worst
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.series import SERIES_COLUMNS, columns_of
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import voxel_volume
from ctspine_zarr.tables.series import DTYPES

if TYPE_CHECKING:
    import pandas as pd

LISTS: Final = ("labels", "findings")
"""Columns of texts, several in a cell."""

# Of 64 tables.
_MOST_COLUMNS: Final = 1 << 14
# Blank ones too: more than 8,000 cases with as many columns, a gigabyte.
_MOST_CELLS: Final = 1 << 27

CASE_COLUMNS: Final = (
    *("case", "split", "source", "patient_id"),
    *("slices", "rows", "columns", "spacing_z", "spacing_y", "spacing_x", "orientation"),
    *("hu_min", "hu_max", "hu_mean", "hu_std", "hu_padding", "has_mask", "labels", "label_voxels"),
    *("transitional", "findings", "severity", "spreadsheet"),
    *SERIES_COLUMNS,
    *("dtype", "codec", "stored_bytes", "source_bytes", "path"),
)


def case_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row a case, indexed by case id; see `Store.cases` for the columns."""
    import pandas as pd

    rows = [case_row(record) for record in records]
    table = pd.DataFrame.from_records(rows, columns=list(CASE_COLUMNS)).set_index("case")
    for name in SERIES_COLUMNS:
        cells = [row[CASE_COLUMNS.index(name)] for row in rows]
        table[name] = pd.Series(cells, table.index, dtype=DTYPES[name])
    return table


def case_row(record: Record) -> tuple[object, ...]:
    """The cells of a case, in the order of `CASE_COLUMNS`."""
    hu, series = record.intensity, columns_of(record.series)
    return (
        *(record.id, record.split, record.source, record.patient_id),
        *record.shape,
        *record.spacing,
        record.orientation,
        *(hu.min, hu.max, hu.mean, hu.std, hu.padding and hu.padding.value),
        record.has_mask,
        tuple(label.name for label in record.labels),
        sum(label.voxels for label in record.labels),
        record.transitional,
        tuple(finding.code for finding in record.findings),
        worst(record.findings),
        record.spreadsheet,
        *(series.get(name) for name in SERIES_COLUMNS),
        *(record.image.dtype, record.image.codec, record.stored_bytes, record.source_bytes, record.path),
    )


_PERCENTILES: Final = ("p00_5", "p05", "p50", "p95", "p99_5")
LABEL_COLUMNS: Final = (
    *("case", "split", "source", "patient_id", "label", "level", "region", "voxels", "cm3"),
    *("hu_mean", "hu_std", *(f"hu_{name}" for name in _PERCENTILES)),
    *("start_z", "start_y", "start_x", "stop_z", "stop_y", "stop_x"),
    *("centroid_z", "centroid_y", "centroid_x", "right_mm", "anterior_mm", "superior_mm"),
    *("pieces", "is_cut", "findings"),
)
# Of what is neither a category nor float64.
_DTYPES: Final = {
    **dict.fromkeys(("case", "patient_id"), "str"),
    **dict.fromkeys((name for name in LABEL_COLUMNS if name.startswith(("start_", "stop_"))), "int32"),
    **dict.fromkeys(("voxels", "pieces"), "int64"),
    "label": "uint8",
    "is_cut": "bool",
    "findings": "object",
}


def label_table(records: Iterable[Record], spec: Spec) -> pd.DataFrame:
    """One row a label of a case; see `Store.vertebrae` for the columns.

    Args:
        records: of cases, in the order of rows.
        spec: of their dataset.
    """
    import pandas as pd

    table = pd.DataFrame.from_records(list(label_rows(records, spec)), columns=list(LABEL_COLUMNS))
    dtypes: dict[Hashable, Any] = {name: _DTYPES.get(name, "float64") for name in LABEL_COLUMNS}
    for name, categories in _categories(spec).items():
        is_ordered = name == "level"
        dtypes[name] = pd.CategoricalDtype(list(dict.fromkeys(categories)), ordered=is_ordered)
    return table.astype(dtypes)


def _categories(spec: Spec) -> dict[str, Iterable[str]]:
    """Column -> its values, in order; of labels levels from the head down, then the others by value."""
    others = sorted(spec.labels.keys() - set(spec.levels))
    levels = [spec.labels[value] for value in (*spec.levels, *others)]
    return {"split": spec.splits, "source": spec.sources, "region": spec.regions, "level": levels}


def label_rows(records: Iterable[Record], spec: Spec) -> Iterator[tuple[object, ...]]:
    """The cells of each label of cases, in the order of `LABEL_COLUMNS`; see `label_table`."""
    # Of several regions of a label, the first.
    regions = {value: name for name, values in [*spec.regions.items()][::-1] for value in values}
    for record in records:
        yield from _label_rows(record, regions)


def _label_rows(record: Record, regions: Mapping[int, str]) -> Iterator[tuple[object, ...]]:
    about = (record.id, record.split, record.source, record.patient_id)
    # As numbers of Python: a table has many rows of few numbers each.
    (a, b, c, right), (d, e, f, front), (g, h, i, top), _ = record.affine
    voxel = voxel_volume(record.affine) / 1000
    for label in record.labels:
        z, y, x = label.centroid
        yield (
            *about,
            *(label.label, label.name, regions.get(label.label), label.voxels, label.voxels * voxel),
            *(label.hu.mean, label.hu.std, *(getattr(label.hu, name) for name in _PERCENTILES)),
            *label.start,
            *label.stop,
            *label.centroid,
            a * x + b * y + c * z + right,
            d * x + e * y + f * z + front,
            g * x + h * y + i * z + top,
            label.pieces,
            label.touches_edge(record.shape),
            tuple(finding.code for finding in record.findings if label.label in finding.labels),
        )


def metadata_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row a case, indexed by case id; see `Store.metadata` for the columns.

    Raises:
        DamagedStore: more columns, or cells, than any store that was written has.
    """
    import pandas as pd

    rows = {record.id: record.metadata for record in records}
    tables: dict[str, dict[str, None]] = {}
    for metadata in rows.values():
        for name, row in metadata.items():
            tables.setdefault(name, {}).update(dict.fromkeys(row))
    _require_bounded(tables, len(rows))
    cells = {
        own: [metadata.get(name, {}).get(column) for metadata in rows.values()]
        for (name, column), own in _own_names(tables).items()
    }
    index = pd.Index(list(rows), name="case", dtype="str")
    return pd.DataFrame({name: _typed(values, index) for name, values in cells.items()}, index=index)


def _require_bounded(tables: Mapping[str, Collection[str]], rows: int) -> None:
    columns = sum(map(len, tables.values()))
    if columns > _MOST_COLUMNS or columns * rows > _MOST_CELLS:
        seen = f"metadata of {len(tables)} tables, {columns} columns and {rows} rows"
        message = f"{seen}; legal: at most {_MOST_COLUMNS} columns in all, and {_MOST_CELLS} cells"
        raise DamagedStore(message)


def _own_names(tables: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """(table, column) -> the column's name, or `TABLE:COLUMN` where that is another's too, or the index's."""
    pairs = [(name, column) for name, columns in sorted(tables.items()) for column in columns]
    several = Counter(column for _, column in pairs)
    of_tables = {f"{name}:{column}" for name, column in pairs}
    alone = {column for column, count in several.items() if count == 1} - of_tables - {"case"}
    found, used = dict[tuple[str, str], str](), set(alone)
    for name, column in pairs:
        own = column if column in alone else f"{name}:{column}"
        # Names of files may have colons as well.
        while column not in alone and own in used:
            own = f"{name}:{own}"
        used.add(own)
        found[name, column] = own
    return found


def _typed(values: list[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    import pandas as pd

    there = [value for value in values if value is not None]
    kinds, has_gaps = {type(value) for value in there}, len(there) < len(values)
    if kinds == {bool}:
        return pd.Series(values, index, dtype="boolean" if has_gaps else "bool")
    if kinds == {int} and all(abs(value) < 2**63 for value in there):
        return pd.Series(values, index, dtype="Int64" if has_gaps else "int64")
    # An integer that no float is stays what it is, as what is mixed with others does.
    integers = [one for one in there if type(one) is int]
    if kinds <= {int, float} and all(abs(one) < 2**63 and int(float(one)) == one for one in integers):
        return pd.Series(values, index, dtype="float64")
    return pd.Series(values, index, dtype="str" if kinds == {str} else "object")
