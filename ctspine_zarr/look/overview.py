"""The picture of a case: three planes at one scale, with what a reader needs to judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import PlaneName, obliqueness, shear
from ctspine_zarr.look import canvas
from ctspine_zarr.look.canvas import Picture
from ctspine_zarr.look.panes import Style, pane
from ctspine_zarr.look.planes import PLANES, Plane
from ctspine_zarr.scaling import require_window
from ctspine_zarr.text import shape_text, spacing_text

LEAST_HEIGHT: Final = 160
MOST_HEIGHT: Final = 8192
"""Pixels of the picture of a case."""

_MARGIN: Final = 6
# Between planes, so that nobody takes a letter for that of the next.
_APART: Final = 36
# A picture is no wider than that many of its heights, whatever the spacing.
_MOST_WIDE: Final = 4
_LEAST_WIDTH: Final = 440
_SEPARATOR: Final = "   "
# Lengths of a scale bar, in mm: the longest that fits.
_BARS: Final = (100, 50, 20, 10, 5, 2, 1)
# Degrees up to which nobody sees that a grid is oblique or sheared; the viewer has the same.
_MOST_DEGREES: Final = 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the three planes go, at pixels for a mm."""

    scale: float
    places: Mapping[PlaneName, tuple[int, int]]
    sizes: Mapping[PlaneName, tuple[int, int]]
    width: int


