"""The list of series of CTSpine1K's authors, `Path.csv`: of each case study and series as archived. Pure.

A line is one cell, `<case>/<study>/<series>`, and a series is `<number>-<description>-<end of its UID>`:

    1.3.6.1.4.1.9328.50.4.0001/01-01-2000-1-Abdomen-0.4.1/4.000000-Coloprone  1.0  B30f-0.4.2

The description is what a technologist or a scanner wrote. Position, thickness and kernel are read from it
where it says them in one of these ways; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ctspine_zarr.errors import SourceError
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.record import Cell

COLUMNS: Final = ("study", "series", "position", "thickness_mm", "kernel")
"""Of what a line is parsed into."""

_LINE: Final = re.compile(r"([^/,\"]{1,128})/([^/\"]{1,1024})/([^/\"]{1,1024})")
# The number of the series stands before the description, the end of its UID behind.
_SERIES: Final = re.compile(r"[0-9]+\.[0-9]+-(.*)-[0-9.]+", re.DOTALL)
_THICKNESS: Final = re.compile(
    r"(?<![\w.])([0-9]{1,2}\.[0-9]{1,3})(?![\w.])|(?<![\w.])([0-9]{1,2})\s?mm\b", re.IGNORECASE
)
# Of two makers: B30f, B20s; FC13.
_KERNEL: Final = re.compile(r"(?<![A-Za-z0-9])([BHUT][0-9]{2}[a-z]|FC[0-9]{2})(?![a-z])")


def is_series_list(text: str) -> bool:
    """Whether a file's first line has the form of this list."""
    return _LINE.fullmatch(text.partition("\n")[0].strip()) is not None


def series_of(text: str, name: str) -> Iterator[tuple[str, tuple[Cell | None, ...]]]:
    """Case id, and what its line says, in the order of `COLUMNS`, of each line that is not blank.

    Args:
        text: of the list.
        name: what it is called in messages.

    Raises:
        SourceError: a line of another form.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            message = f"{name}, line {number}: {printable(line[:128])}; legal: <case>/<study>/<series>"
            raise SourceError(message)
        case, study, series = found.groups()
        yield case, (study, series, *parsed(series))


def parsed(series: str) -> tuple[str | None, float | None, str | None]:
    """Position (`prone` or `supine`), thickness in mm and kernel of a series; None for what it does not say.

    Positions are often cut short: `PRON`, `SUPI`, `SUP`.
    """
    whole = _SERIES.fullmatch(series)
    description = whole[1] if whole else series
    lower = description.lower()
    position = {(True, False): "prone", (False, True): "supine"}.get(("pron" in lower, "sup" in lower))
    thickness = _THICKNESS.search(description)
    kernel = _KERNEL.search(description)
    return position, float(thickness[1] or thickness[2]) if thickness else None, kernel and kernel[1]
