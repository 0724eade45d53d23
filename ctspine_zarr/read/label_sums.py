"""Voxels of each label of a mask, and where their middle lies, from its slices one run after another."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LABELS: Final = 256


class LabelSums:
    """Voxels of each label, and the sums of their positions along z, y and x.

    Attributes:
        voxels: (256,), of each value; none is counted of background.
    """

    def __init__(self) -> None:
        self.voxels = np.zeros(_LABELS, np.int64)
        self._positions = np.zeros((_LABELS, 3))

    def add(self, labels: NDArray[np.uint8], first: int) -> None:
        """Take in slices, (z, y, x), from that one on."""
        places = np.nonzero(labels)
        found = labels[places]
        self.voxels += np.bincount(found, minlength=_LABELS)
        for axis, along in enumerate(places):
            offset = first if axis == 0 else 0
            self._positions[:, axis] += np.bincount(found, weights=along + offset, minlength=_LABELS)

    def middles(self) -> dict[int, NDArray[np.float64]]:
        """Label -> mean position, (z, y, x), of those that occur, in order of value."""
        return {
            label: self._positions[label] / self.voxels[label]
            for label in np.flatnonzero(self.voxels).tolist()
        }
