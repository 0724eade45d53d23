"""Runs of one label along a mask's rows, and which of them touch. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

type Indices = NDArray[np.intp]
# Half the bytes: of noise there is a pair a voxel, in each of four parts.
type Pairs = NDArray[np.int32]

LABELS: Final = 256
"""Length of an array that has something for each label, and for none."""


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of labels in planes of a mask, in C order.

    A voxel's place is its index in the planes, flattened, where an empty voxel follows each row and
    an empty row each plane: so each of its neighbours lies at a fixed distance, none across an edge.

    Attributes:
        labels: of 1-255.
        starts, stops: places of the first voxel of each, and of the first after it.
        row, plane: distance from a voxel to its neighbour in the next row, and in the next plane.
    """

    labels: NDArray[np.uint8]
    starts: Indices
    stops: Indices
    row: int
    plane: int

    @classmethod
    def of(cls, planes: NDArray[np.uint8]) -> Self:
        """The runs of (planes, rows, columns)."""
        depth, height, width = planes.shape
        # One empty voxel before all, so that a run may begin at place 0.
        line = np.zeros(1 + depth * (height + 1) * (width + 1), dtype=np.uint8)
        line[1:].reshape(depth, height + 1, width + 1)[:, :height, :width] = planes
        edges = np.flatnonzero(line[1:] != line[:-1])
        labels = line[1:].take(edges)
        first = np.flatnonzero(labels)
        return cls(
            labels=labels.take(first),
            starts=edges.take(first),
            stops=edges.take(first + 1),
            row=width + 1,
            plane=(height + 1) * (width + 1),
        )

    @property
    def lengths(self) -> Indices:
        """Voxels of each."""
        return self.stops - self.starts

    def from_plane(self, plane: int) -> slice:
        """Those in a plane and in all that follow it."""
        return slice(int(np.searchsorted(self.starts, plane * self.plane)), len(self.starts))

    def corners(self) -> tuple[Indices, Indices, Indices]:
        """Plane, row and column of the first voxel of each."""
        plane, within = np.divmod(self.starts, self.plane)
        return plane, *np.divmod(within, self.row)

    def touching(self) -> Iterator[tuple[Pairs, Pairs]]:
        """Pairs of runs of one label that share a face, an edge or a corner, each pair once.

        They come in four parts, for of noise there are several pairs a voxel.
        """
        return map(self._touching, (self.row, self.plane - self.row, self.plane, self.plane + self.row))

    def _touching(self, away: int) -> tuple[Pairs, Pairs]:
        """Pairs whose second run lies in the row that is so far away from the first's."""
        low = np.searchsorted(self.stops, self.starts + away, side="left")
        counts = np.searchsorted(self.starts, self.stops + away, side="right") - low
        first = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        # The runs that one touches follow each other from `low` on.
        before = (low - counts.cumsum() + counts).astype(np.int32)
        second = np.arange(len(first), dtype=np.int32) + np.repeat(before, counts)
        same = np.flatnonzero(self.labels.take(first) == self.labels.take(second))
        return first.take(same), second.take(same)
