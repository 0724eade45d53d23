"""Voxels at places between those that are stored: linear for images, nearest for labels. Pure.

No low-pass filter comes first, as in MONAI's `Spacingd` and TorchIO's `Resample`: a much coarser
spacing skips voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import Lattice, Shape

# Digits of a position, in voxels, that are taken to be meant.
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Between:
    """Positions along one axis of a volume.

    Attributes:
        inside: which of them lie in the volume, voxels' outer halves included.
        needed: the voxels of the volume that those lie between.
        lower: for each position inside the voxel at or before it, from `needed.start` on.
        weight: of the voxel after that one, 0 to 1.
    """

    inside: slice
    needed: range
    lower: NDArray[np.intp]
    weight: NDArray[np.float32]

    @classmethod
    def of(cls, first: float, step: float, count: int, size: int) -> Between:
        """`count` positions from `first` on, in a volume of `size` voxels along the axis.

        Positions on a volume's outer half voxel take the outermost voxel's value.
        """
        positions = np.round(first + step * np.arange(count), _DIGITS)
        begin, end = np.searchsorted(positions, (-0.5, size - 0.5)).tolist()
        end += int(end < count and positions[end] == size - 0.5)
        found = np.clip(positions[begin:end], 0, size - 1)
        lower = np.floor(found).astype(np.intp)
        weight = (found - lower).astype(np.float32)
        if not len(lower):
            return cls(slice(begin, end), range(0), lower, weight)
        start, last = needed_voxels(found[0], found[-1]).tolist()
        return cls(slice(begin, end), range(start, last + 1), lower - start, weight)

    def linear(self, block: NDArray[Any], axis: int) -> NDArray[np.float32]:
        """Values between the voxels of a block of `needed` along `axis`."""
        weight = self.weight.reshape([-1 if i == axis else 1 for i in range(block.ndim)])
        upper = np.minimum(self.lower + 1, block.shape[axis] - 1)
        below, above = (block.take(at, axis).astype(np.float32) for at in (self.lower, upper))
        above -= below
        above *= weight
        above += below
        values: NDArray[np.float32] = above
        return values

    def nearest(self, block: NDArray[Any], axis: int) -> NDArray[Any]:
        """The nearer voxels of the block; of two as near, the one after."""
        found: NDArray[Any] = block.take(self.lower + (self.weight >= 0.5), axis)
        return found


def needed_voxels(first: NDArray[Any] | float, last: NDArray[Any] | float) -> NDArray[np.int64]:
    """The first and the last voxel that positions from `first` to `last` lie between."""
    begin, end = np.floor(np.round(first, _DIGITS)), np.ceil(np.round(last, _DIGITS))
    return np.array([begin, end]).astype(np.int64)


def between(lattice: Lattice, shape: Shape) -> tuple[Between, Between, Between]:
    """A lattice's positions along z, y and x of a volume."""
    axes = zip(lattice.first, lattice.step, lattice.size, shape, strict=True)
    z, y, x = (Between.of(*along) for along in axes)
    return z, y, x


def linear(block: NDArray[Any], along: Sequence[Between]) -> NDArray[np.float32]:
    """A block of the needed voxels, interpolated along each axis in turn; float32."""
    values = block
    # What is left after an axis is least work for the next where most is left out first.
    for axis in sorted(range(len(along)), key=lambda axis: len(along[axis].lower) / block.shape[axis]):
        values = along[axis].linear(values, axis)
    return values


def nearest[T: np.generic](block: NDArray[T], along: Sequence[Between]) -> NDArray[T]:
    """A block of the needed voxels, the nearest one at each position."""
    for axis, positions in enumerate(along):
        block = positions.nearest(block, axis)
    return block
