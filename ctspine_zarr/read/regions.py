"""Slices and patches as index arithmetic. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, SupportsIndex

from ctspine_zarr.errors import OutOfBounds, UnknownValue, choose
from ctspine_zarr.geometry import Shape

type Plane = Literal["axial", "coronal", "sagittal"]

PLANES = MappingProxyType({"axial": 0, "coronal": 1, "sagittal": 2})
"""Name of a plane -> the axis it is cut across."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box of voxels that may reach beyond its volume.

    Attributes:
        inside: the part to read, as slices of the volume.
        target: where that part lies in the result.
        size: shape of the result.
    """

    inside: tuple[slice, slice, slice]
    target: tuple[slice, slice, slice]
    size: Shape

    @property
    def is_inside(self) -> bool:
        """Whether nothing needs padding."""
        return all(span.stop - span.start == size for span, size in zip(self.inside, self.size, strict=True))


def plane_index(shape: Shape, index: int, plane: str) -> tuple[int | slice, ...]:
    """The index of one slice of a (z, y, x) volume; a negative one counts from the end.

    Raises:
        UnknownValue: no such plane.
        OutOfBounds: no such slice.
    """
    axis = choose("axis", plane, PLANES)
    if not -shape[axis] <= index < shape[axis]:
        message = f"{plane} slice {index}; legal: {-shape[axis]} to {shape[axis] - 1}"
        raise OutOfBounds(message)
    return tuple(index if i == axis else slice(None) for i in range(3))


def patch_size(size: int | Sequence[int]) -> Shape:
    """(z, y, x) voxels of a patch; a single size is that of a cube.

    Raises:
        UnknownValue: not three integers, or one below 1.
    """
    found = _triple("size", [size] * 3 if isinstance(size, SupportsIndex) else size)
    if min(found) < 1:
        message = f"patch size {found}; legal: 1 or more along every axis"
        raise UnknownValue(message)
    return found


def patch_region(
    shape: Shape,
    size: Shape,
    *,
    center: Sequence[float] | None = None,
    start: Sequence[int] | None = None,
) -> Region:
    """The box of `size` voxels at `start`, or with `center` as its voxel `size // 2`.

    A centre between voxels is rounded to the nearest.

    Raises:
        UnknownValue: not exactly one of `center` and `start`.
        OutOfBounds: the box shares no voxel with the volume.
    """
    first = _first(size, center, start)
    begins = [max(0, f) for f in first]
    ends = [min(n, f + s) for n, f, s in zip(shape, first, size, strict=True)]
    if any(begin >= end for begin, end in zip(begins, ends, strict=True)):
        message = f"patch of {size} from {first} shares no voxel with the volume of {shape} (z, y, x)"
        raise OutOfBounds(message)
    z, y, x = (slice(b, e) for b, e in zip(begins, ends, strict=True))
    tz, ty, tx = (slice(b - f, e - f) for b, e, f in zip(begins, ends, first, strict=True))
    return Region((z, y, x), (tz, ty, tx), size)


def _first(size: Shape, center: Sequence[float] | None, start: Sequence[int] | None) -> Shape:
    if center is not None and start is None:
        middle = _triple("center", [_rounded(position) for position in center])
        z, y, x = (c - s // 2 for c, s in zip(middle, size, strict=True))
        return z, y, x
    if start is not None and center is None:
        return _triple("start", start)
    message = "give exactly one of center and start"
    raise UnknownValue(message)


def _rounded(position: float) -> int:
    if not math.isfinite(position):
        message = f"center {position}; legal: finite positions, (z, y, x)"
        raise UnknownValue(message)
    return round(position)


def _triple(name: str, values: Sequence[int]) -> Shape:
    try:
        z, y, x = (int(v.__index__()) for v in values)
    except (TypeError, ValueError, AttributeError):
        message = f"{name} {values!r}; legal: three integers, (z, y, x)"
        raise UnknownValue(message) from None
    return z, y, x
