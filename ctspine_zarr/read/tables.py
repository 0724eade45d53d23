"""Tables of what records say. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ctspine_zarr.format.record import Record

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = (
    *("case", "split", "source", "patient_id"),
    *("slices", "rows", "columns", "spacing_z", "spacing_y", "spacing_x", "orientation"),
    *("hu_min", "hu_max", "hu_mean", "hu_std", "hu_padding", "has_mask", "labels", "label_voxels"),
    *("transitional", "findings", "spreadsheet"),
    *("dtype", "codec", "stored_bytes", "source_bytes", "path"),
)


def case_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row a case, indexed by case id; see `Store.cases` for the columns."""
    import pandas as pd

    rows = [_row(record) for record in records]
    return pd.DataFrame.from_records(rows, columns=list(COLUMNS)).set_index("case")


def _row(record: Record) -> tuple[object, ...]:
    hu = record.intensity
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
        record.spreadsheet,
        *(record.image.dtype, record.image.codec, record.stored_bytes, record.source_bytes, record.path),
    )
