"""Where voxels lie in space: orientation, spacing and agreement of two grids. Pure arithmetic.

World coordinates are RAS+ millimetres as NIfTI defines them. An affine maps voxel indices
in the order (x, y, z), or (i, j, k) before reorientation, to world coordinates.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue

type Affine = NDArray[np.float64]
type Shape = tuple[int, int, int]
type Row = tuple[float, float, float, float]
type Rows = tuple[Row, Row, Row, Row]
"""Of a (4, 4) matrix, as records have them."""
type PlaneName = Literal["sagittal", "coronal", "axial"]

CANONICAL: Final = "SAR"
"""The stored orientation: axes (z, y, x) towards superior, anterior and right."""

# Of the three axes' unit vectors: below it they lie in a plane but for rounding.
_LEAST_DETERMINANT: Final = 1e-3
# Sides that z, y and x of a canonical array increase towards, and their opposites.
_SIDES: Final = ("SI", "AP", "RL")


@dataclass(frozen=True, slots=True)
class Reorientation:
    """How an array becomes one of other axes, never resampled: from disk, (i, j, k), to canonical,
    (z, y, x), or from canonical to those a user asks for.

    Attributes:
        axes: for each new axis in turn, the old axis (0, 1 or 2) it is taken from.
        flips: for each new axis in turn, whether it is reversed.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply[T: np.generic](self, array: NDArray[T]) -> NDArray[T]:
        """The array of old axes as a view with the new ones."""
        return self._flipped(array.transpose(self.axes))

    def undo[T: np.generic](self, array: NDArray[T]) -> NDArray[T]:
        """The inverse of `apply`, a view too."""
        return self._flipped(array).transpose(sorted(range(3), key=self.axes.__getitem__))

    def affine(self, affine: Affine, shape: Shape) -> Affine:
        """The affine of the new indices in reverse order, (x, y, z) for canonical ones, from that of the old.

        Args:
            affine: (4, 4), (i, j, k) -> RAS+ mm.
            shape: the disk array's (i, j, k) shape.
        """
        # The canonical axes in the order (x, y, z).
        return affine @ _old_indices(self.axes[::-1], self.flips[::-1], shape)

    def old_indices(self, shape: Shape) -> Affine:
        """(4, 4), indices of the new array -> those of the old one, each in the order of its axes.

        Args:
            shape: of the old array.
        """
        return _old_indices(self.axes, self.flips, shape)

    def shape(self, shape: Shape) -> Shape:
        """Of the new array."""
        first, second, third = (shape[axis] for axis in self.axes)
        return first, second, third

    def start(self, start: Shape, size: Shape, shape: Shape) -> Shape:
        """Where a box of the old array of `shape` begins in the new one."""
        first, second, third = (
            shape[axis] - start[axis] - size[axis] if flip else start[axis]
            for axis, flip in zip(self.axes, self.flips, strict=True)
        )
        return first, second, third

    def _flipped[T: np.generic](self, array: NDArray[T]) -> NDArray[T]:
        """An array of the new axes with those reversed that are to be."""
        if not any(self.flips):
            return array
        return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]


@dataclass(frozen=True, slots=True)
class Lattice:
    """A lattice of voxels in a (z, y, x) volume, which it may reach beyond.

    Attributes:
        size: voxels along each axis.
        first: index of its first voxel's centre in the volume.
        step: distance of neighbouring voxels, in voxels of the volume.
    """

    size: Shape
    first: tuple[float, float, float] = (0, 0, 0)
    step: tuple[float, float, float] = (1, 1, 1)


def oriented(codes: str) -> Reorientation:
    """How a canonical (z, y, x) array becomes one of the named orientation.

    Args:
        codes: for each axis in turn, the side of the body its indices increase towards, as
            nibabel's `aff2axcodes` has them: one of R and L, one of A and P, one of S and I.
            The canonical array itself is "SAR".

    Raises:
        UnknownValue: three other letters.
    """
    found = _oriented(str(codes))
    if found is None:
        message = f"orientation {codes!r}; legal: one of R, L, one of A, P and one of S, I, in any order"
        raise UnknownValue(message)
    return found


@functools.cache
def _oriented(codes: str) -> Reorientation | None:
    pairs = [next((pair for pair in _SIDES if code in pair), "") for code in codes]
    if sorted(pairs) != sorted(_SIDES):
        return None
    first, second, third = (_SIDES.index(pair) for pair in pairs)
    one, two, three = (code == pair[1] for code, pair in zip(codes, pairs, strict=True))
    return Reorientation((first, second, third), (one, two, three))


def disk_codes(reorientation: Reorientation) -> str:
    """The side of the body that each disk axis, (i, j, k), increases towards, as for `oriented`.

    Args:
        reorientation: from disk to canonical.
    """
    new = [reorientation.axes.index(axis) for axis in range(3)]
    return "".join(_SIDES[axis][reorientation.flips[axis]] for axis in new)


