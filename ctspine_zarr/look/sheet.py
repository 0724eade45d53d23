"""Contact sheets: many cases as small pictures in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.format.findings import Severity
from ctspine_zarr.format.record import Record
from ctspine_zarr.look import canvas
from ctspine_zarr.look.canvas import Picture
from ctspine_zarr.look.planes import Plane
from ctspine_zarr.look.small import drawn

TILE: Final = (184, 232)
"""(width, height) of a case on a contact sheet, in pixels."""

MOST_COLUMNS: Final = 50
_MARGIN: Final = 8
_TEXT: Final = 12
_TITLE: Final = 18
_DAMAGED: Final = "damaged"
# Lines of text below a picture.
_LINES: Final = 3
# A sheet is wider than tall by about that.
_ASPECT: Final = 1.4


def tile(plane: Plane | None, record: Record, window: tuple[float, float]) -> Picture:
    """A case on a contact sheet: its picture, id, split, source, numbers of labels and of odd findings.

    Args:
        plane: of the case; None where it is damaged, which the tile then says.
        record: of the case.
        window: HU that become black and white.
    """
    width, height = TILE
    room = height - _LINES * canvas.line_height(_TEXT)
    picture = canvas.blank(TILE)
    if plane is None:
        middle = ((width - canvas.extent(_DAMAGED, _TEXT)[0]) / 2, room / 2)
        canvas.write(picture, middle, _DAMAGED, _TEXT, canvas.AMBER)
    else:
        small = drawn(plane, (width, room), window)
        picture.paste(small, ((width - small.width) // 2, (room - small.height) // 2))
    labels = f"{len(record.labels)} labels" if record.has_mask else "no mask"
    for at, text in enumerate((record.id, f"{record.split}  {record.source}", labels)):
        below, shade = room + at * canvas.line_height(_TEXT), canvas.GREY if at else canvas.WHITE
        canvas.write(picture, (0, below), canvas.elided(text, _TEXT, width), _TEXT, shade, dark=False)
    odd = sum(finding.severity is not Severity.INFO for finding in record.findings)
    if odd:
        _mark(picture, odd)
    return picture


def sheet(tiles: Sequence[Picture], title: str, columns: int | None = None) -> Picture:
    """Tiles from left to right and from top to bottom below a title.

    Args:
        tiles: of `TILE`.
        title: one line.
        columns: tiles beside each other; by default as many as make the sheet a little wider than tall.

    Raises:
        UnknownValue: columns that are not from 1 to 50.
    """
    across = _columns(columns, len(tiles))
    down = max(1, math.ceil(len(tiles) / across))
    width, height = (
        _MARGIN + count * (edge + _MARGIN) for count, edge in zip((across, down), TILE, strict=True)
    )
    top = canvas.line_height(_TITLE) + _MARGIN
    picture = canvas.blank((width, top + height))
    shown = canvas.elided(title, _TITLE, width - 2 * _MARGIN)
    canvas.write(picture, (_MARGIN, _MARGIN), shown, _TITLE, dark=False)
    for at, one in enumerate(tiles):
        row, column = divmod(at, across)
        left, below = (
            _MARGIN + index * (edge + _MARGIN) for index, edge in zip((column, row), TILE, strict=True)
        )
        picture.paste(one, (left, top + below))
    return picture


def _columns(asked: int | None, count: int) -> int:
    if asked is None:
        return max(1, min(count, round(math.sqrt(count * _ASPECT * TILE[1] / TILE[0]))))
    if integer("columns", asked, 1, f" to {MOST_COLUMNS}") > MOST_COLUMNS:
        message = f"columns {asked!r}; legal: an integer from 1 to {MOST_COLUMNS}"
        raise UnknownValue(message)
    return int(asked)


def _mark(picture: Picture, findings: int) -> None:
    """A triangle with the number of findings, at the right upper corner."""
    count = str(findings)
    wide, tall = canvas.extent(count, _TEXT)
    right = picture.width - 2
    left = right - wide - tall
    canvas.triangle(picture, ((left, tall), (left + tall / 2, 2), (left + tall, tall)), canvas.AMBER)
    canvas.write(picture, (right - wide, 1), count, _TEXT, canvas.AMBER)
