"""Series of DICOM files that cases were made from, as an archive names their folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

type SeriesText = Annotated[str, Meta(max_length=1024)]
type UidEnd = Annotated[str, Meta(pattern=r"^[0-9.]{1,5}\Z")]
type Position = Literal["prone", "supine"]

MOST_SERIES: Final = 256
"""Lines of one case."""

SERIES_COLUMNS: Final = (
    *("study_date", "study", "series_number", "series", "position", "thickness_mm", "kernel"),
)
"""Fields of a case's one line that its row in a table of cases has."""


class Series(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a list of series; None stands for what it does not say.

    Attributes:
        text: the line as it stands, `<patient>/<study>/<series>`.
        study_date: ISO 8601, as the archive has it: de-identified, and so no day on which anybody was
            scanned.
        study_id: number of the study, most often 1.
        study: its description, without the signs that no name of a folder has.
        study_uid_end: the last five characters of its UID.
        series_number, series, series_uid_end: likewise of the series.
        position: of the patient, where the description of the series says it.
        thickness_mm: of a slice, where it says that.
        kernel: of the reconstruction, as its maker names it.
    """

    text: Annotated[str, Meta(max_length=2304)]
    study_date: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")] | None = None
    study_id: Annotated[str, Meta(max_length=16)] | None = None
    study: SeriesText | None = None
    study_uid_end: UidEnd | None = None
    series_number: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    series: SeriesText | None = None
    series_uid_end: UidEnd | None = None
    position: Position | None = None
    thickness_mm: Annotated[float, Meta(gt=0, lt=1000)] | None = None
    kernel: Annotated[str, Meta(max_length=16)] | None = None


def columns_of(lines: Sequence[Series]) -> dict[str, str | int | float]:
    """Name -> value of `SERIES_COLUMNS`, of a case of one line; none of several: which it is, nobody says."""
    if len(lines) != 1:
        return {}
    values = {name: getattr(lines[0], name) for name in SERIES_COLUMNS}
    return {name: value for name, value in values.items() if value is not None}