def lattice_affine(affine: Affine | Rows, reorientation: Reorientation, lattice: Lattice) -> Affine:
    """The affine of an array of the voxels of a lattice, once reoriented.

    Args:
        affine: (4, 4), canonical (x, y, z) -> RAS+ mm, as an array, or as the rows that a record has.
        reorientation: from the lattice, (z, y, x), to the array.
        lattice: where the voxels lie in the canonical array.

    Returns:
        (4, 4), indices of the array in the order of its axes -> RAS+ mm.
    """
    first, steps = list(lattice.first), []
    for axis, flip in zip(reorientation.axes, reorientation.flips, strict=True):
        step = lattice.step[axis]
        first[axis] += (lattice.size[axis] - 1) * step if flip else 0
        steps.append(-step if flip else step)
    z, y, x = first
    # In Python's numbers, of which there are few: each sample has an affine. A lattice has (z, y, x).
    rows = []
    for i, j, k, origin in affine:
        along = (k, j, i)
        turned = (along[axis] * step for axis, step in zip(reorientation.axes, steps, strict=True))
        rows.append([*turned, k * z + j * y + i * x + origin])
    return np.array(rows)


def _old_indices(axes: Sequence[int], flips: Sequence[bool], shape: Sequence[int]) -> Affine:
    """(4, 4), indices of a reoriented array -> those of the array of `shape` it was made from."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        matrix[axis, new] = -1 if flip else 1
        matrix[axis, 3] = shape[axis] - 1 if flip else 0
    return matrix


def is_invertible(affine: Affine) -> bool:
    """Whether a (4, 4) affine has three independent finite axes."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and np.isfinite(lengths).all() and lengths.min() > 0):
        return False
    # Degenerate when the axes of one voxel span no volume worth the name.
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > _LEAST_DETERMINANT)


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Distance of neighbouring voxels in mm, in the order (z, y, x)."""
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return z, y, x


def origin_of(affine: Affine) -> tuple[float, float, float]:
    """World position of the first voxel in mm, in the order (z, y, x)."""
    x, y, z = affine[:3, 3].tolist()
    return z, y, x


def obliqueness(affine: Affine) -> float:
    """The largest angle between a voxel axis and the world axis closest to it, in degrees."""
    axes = np.sort(np.abs(_unit_axes(affine)), axis=0)
    # By the tangent, for a cosine near 1 holds no small angle.
    return float(np.degrees(np.arctan2(np.hypot(axes[0], axes[1]), axes[2])).max())


def shear(affine: Affine) -> float:
    """The largest deviation from 90 degrees of the angle between two voxel axes, in degrees."""
    axes = _unit_axes(affine)
    cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.clip(np.abs(cosines), 0, 1))).max())


def voxel_volume(affine: Affine | Rows) -> float:
    """The volume of a voxel in mm3: the determinant of its axes, which do not need to be at right angles.

    Args:
        affine: (4, 4), voxel indices -> RAS+ mm, as an array, or as the rows that a record has.
    """
    (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = affine
    return float(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))


def spacing_excess(affine: Affine) -> float:
    """How far the product of the spacing exceeds a voxel's volume, as a share of it; 0 without shear."""
    return float(np.prod(spacing_of(affine))) / voxel_volume(affine) - 1


def axis_aligned_error(affine: Affine, shape: Shape) -> float:
    """How far voxels lie, at most, from where origin and spacing alone would put them, in mm.

    These put a voxel at `origin + index * spacing` along the world's axes. The distance is convex in
    the index, so that it is greatest at a corner.

    Args:
        affine: (4, 4), canonical (x, y, z) -> RAS+ mm.
        shape: (x, y, z) voxels.
    """
    straight = np.diag(spacing_of(affine)[::-1])
    moved = (affine[:3, :3] - straight) @ _corners(shape).T
    return float(np.linalg.norm(moved, axis=0).max())


def _unit_axes(affine: Affine) -> NDArray[np.float64]:
    """(3, 3), each column the direction of a voxel axis."""
    directions: NDArray[np.float64] = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return directions


def _corners(shape: Shape) -> NDArray[np.float64]:
    """(8, 3), indices of the corner voxels."""
    return np.array(list(itertools.product(*((0, size - 1) for size in shape))), dtype=float)


def grid_offset(affine: Affine, other: Affine, shape: Shape) -> float:
    """How far two voxel grids of one (x, y, z) shape lie apart, at most, in voxels of the first.

    It is the largest displacement along any axis over the eight corner voxels. Below 0.5,
    resampling one grid onto the other by nearest neighbour is the identity.
    """
    corners = _corners(shape)
    moved = np.linalg.solve(affine, other @ np.c_[corners, np.ones(len(corners))].T).T[:, :3]
    return float(np.abs(moved - corners).max())