def overview(
    planes: Mapping[PlaneName, Plane],
    record: Record,
    spec: Spec,
    *,
    height: int = 720,
    window: tuple[float, float] = WINDOW,
) -> Picture:
    """A picture of sagittal, coronal and axial planes at one scale, in the proportions of the body.

    Each has the letters of the sides of the body in its margin, and the names of its labels beside them.
    Above them stand id, split, source, size, spacing, window, and by how many degrees the grid is oblique
    or sheared, where that is more than 1; below them a scale bar.

    Args:
        planes: of `PLANES`.
        record: of the case.
        spec: of its dataset.
        height: of the picture in pixels, 160 to 8192.
        window: HU that become black and white.

    Raises:
        UnknownValue: a height or window that is not legal.
    """
    height, window = require_height(height), require_window(window)
    text = max(10, min(22, height // 48))
    facts = _facts(record, spec, window)
    # The title's lines depend on the width, and the planes' height on the lines: two at first.
    layout = _laid_out(planes, height - 2 * _band(text), text)
    lines = _wrapped(facts, text, layout.width - 2 * _MARGIN)
    top = _band(text, len(lines) + 1)
    layout = _laid_out(planes, height - top - _band(text), text)
    picture = canvas.blank((layout.width, height))
    room = layout.width - 2 * _MARGIN
    canvas.write(
        picture, (_MARGIN, _MARGIN // 2), canvas.elided(record.id, text + 2, room), text + 2, dark=False
    )
    for at, line in enumerate(lines):
        below = _band(text) + at * canvas.line_height(text)
        canvas.write(
            picture, (_MARGIN, below), canvas.elided(line, text, room), text, canvas.GREY, dark=False
        )
    style = Style(edge=max(1, height // 640), text=text)
    for view, (left, down) in layout.places.items():
        drawn = pane(planes[view], layout.sizes[view], window, spec.labels, style)
        picture.paste(drawn, (left, top + down))
        _write_sides(picture, planes[view], (left, top + down, *layout.sizes[view]), text)
    _draw_bar(picture, layout.scale, text)
    return picture


def require_height(height: int) -> int:
    """The height, where a picture may have it.

    Raises:
        UnknownValue: it may not.
    """
    if integer("height", height, LEAST_HEIGHT, f" to {MOST_HEIGHT} pixels") > MOST_HEIGHT:
        message = f"height {height!r}; legal: an integer from {LEAST_HEIGHT} to {MOST_HEIGHT} pixels"
        raise UnknownValue(message)
    return int(height)


def _facts(record: Record, spec: Spec, window: tuple[float, float]) -> list[str]:
    facts = [
        record.split,
        record.source,
        f"{shape_text(record.shape)} voxels",
        f"{spacing_text(record.spacing)} mm",
        f"{window[0]:g} to {window[1]:g} HU",
        *_angles(record),
    ]
    return [*facts, f"labels: {spec.mask}" if record.has_mask else "no mask"]


def _angles(record: Record) -> list[str]:
    """By how much the planes, which are drawn as rectangles, are none, or are not those of the body."""
    affine = record.affine_matrix
    found = {"oblique": obliqueness(affine), "sheared": shear(affine)}
    return [f"{how} by {degrees:.1f} degrees" for how, degrees in found.items() if degrees > _MOST_DEGREES]


def _wrapped(facts: list[str], text: int, width: float) -> list[str]:
    lines: list[str] = []
    for fact in facts:
        joined = f"{lines[-1]}{_SEPARATOR}{fact}" if lines else fact
        if lines and canvas.extent(joined, text)[0] <= width:
            lines[-1] = joined
        else:
            lines.append(fact)
    return lines


def _band(text: int, lines: int = 1) -> int:
    """Pixels of lines of text with some room."""
    return lines * canvas.line_height(text) + _MARGIN


def _laid_out(planes: Mapping[PlaneName, Plane], height: int, text: int) -> _Layout:
    """The planes side by side; of a flat volume, the sagittal above the coronal and the axial beside them."""
    gutter = canvas.line_height(text)
    tall = {view: planes[view].size[0] for view in PLANES}
    wide = {view: planes[view].size[1] for view in PLANES}
    is_flat = 2 * tall["sagittal"] <= tall["axial"]
    across = max(wide["sagittal"], wide["coronal"]) + wide["axial"] if is_flat else sum(wide.values())
    # A margin above and below each plane, and to either side.
    down = height - (4 * gutter + _APART if is_flat else 2 * gutter)
    highest = max(2 * tall["sagittal"] if is_flat else 0, *tall.values())
    scale = min(max(1, down) / highest, _MOST_WIDE * height / across)
    sizes = {view: (max(1, round(wide[view] * scale)), max(1, round(tall[view] * scale))) for view in PLANES}
    columns = [["sagittal", "coronal"], ["axial"]] if is_flat else [[view] for view in PLANES]
    places, left = {}, _MARGIN
    for column in columns:
        width = max(_outer(planes[view], sizes[view], text) for view in PLANES if view in column)
        tall_column = sum(sizes[view][1] + 2 * gutter for view in PLANES if view in column)
        top = max(0, height - tall_column - _APART * (len(column) - 1)) // 2
        for view in PLANES:
            if view in column:
                places[view] = (left + (width - sizes[view][0]) // 2, top + gutter)
                top += sizes[view][1] + 2 * gutter + _APART
        left += width + _APART
    left += _MARGIN - _APART
    width = max(left, _LEAST_WIDTH)
    shift = (width - left) // 2
    return _Layout(scale, {view: (x + shift, y) for view, (x, y) in places.items()}, sizes, width)


def _outer(plane: Plane, size: tuple[int, int], text: int) -> int:
    """Width of a plane with the letters at its sides."""
    return size[0] + 2 * max(canvas.extent(sides, text)[0] + 2 for sides in plane.sides)


def _write_sides(picture: Picture, plane: Plane, box: tuple[int, int, int, int], text: int) -> None:
    left, top, width, height = box
    tall = canvas.line_height(text)
    before, _, above, below = (canvas.extent(sides, text)[0] for sides in plane.sides)
    places = (
        (left - before - 2, top + (height - tall) / 2),
        (left + width + 2, top + (height - tall) / 2),
        (left + (width - above) / 2, top - tall),
        (left + (width - below) / 2, top + height),
    )
    for sides, place in zip(plane.sides, places, strict=True):
        canvas.write(picture, place, sides, text, canvas.AMBER, dark=False)


def _draw_bar(picture: Picture, scale: float, text: int) -> None:
    """A bar of so many mm with its length, at the lower right."""
    most = picture.width / 4
    length = next((mm for mm in _BARS if mm * scale <= most), None)
    if length is None:
        return
    width, tick = round(length * scale), max(3, text // 3)
    named = f"{length // 10} cm" if length >= 10 else f"{length} mm"
    wide, tall = canvas.extent(named, text)
    left, base = picture.width - _MARGIN - wide - _MARGIN - width, picture.height - _MARGIN // 2 - tall // 2
    canvas.rectangle(picture, (left, base - 1, left + width, base + 1), canvas.WHITE)
    for end in (left, left + width - 1):
        canvas.rectangle(picture, (end, base - tick, end + 1, base + tick), canvas.WHITE)
    canvas.write(picture, (picture.width - _MARGIN - wide, base - tall / 2), named, text, dark=False)
