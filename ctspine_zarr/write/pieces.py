"""Counts of each label's pieces, from a mask's runs. Pure arithmetic."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ctspine_zarr.write.runs import LABELS, Pairs, Runs


class PieceCounter:
    """The pieces of every label: voxels that share a face, an edge or a corner are of one piece.

    A mask's planes come some at a time; of those seen, the pieces that reach the last are kept.

    Attributes:
        pieces: how many there are, by label; whole after `close`.
        largest: voxels of the largest, by label; whole after `close`.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.pieces = np.zeros(LABELS, dtype=np.int64)
        self.largest = np.zeros(LABELS, dtype=np.int64)
        self._labels = np.zeros(0, dtype=np.uint8)
        self._sizes = np.zeros(0, dtype=np.int64)
        # The piece of each run of the last plane.
        self._reached = np.zeros(0, dtype=np.intp)

    def add(self, runs: Runs, last: int) -> None:
        """Take in planes, the first of which is the last of those before, if there were any.

        Args:
            runs: in them.
            last: index among them of the last.
        """
        count, piece = self._joined(runs)
        voxels = np.concatenate((runs.lengths, self._sizes))
        voxels[: len(self._reached)] = 0
        sizes = np.bincount(piece, weights=voxels, minlength=count).astype(np.int64)
        labels = np.zeros(count, dtype=np.uint8)
        labels[piece[: len(runs.labels)]] = runs.labels
        kept, self._reached = np.unique(piece[runs.from_plane(last)], return_inverse=True)
        self._labels, self._sizes = labels[kept], sizes[kept]
        self._count(np.delete(labels, kept), np.delete(sizes, kept))

    def close(self) -> None:
        """Count the pieces that reach the last plane: no other comes."""
        self._count(self._labels, self._sizes)

    def _joined(self, runs: Runs) -> tuple[int, Pairs]:
        """How many pieces there are, and the piece of each run and of each piece that was kept."""
        runs_seen = np.arange(len(self._reached), dtype=np.int32)
        count = len(runs.labels) + len(self._sizes)
        piece = np.arange(count, dtype=np.int32)
        again = runs_seen, (self._reached + len(runs.labels)).astype(np.int32)
        for first, second in chain([again], runs.touching()):
            count, joined = _components(count, piece.take(first), piece.take(second))
            piece = joined.take(piece)
        return count, piece

    def _count(self, labels: NDArray[np.uint8], sizes: NDArray[np.int64]) -> None:
        np.add.at(self.pieces, labels, 1)
        np.maximum.at(self.largest, labels, sizes)


def _components(nodes: int, first: Pairs, second: Pairs) -> tuple[int, Pairs]:
    """How many components a graph of these edges has, and the component of each node."""
    edges = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(nodes, nodes))
    count, component = connected_components(edges, directed=False)
    return count, component
