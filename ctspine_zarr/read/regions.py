"""Slices and patches as index arithmetic. Pure."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, SupportsIndex

from numpy.typing import NDArray

from ctspine_zarr.arrays.indexing import Ranges
from ctspine_zarr.errors import OutOfBounds, UnknownValue, choose
from ctspine_zarr.format.codecs import Box
from ctspine_zarr.geometry import Shape

PLANES = MappingProxyType({"axial": 0, "coronal": 1, "sagittal": 2})
"""Name of a plane -> the axis it is cut across."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box of voxels that may reach beyond its volume.

    Attributes:
        inside: the part to read, as positions in the volume.
        target: where that part lies in the result.
        size: shape of the result.
    """

    inside: Ranges
    target: Box
    size: Shape

    @property
    def margins(self) -> list[Box]:
        """The boxes of the result that need padding: disjoint, and with `target` all of it."""
        boxes = []
        whole = [slice(0, n) for n in self.size]
        for axis, (part, size) in enumerate(zip(self.target, self.size, strict=True)):
            for margin in (slice(0, part.start), slice(part.stop, size)):
                if margin.start < margin.stop:
                    z, y, x = itertools.chain(self.target[:axis], [margin], whole[axis + 1 :])
                    boxes.append((z, y, x))
        return boxes


def plane_size(shape: Shape, plane: str) -> Shape:
    """(z, y, x) voxels of a slice: 1 along the axis it is cut across.

    Raises:
        UnknownValue: no such plane.
    """
    axis = choose("axis", plane, PLANES)
    z, y, x = (1 if i == axis else n for i, n in enumerate(shape))
    return z, y, x


def plane_region(shape: Shape, index: SupportsIndex, plane: str) -> Region:
    """The box of one slice of a (z, y, x) volume; a negative index counts from the end.

    Raises:
        UnknownValue: no such plane.
        OutOfBounds: no such slice.
    """
    size = plane_size(shape, plane)
    axis = PLANES[plane]
    try:
        first = range(shape[axis])[index]
    except (TypeError, IndexError):
        message = f"{plane} slice {index!r}; legal: integers from {-shape[axis]} to {shape[axis] - 1}"
        raise OutOfBounds(message) from None
    z, y, x = (first if i == axis else 0 for i in range(3))
    return patch_region(shape, size, start=(z, y, x))


def plane_regions(
    shape: Shape, indices: Iterable[SupportsIndex], plane: str
) -> tuple[int, Shape, list[Region]]:
    """The axis that slices of a (z, y, x) volume are cut across, their size, and the box of each.

    Raises:
        UnknownValue: no such plane, or not several indices.
        OutOfBounds: no such slice.
    """
    size = plane_size(shape, plane)
    return PLANES[plane], size, [plane_region(shape, index, plane) for index in several("indices", indices)]


def patch_size(size: int | Sequence[int]) -> Shape:
    """(z, y, x) voxels of a patch; a single size is that of a cube.

    Raises:
        UnknownValue: not three integers, or one below 1.
    """
    try:
        found = (operator.index(size),) * 3  # type: ignore[arg-type]
    except TypeError:
        found = _triple("size", size)
    if min(found) < 1:
        message = f"patch size {found}; legal: 1 or more along every axis"
        raise UnknownValue(message)
    return found


def patch_region(
    shape: Shape,
    size: Shape,
    *,
    center: Sequence[float] | None = None,
    start: Sequence[int] | NDArray[Any] | None = None,
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
        seen = f"patch of {size} from {first} shares no voxel with the volume of {shape} (z, y, x)"
        least, most = tuple(1 - s for s in size), tuple(n - 1 for n in shape)
        message = f"{seen}; legal: from {least} to {most}"
        raise OutOfBounds(message)
    z, y, x = (range(b, e) for b, e in zip(begins, ends, strict=True))
    tz, ty, tx = (slice(b - f, e - f) for b, e, f in zip(begins, ends, first, strict=True))
    return Region((z, y, x), (tz, ty, tx), size)


def patch_regions(
    shape: Shape,
    size: Shape,
    centers: Iterable[Sequence[float]] | None,
    starts: Iterable[Sequence[int]] | None,
) -> list[Region]:
    """The boxes of `size` voxels, one for each of `centers` or `starts`; see `patch_region`.

    Raises:
        UnknownValue: not exactly one of the two, or one that is not several.
        OutOfBounds: a box shares no voxel with the volume.
    """
    if centers is not None and starts is None:
        return [patch_region(shape, size, center=center) for center in several("centers", centers)]
    if starts is not None and centers is None:
        return [patch_region(shape, size, start=start) for start in several("starts", starts)]
    seen = "neither" if centers is None else "both"
    message = f"{seen} of centers and starts; legal: exactly one of them"
    raise UnknownValue(message)


def _first(size: Shape, center: Sequence[float] | None, start: Sequence[int] | NDArray[Any] | None) -> Shape:
    if center is not None and start is None:
        middle = _triple("center", _rounded(center))
        z, y, x = (c - s // 2 for c, s in zip(middle, size, strict=True))
        return z, y, x
    if start is not None and center is None:
        return _triple("start", start)
    message = f"center {center!r} and start {start!r}; legal: exactly one of them"
    raise UnknownValue(message)


def _rounded(center: Sequence[float]) -> list[int]:
    try:
        z, y, x = (round(float(position)) for position in center)
    except (TypeError, ValueError, OverflowError):
        message = f"center {center!r}; legal: three finite positions, (z, y, x)"
        raise UnknownValue(message) from None
    return [z, y, x]


def several[T](name: str, values: Iterable[T]) -> Iterator[T]:
    """The values, one by one.

    Raises:
        UnknownValue: there is only one.
    """
    try:
        return iter(values)
    except TypeError:
        message = f"{name} {values!r}; legal: several, in a list or array"
        raise UnknownValue(message) from None


def _triple(name: str, values: Any) -> Shape:
    try:
        z, y, x = (int(v.__index__()) for v in values)
    except (TypeError, ValueError, AttributeError):
        message = f"{name} {values!r}; legal: three integers, (z, y, x)"
        raise UnknownValue(message) from None
    return z, y, x
