"""Size, box and centroid of each label, from a mask's runs. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.record import Triple
from ctspine_zarr.geometry import Shape
from ctspine_zarr.write.runs import LABELS, Runs


class Extents:
    """Voxels, box and centroid of every label, from exact integers.

    Attributes:
        voxels: how many there are, by label.
    """

    def __init__(self, axes: Sequence[int], corner: Sequence[int]) -> None:
        """Start with nothing seen.

        Args:
            axes: of the planes, among those of the (z, y, x) mask.
            corner: (z, y, x) of the part of the mask whose planes come.
        """
        self.voxels = np.zeros(LABELS, dtype=np.int64)
        self._axes, self._corner = axes, corner
        self._sums = np.zeros((3, LABELS), dtype=np.int64)
        self._starts = np.full((3, LABELS), np.iinfo(np.int64).max)
        self._stops = np.zeros((3, LABELS), dtype=np.int64)

    def add(self, runs: Runs, first: int, new: int) -> None:
        """Take in planes.

        Args:
            runs: in them.
            first: index in the mask's part of the first of them.
            new: index among them of the first that was not taken in before.
        """
        part = runs.from_plane(new)
        labels, lengths = runs.labels[part], runs.lengths[part]
        plane, row, column = (index[part] for index in runs.corners())
        np.add.at(self.voxels, labels, lengths)
        starts, stops = (plane + first, row, column), (plane + first + 1, row + 1, column + lengths)
        for axis, start, stop in zip(self._axes, starts, stops, strict=True):
            np.minimum.at(self._starts[axis], labels, start)
            np.maximum.at(self._stops[axis], labels, stop)
            # Of voxels that follow each other, twice the mean index is an integer.
            np.add.at(self._sums[axis], labels, (start + stop - 1) * lengths // 2)

    def present(self) -> list[int]:
        """Labels that occur, ascending."""
        labels: list[int] = np.flatnonzero(self.voxels).tolist()
        return labels

    def box(self, label: int) -> tuple[Shape, Shape]:
        """(z, y, x) of the first voxel, and of the first after the last."""
        return self._in_mask(self._starts[:, label]), self._in_mask(self._stops[:, label])

    def centroid(self, label: int) -> Triple:
        """See `centroid_of`."""
        voxels = int(self.voxels[label])
        z, y, x = (
            int(total) + corner * voxels
            for total, corner in zip(self._sums[:, label], self._corner, strict=True)
        )
        return centroid_of((z, y, x), voxels)

    def _in_mask(self, place: NDArray[np.int64]) -> Shape:
        z, y, x = (int(index) + corner for index, corner in zip(place, self._corner, strict=True))
        return z, y, x


def centroid_of(sums: Shape, voxels: int) -> Triple:
    """(z, y, x) in voxels, to three decimals; exact until the division: equal wherever it runs.

    Args:
        sums: of the voxels' indices along each axis.
        voxels: how many there are.
    """
    z, y, x = (round(total / voxels, 3) for total in sums)
    return z, y, x
