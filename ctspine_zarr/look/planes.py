"""Planes through a volume as radiologists look at them: what to read for them, and which way they lie. Pure.

Anterior or superior is above, the patient's right on the left, and in the sagittal plane the face is to
the left. Canonical axes grow the other way, so that each plane is its voxels with both axes reversed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import Affine, PlaneName, Shape, spacing_of
from ctspine_zarr.look.line import CentreLine

PLANES: Final[tuple[PlaneName, ...]] = ("sagittal", "coronal", "axial")
"""The planes of a picture or figure of a case, from left to right."""

# The axes, of (z, y, x), that run down and across each plane.
_AXES: Final[dict[PlaneName, tuple[int, int]]] = {"sagittal": (0, 1), "coronal": (0, 2), "axial": (1, 2)}
_OPPOSITE: Final = dict(zip("RLAPSI", "LRPAIS", strict=True))
# Of an axis towards a second side of the body, about 15 degrees: below it the axis has one letter.
_LEAST_SIDE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Cut:
    """What is to be read for a plane: boxes of voxels, one voxel thick, one below another.

    Attributes:
        view: which plane.
        shape: of the plane, before it is turned to be looked at.
        boxes: start and size, (z, y, x), of each box, in the order of the plane's rows.
        first: along the plane's first axis and its second, the index of its first voxel.
    """

    view: PlaneName
    shape: tuple[int, int]
    boxes: tuple[tuple[Shape, Shape], ...]
    first: tuple[int, int] = (0, 0)

    def parts(self, plane: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """The views of a plane of `shape` that the boxes fill, each of its box's shape."""
        down = 0
        for _, size in self.boxes:
            rows = size[_AXES[self.view][0]]
            yield plane[down : down + rows].reshape(size)
            down += rows


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane as it is looked at.

    Attributes:
        view: which.
        image: HU, from top to bottom and from left to right.
        mask: labels likewise; None where the case has no mask.
        spacing: mm from row to row and from column to column.
        sides: letters of the sides of the body at the left, right, top and bottom.
    """

    view: PlaneName
    image: NDArray[Any]
    mask: NDArray[np.uint8] | None
    spacing: tuple[float, float]
    sides: tuple[str, str, str, str]

    @property
    def size(self) -> tuple[float, float]:
        """The mm from top to bottom and from left to right."""
        rows, columns = self.image.shape
        return rows * self.spacing[0], columns * self.spacing[1]


def cut(view: PlaneName, shape: Shape, line: CentreLine, reach: int | None = None) -> Cut:
    """The cut of a volume in a plane.

    The axial plane is flat, at the line's middle. The other two follow the line: each of their rows has
    the voxels of one z at the line's column or row, so that a bent spine is seen whole.

    Args:
        view: the plane.
        shape: (z, y, x) voxels.
        line: through the volume.
        reach: of a sagittal plane, voxels to either side that each row has of the line's mean row, as far
            as the volume goes; by default all.
    """
    if view == "axial":
        return Cut(view, shape[1:], (((line.middle, 0, 0), (1, *shape[1:])),))
    begin, end = 0, shape[_AXES[view][1]]
    if reach is not None:
        middle = round(float(line.rows.mean()))
        begin, end = max(begin, middle - reach), min(end, middle + reach + 1)
    boxes = []
    for start, stop, place in _runs(line.columns if view == "sagittal" else line.rows):
        corner = (start, begin, place) if view == "sagittal" else (start, place, begin)
        along, across = stop - start, end - begin
        boxes.append((corner, (along, across, 1) if view == "sagittal" else (along, 1, across)))
    return Cut(view, (shape[0], end - begin), tuple(boxes), (0, begin))


def plane(cut: Cut, image: NDArray[Any], mask: NDArray[np.uint8] | None, affine: Affine) -> Plane:
    """What was read for a cut, turned as it is looked at.

    Args:
        cut: of a volume.
        image, mask: of the cut's shape.
        affine: (4, 4), canonical (x, y, z) -> RAS+ mm.
    """
    down, across = _AXES[cut.view]
    spacing = spacing_of(affine)
    top, left = (letters(affine[:3, 2 - axis]) for axis in (down, across))
    sides = (left, _opposite(left), top, _opposite(top))
    turned = None if mask is None else mask[::-1, ::-1]
    return Plane(cut.view, image[::-1, ::-1], turned, (spacing[down], spacing[across]), sides)


def letters(direction: Sequence[float] | NDArray[np.float64]) -> str:
    """The sides of the body that a direction points to: one letter, or more where it lies between them.

    Args:
        direction: RAS+, of any length; the letter of its largest part comes first, those of parts below a
            quarter of its length are left out.
    """
    parts = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    order = sorted(range(3), key=lambda axis: -abs(parts[axis]))
    kept = [axis for axis in order if axis == order[0] or abs(parts[axis]) >= _LEAST_SIDE]
    return "".join("RAS"[axis] if parts[axis] > 0 else "LPI"[axis] for axis in kept)


def _opposite(sides: str) -> str:
    return "".join(_OPPOSITE[side] for side in sides)


def _runs(places: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Start, stop and value of each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(places)]
    for start, stop in itertools.pairwise(edges):
        yield start, stop, int(places[start])
