"""Numbers and kinds of files as people read them. Pure."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from typing import Final

_COLUMN: Final = 14
_MOST_NAMED: Final = 20
_USER: Final = re.compile(r"//[^/@\s]*@")
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_KINDS: Final = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def without_password(text: str) -> str:
    """A text whose URLs hold neither name nor password."""
    return _USER.sub("//", text)


def size(count: float) -> str:
    """Bytes in decimal units, three digits or more: `512 bytes`, `4.65 MB`, `150 GB`."""
    unit = 0
    while abs(count) >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or abs(count) >= 100 else 1 if abs(count) >= 10 else 2
    return f"{count:,.{digits}f} {_UNITS[unit]}"


def file_kind(mode: int) -> str:
    """The kind of file that has a mode of `stat`: `a file`, `a folder`, `a FIFO`."""
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def some_names(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """The first names, 20 by default, and whether there are more."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def shape_text(shape: Sequence[int]) -> str:
    """The voxels along each axis: `133 x 512 x 512`."""
    return " x ".join(map(str, shape))


def spacing_text(spacing: Sequence[float]) -> str:
    """The mm along each axis, three digits of each: `2.5 x 0.781 x 0.781`."""
    return " x ".join(f"{mm:.3g}" for mm in spacing)


def span_text(names: Sequence[str]) -> str:
    """The first and the last of some names, and how many there are: `T11 to L5 (7)`."""
    return ", ".join(names) if len(names) < 3 else f"{names[0]} to {names[-1]} ({len(names)})"


def cases_table(cases: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Split -> source -> how many, as lines: sources across, splits down."""
    names = list(dict.fromkeys(source for counts in cases.values() for source in counts))
    widths = [max(_COLUMN, len(name) + 2) for name in (*names, "all")]
    lines = [f"{'cases':<12}" + "".join(map(str.rjust, (*names, "all"), widths))]
    for split, counts in cases.items():
        row = [counts.get(name, 0) for name in names]
        lines.append(f"{split:<12}" + "".join(map(str.rjust, map(str, (*row, sum(row))), widths)))
    return lines
