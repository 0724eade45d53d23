"""The list of series of CTSpine1K's authors, `Path.csv`: of each case study and series as archived. Pure.

A line is one cell, `<patient>/<study>/<series>`: folders as the downloader of The Cancer Imaging Archive
names them. The patient's is the case's id.

    study   <month>-<day>-<year>-[<number>-][<description>-]<end of its UID>
    series  <number>.000000-[<description>-]<end of its UID>

    1.3.6.1.4.1.9328.50.4.0001/01-01-2000-1-Abdomen-0.4.1/4.000000-Coloprone  1.0  B30f-0.4.2

The description is what a technologist or a scanner wrote, but for signs such as `_` and `^`. Position,
thickness and kernel are read from it where it says them in one of these ways; nothing is guessed. What begins
with digits and a hyphen is taken for the number of the study.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from ctspine_zarr.errors import SourceError
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.series import MOST_SERIES, Position, Series

type SeriesByCase = Mapping[str, tuple[Series, ...]]

SERIES_LIST: Final = "Path.csv"
"""Name of the list's file."""

_LINE: Final = re.compile(r"([^/,\"]{1,128})/([^/\"]{1,1024})/([^/\"]{1,1024})")
_UID_END: Final = r"(?P<uid_end>[0-9.]{1,5})"
_STUDY: Final = re.compile(
    r"(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])-(?P<year>[0-9]{4})-"
    rf"(?:(?P<id>[0-9]{{1,16}})-)?(?:(?P<description>.*)-)?{_UID_END}"
)
_SERIES: Final = re.compile(rf"(?P<number>[0-9]{{1,15}})\.0+-(?:(?P<description>.*)-)?{_UID_END}")
_THICKNESS: Final = re.compile(
    r"(?<![\w.])([0-9]{1,2}\.[0-9]{1,3})(?![\w.])|(?<![\w.])([0-9]{1,2})\s?mm\b", re.IGNORECASE
)
# Of two makers: B30f, B20s; FC13.
_KERNEL: Final = re.compile(r"(?<![A-Za-z0-9])([BHUT][0-9]{2}[a-z]|FC[0-9]{2})(?![a-z])")


def is_series_list(text: str) -> bool:
    """Whether a file's first line has the form of this list."""
    return _LINE.fullmatch(text.partition("\n")[0].strip()) is not None


def read_series(text: str, name: str) -> SeriesByCase:
    """Case id -> its lines, each once, in the order of the list; blank ones are left out.

    Several lines of a case are all kept: nothing says which one it was made from.

    Args:
        text: of the list.
        name: what it is called in messages.

    Raises:
        SourceError: a line of another form, or more than 256 of one case.
    """
    found: dict[str, list[Series]] = defaultdict(list)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = _LINE.fullmatch(line.strip())
        if parts is None or not line.strip().isprintable():
            message = f"{name}, line {number}: {printable(line[:128])}; legal: <case>/<study>/<series>"
            raise SourceError(message)
        case, study, series = parts.groups()
        one = Series(text=line.strip(), **_study(study), **_series(series))
        if one not in found[case]:
            found[case].append(one)
        if len(found[case]) > MOST_SERIES:
            message = f"{name}, line {number}: more than {MOST_SERIES} of {printable(case)}; legal: as many"
            raise SourceError(message)
    return {case: tuple(lines) for case, lines in found.items()}


def _study(folder: str) -> dict[str, Any]:
    """Fields of a study; none where its folder is named otherwise."""
    found = _STUDY.fullmatch(folder)
    if found is None:
        return {}
    return {
        "study_date": f"{found['year']}-{found['month']}-{found['day']}",
        "study_id": found["id"],
        "study": found["description"] or None,
        "study_uid_end": found["uid_end"],
    }


def _series(folder: str) -> dict[str, Any]:
    """Fields of a series; those of its text alone where its folder is named otherwise."""
    found = _SERIES.fullmatch(folder)
    position, thickness, kernel = said_by(found["description"] or "" if found else folder)
    said = {"position": position, "thickness_mm": thickness, "kernel": kernel}
    if found is None:
        return said
    return said | {
        "series_number": int(found["number"]),
        "series": found["description"] or None,
        "series_uid_end": found["uid_end"],
    }


def said_by(description: str) -> tuple[Position | None, float | None, str | None]:
    """Position, thickness in mm and kernel of a series; None for what its description does not say.

    Positions are often cut short: `PRON`, `SUPI`, `SUP`.
    """
    lower = description.lower()
    says: dict[tuple[bool, bool], Position] = {(True, False): "prone", (False, True): "supine"}
    position = says.get(("pron" in lower, "sup" in lower))
    thickness = _THICKNESS.search(description)
    kernel = _KERNEL.search(description)
    mm = float(thickness[1] or thickness[2]) if thickness else None
    return position, mm or None, kernel[1] if kernel else None
