"""Values of a volume at the voxels of a lattice, without aliasing where it is coarser. Pure.

The filter is a triangle as wide as a step of the lattice on either side, and no narrower than one of the
volume: linear interpolation where the lattice is as fine or finer, and where it is coarser the weighted
mean that `antialias=True` gives in PyTorch's and Pillow's bilinear resizing. Beyond the volume's edge
there are no voxels, and those that are there weigh more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import Lattice, Shape

# Digits of a position, in voxels, that are taken to be meant.
_DIGITS: Final = 6

type Planes = Callable[[slice, slice, slice], NDArray[Any]]
"""From runs of voxels along z, y and x to these, (z, y, x)."""


@dataclass(frozen=True, slots=True)
class Taps:
    """Positions along one axis, each a weighted mean of neighbouring voxels.

    Attributes:
        first: for each position, the first of its voxels.
        weights: (positions, voxels), float32, each row of sum 1; those of voxels beyond the volume are 0.
        size: voxels of the volume.
    """

    first: NDArray[np.intp]
    weights: NDArray[np.float32]
    size: int

    @classmethod
    def of(cls, first: float, step: float, count: int, size: int) -> Taps:
        """`count` positions from `first` on, `step` voxels apart, in a volume of `size` voxels."""
        positions = np.clip(np.round(first + step * np.arange(count), _DIGITS), 0, size - 1)
        reach = max(1.0, round(step, _DIGITS))
        begin = np.floor(positions - reach).astype(np.intp) + 1
        voxels = begin[:, None] + np.arange(int(np.ceil(2 * reach)))
        weights = np.maximum(0, 1 - np.abs(voxels - positions[:, None]) / reach)
        weights *= (voxels >= 0) & (voxels < size)
        weights /= weights.sum(axis=1, keepdims=True)
        used = np.flatnonzero(weights.any(axis=0))
        lowest, highest = int(used[0]), int(used[-1]) + 1
        return cls(begin + lowest, weights[:, lowest:highest].astype(np.float32), size)

    @property
    def is_identity(self) -> bool:
        """Whether position i is voxel i."""
        is_single = self.weights.shape[1] == 1 and bool((self.weights == 1).all())
        return is_single and np.array_equal(self.first, np.arange(self.size))

    def within(self, start: int, stop: int) -> tuple[slice, Taps]:
        """The run of positions that some of these voxels count for, and their taps in a block of these alone;
        the weights of all others are left out, as of voxels that are 0.
        """
        voxels = self.first[:, None] + np.arange(self.weights.shape[1])
        weights = np.where((voxels >= start) & (voxels < stop), self.weights, np.float32(0))
        counted = np.flatnonzero(weights.any(axis=1))
        run = slice(int(counted[0]), int(counted[-1]) + 1) if len(counted) else slice(0, 0)
        return run, Taps(self.first[run] - start, weights[run], stop - start)

    @property
    def trimmed(self) -> tuple[slice, Taps]:
        """The run of voxels that count for any position, and the taps in a block of these alone."""
        start = max(0, int(self.first[0]))
        stop = min(self.size, int(self.first[-1]) + self.weights.shape[1])
        return slice(start, stop), Taps(self.first - start, self.weights, stop - start)

    def voxels(self, tap: int) -> NDArray[np.intp]:
        """The voxel that each position has as its tap of that number; at the edge one of weight 0."""
        return np.clip(self.first + tap, 0, self.size - 1)

    def along(self, block: NDArray[Any], axis: int) -> NDArray[np.float32]:
        """The means along an axis of a block that has all voxels of it."""
        if self.is_identity:
            return block.astype(np.float32, copy=False)
        shape = [-1 if i == axis else 1 for i in range(block.ndim)]
        total: NDArray[np.float32] | None = None
        for tap in range(self.weights.shape[1]):
            part = block.take(self.voxels(tap), axis).astype(np.float32, copy=False)
            part *= self.weights[:, tap].reshape(shape)
            total = part if total is None else np.add(total, part, out=total)
        if total is None:
            message = "no tap"
            raise ValueError(message)
        return total


def taps_of(lattice: Lattice, shape: Shape) -> tuple[Taps, Taps, Taps]:
    """A lattice's positions along z, y and x of a volume of that shape."""
    along = zip(lattice.first, lattice.step, lattice.size, shape, strict=True)
    z, y, x = (Taps.of(*one) for one in along)
    return z, y, x


def filtered(planes: Planes, taps: tuple[Taps, Taps, Taps], thickness: int) -> Iterator[NDArray[np.float32]]:
    """The slices of a lattice along z, in order, (y, x), each in memory of its own.

    Args:
        planes: of the volume, asked for once each, in order, `thickness` at a time, no wider than is needed.
        taps: as `taps_of` gives them.
        thickness: slices that are read at once.
    """
    along_z, (run_y, along_y), (run_x, along_x) = taps[0], taps[1].trimmed, taps[2].trimmed
    held: dict[int, NDArray[np.float32]] = {}
    read = _first_needed(along_z, 0)
    for position, first in enumerate(along_z.first.tolist()):
        weights = along_z.weights[position]
        needed = [max(0, min(first + tap, along_z.size - 1)) for tap in range(len(weights))]
        while read <= needed[-1]:
            end = min(read + thickness, along_z.size)
            # Slice by slice, for each and what becomes of it fit in a processor's cache.
            for place, voxels in enumerate(planes(slice(read, end), run_y, run_x), read):
                held[place] = along_x.along(along_y.along(voxels, 0), 1)
            read = end
        yield _mean([held[voxel] for voxel in needed], weights)
        for voxel in [voxel for voxel in held if voxel < _first_needed(along_z, position + 1)]:
            del held[voxel]


def _first_needed(along: Taps, position: int) -> int:
    """The first voxel that a position and all after it need."""
    return max(0, int(along.first[position])) if position < len(along.first) else along.size


def _mean(planes: list[NDArray[np.float32]], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = planes[0] * weights[0]
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        if weight:
            total += plane * weight
    return total


def nearest(lattice: Lattice, shape: Shape) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """The voxel nearest to each position along z, y and x; of two as near, the one after."""
    along = zip(lattice.first, lattice.step, lattice.size, shape, strict=True)
    z, y, x = (
        np.clip(
            np.floor(np.round(first + step * np.arange(count), _DIGITS) + 0.5).astype(np.intp), 0, size - 1
        )
        for first, step, count, size in along
    )
    return z, y, x
