"""An array's values at the voxels of another grid: which lies where, and what it has there. Pure.

Of a voxel of the grid between two of the array, integers take the nearer one, of two as near the one
after, and floats what linear interpolation gives. Where the array has the grid's own voxels, in any
order of axes, the two are the same, and every value is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import Affine, Shape

type Box = tuple[range, range, range]

# Digits of positions and of their steps, in voxels, that are taken to be meant.
_DIGITS: Final = 6
_STEP_DIGITS: Final = 10
# Voxels that two lattices may lie apart and be one.
_MOST_OFF: Final = 1e-3
# Voxels of the grid that are looked up at a time.
_AT_ONCE: Final = 1 << 21


@dataclass(frozen=True)
class Regridding:
    """A grid of voxels in an array.

    Attributes:
        array: three axes, numbers.
        shape: of the grid.
        matrix: (4, 4), indices of the grid -> those of the array, each in the order of its axes.
    """

    array: NDArray[Any]
    shape: Shape
    matrix: Affine

    @cached_property
    def is_exact(self) -> bool:
        """Whether every voxel of the grid that lies in the array is one of the array's own."""
        whole = np.rint(self.matrix[:3, :3])
        is_permuted = (np.abs(whole).sum(axis=0) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all()
        return bool(is_permuted and _farthest(self.matrix - np.rint(self.matrix), self.shape) < _MOST_OFF)

    @cached_property
    def box(self) -> Box:
        """The voxels of the grid among which are all that lie in the array; none where none does."""
        sizes = np.array(self.array.shape)
        corners = np.array(list(itertools.product(*((-0.5, size - 0.5) for size in sizes))))
        in_grid = np.linalg.solve(self._steps, np.c_[corners, np.ones(len(corners))].T)[:3]
        least = np.clip(np.ceil(in_grid.min(axis=1) - _MOST_OFF), 0, self.shape)
        most = np.clip(np.floor(in_grid.max(axis=1) + _MOST_OFF) + 1, 0, self.shape)
        first, second, third = (range(int(a), int(b)) for a, b in zip(least, most, strict=True))
        return first, second, third

    @property
    def reaches(self) -> bool:
        """Whether a voxel of the grid lies in the array."""
        # Nearly always one of the first part does.
        return any(self._inside(self._nearest(box)).any() for _, box in self._runs() if all(map(len, box)))

    def parts(self, fill: float) -> Iterator[NDArray[Any]]:
        """The grid's values, `fill` where the array does not reach, in parts along its last axis.

        What is held at a time is a part and the places of its voxels.

        Args:
            fill: in the array's dtype.
        """
        for run, box in self._runs():
            part = np.full((*self.shape[:2], len(run)), fill, self.array.dtype)
            if all(map(len, box)):
                first, second, third = map(_slice, box)
                target = part[first, second, third.start - run.start : third.stop - run.start]
                nearest = self._nearest(box)
                np.copyto(target, self._values(nearest, box), where=self._inside(nearest))
            yield part

    def _runs(self) -> Iterator[tuple[range, Box]]:
        """Parts of the grid's last axis, and the box of each."""
        first, second, third = self.box
        thickness = max(1, _AT_ONCE // (self.shape[0] * self.shape[1]))
        for start in range(0, self.shape[2], thickness):
            run = range(start, min(start + thickness, self.shape[2]))
            yield run, (first, second, range(max(third.start, start), min(third.stop, run.stop)))

    @cached_property
    def _steps(self) -> Affine:
        """The matrix, without what rounding left of it."""
        if self.is_exact:
            return np.rint(self.matrix)
        steps = np.round(self.matrix, _STEP_DIGITS)
        steps[:3, 3] = np.round(steps[:3, 3], _DIGITS)
        return steps

    def _nearest(self, box: Box) -> list[NDArray[np.intp]]:
        """The voxels of the array nearest to those of the grid, along each axis, as `_places`."""
        return [np.floor(np.round(place, _DIGITS) + 0.5).astype(np.intp) for place in self._places(box)]

    def _inside(self, nearest: list[NDArray[np.intp]]) -> NDArray[np.bool_]:
        """Which of such voxels the array has."""
        axes = zip(nearest, self.array.shape, strict=True)
        one, two, three = ((index >= 0) & (index < size) for index, size in axes)
        found: NDArray[np.bool_] = one & two & three
        return found

    def _places(self, box: Box) -> list[NDArray[np.float64]]:
        """Where voxels of the grid lie along each axis of the array; the shapes broadcast to the box's."""
        along = np.ix_(*(np.arange(run.start, run.stop, dtype=np.float64) for run in box))
        places = []
        for steps in self._steps[:3]:
            # An axis of the grid that does not move in the array is left short.
            moves = [step * index for step, index in zip(steps, along, strict=False) if step]
            places.append(sum(moves, start=np.full((1, 1, 1), steps[3])))
        return places

    def _values(self, nearest: list[NDArray[np.intp]], box: Box) -> NDArray[Any]:
        """What the array has at places, and at its edge for those beyond."""
        if self.is_exact or self.array.dtype.kind != "f":
            sizes = self.array.shape
            clipped = (np.clip(index, 0, size - 1) for index, size in zip(nearest, sizes, strict=True))
            found: NDArray[Any] = self.array[tuple(clipped)]
            return found
        return _interpolated(self.array, self._steps, box)


def _interpolated(array: NDArray[Any], steps: Affine, box: Box) -> NDArray[Any]:
    # It takes a while to import.
    from scipy.ndimage import affine_transform  # noqa: PLC0415

    begin = steps[:3, :3] @ [run.start for run in box] + steps[:3, 3]
    values: NDArray[Any] = affine_transform(
        array, steps[:3, :3], begin, tuple(map(len, box)), order=1, mode="nearest", prefilter=False
    )
    return values


def _farthest(difference: Affine, shape: Shape) -> float:
    """How far a (4, 4) difference of two matrices moves a voxel of a grid at most, along an axis."""
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape), (1,))), dtype=float)
    return float(np.abs(difference[:3] @ corners.T).max())


def _slice(run: range) -> slice:
    return slice(run.start, run.stop)
