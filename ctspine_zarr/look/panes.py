"""One plane drawn: its grey values, the outlines of its labels and their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.spec import colour
from ctspine_zarr.look import canvas
from ctspine_zarr.look.canvas import Picture
from ctspine_zarr.look.placing import spread, thinned
from ctspine_zarr.look.planes import Plane

_FILL: Final = 0.12
_GAP: Final = 4
# Characters of a label's name that are shown; those of vertebrae have three at most.
_MOST_NAME: Final = 16
# Of what a label covers in a plane, mm between parts that its name stands beside: wider than a canal.
_ONE_BONE: Final = 30.0
# Of a label's colour, so that its name can be read on any grey.
_PALE: Final = 0.45


@dataclass(frozen=True, slots=True)
class Style:
    """How labels are drawn.

    Attributes:
        edge: pixels of an outline.
        fill: opacity inside it.
        text: pixels of a name; 0 for no names.
    """

    edge: int = 1
    fill: float = _FILL
    text: int = 12


@dataclass(frozen=True, slots=True)
class _Name:
    """A name beside its label: where it would be best, in pixels."""

    text: str
    colour: tuple[int, int, int]
    middle: float
    edge: float


def pane(
    plane: Plane, size: tuple[int, int], window: tuple[float, float], names: Mapping[int, str], style: Style
) -> Picture:
    """A picture of a plane.

    Args:
        plane: what is looked at.
        size: (width, height) in pixels.
        window: HU that become black and white.
        names: value of a label -> name; those without one are drawn without.
        style: of the labels.
    """
    picture = canvas.grey(canvas.resized(plane.image, size), window)
    if plane.mask is None:
        return picture
    for label in np.unique(plane.mask).tolist():
        if label:
            canvas.outline(picture, plane.mask == label, colour(label), style.edge, style.fill)
    if style.text:
        _write_names(picture, _beside(plane.mask, plane.spacing[1], names, size), style)
    return picture


def _beside(
    mask: NDArray[np.uint8], spacing: float, names: Mapping[int, str], size: tuple[int, int]
) -> Iterator[_Name]:
    wide, tall = size[0] / mask.shape[1], size[1] / mask.shape[0]
    for label in np.unique(mask).tolist():
        if label in names:
            here = mask == label
            columns = _main_columns(here, _ONE_BONE / spacing)
            text = names[label]
            shown = text if len(text) <= _MOST_NAME else f"{text[: _MOST_NAME - 3]}..."
            rows, _ = np.nonzero(here[:, columns])
            middle = (float(np.median(rows)) + 0.5) * tall
            yield _Name(shown, _pale(colour(label)), middle, columns.start * wide)


def _main_columns(here: NDArray[np.bool_], gap: float) -> slice:
    """The columns with most of what is there, without what lies apart by more than a gap."""
    counts = here.sum(axis=0)
    where = np.flatnonzero(counts)
    parts = np.split(where, np.flatnonzero(np.diff(where) > gap) + 1)
    main = max(parts, key=lambda part: counts[part].sum())
    return slice(int(main[0]), int(main[-1]) + 1)


def _write_names(picture: Picture, beside: Iterator[_Name], style: Style) -> None:
    height = canvas.line_height(style.text)
    found = thinned(sorted(beside, key=lambda name: name.middle), picture.height // height)
    tops = spread([name.middle - height / 2 for name in found], height, picture.height)
    for name, top in zip(found, tops, strict=True):
        width, _ = canvas.extent(name.text, style.text)
        left = min(max(0.0, name.edge - _GAP - width), max(0.0, picture.width - width))
        if abs(top + height / 2 - name.middle) > height / 2:
            # What stands elsewhere is led to its vertebra.
            canvas.line(picture, (left + width, top + height / 2), (name.edge, name.middle), name.colour)
        canvas.write(picture, (left, top), name.text, style.text, name.colour)


def _pale(shade: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (round(part + (255 - part) * _PALE) for part in shade)
    return red, green, blue
