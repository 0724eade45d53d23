"""The line through the vertebrae, which curved planes follow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.levels import middle_voxel, sound_labels
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec

# Of the line, along z: less than a vertebra with its disc, so that no bend of the spine is lost.
_SMOOTH_MM: Final = 20.0
# Of the median size: what is smaller bends no line, even where it is no stray.
_LEAST_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class CentreLine:
    """The centre line, along which a volume is cut.

    Attributes:
        rows, columns: for each z in turn the y and the x of the voxel nearest to it.
        middle: z of the middle vertebra; of the volume's middle where no label is known.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    middle: int


def centre_line(record: Record, spec: Spec) -> CentreLine:
    """The line through the centroids of a case's vertebrae, smoothed over 20 mm.

    It is linear between centroids and goes straight up and down beyond the first and the last one. Strays,
    and levels of few voxels, are left out. Labels that are no level count where there is no other; then, and
    where there is none, the line is upright: through the voxel that is the mean of their centroids, or the
    volume's middle.
    """
    levels = _large([label for label in sound_labels(record) if label.label in spec.levels])
    if not levels:
        return _upright(record)
    heights, places = _by_height(levels)
    along = np.arange(record.shape[0])
    rows, columns = (
        _nearest(_smooth(np.interp(along, heights, place), record.spacing[0]), size)
        for place, size in zip(places, record.shape[1:], strict=True)
    )
    return CentreLine(rows, columns, round(middle_voxel(record, spec)[0]))


def _upright(record: Record) -> CentreLine:
    middle = [size // 2 for size in record.shape]
    if record.labels:
        weights = [label.voxels for label in record.labels]
        mean = np.average([label.centroid for label in record.labels], axis=0, weights=weights)
        middle = [round(float(value)) for value in mean]
    rows, columns = (np.full(record.shape[0], value) for value in middle[1:])
    return CentreLine(rows, columns, middle[0])


def _large(labels: Sequence[Label]) -> list[Label]:
    if not labels:
        return []
    least = _LEAST_SHARE * float(np.median([label.voxels for label in labels]))
    return [label for label in labels if label.voxels >= least]


def _by_height(labels: Sequence[Label]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights, upwards and each once, and the (y, x) at each, as two rows."""
    centroids = np.array([label.centroid for label in labels])
    heights, which = np.unique(centroids[:, 0], return_inverse=True)
    counts = np.bincount(which)
    places = [np.bincount(which, weights=centroids[:, axis]) / counts for axis in (1, 2)]
    return heights, np.array(places)


def _smooth(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """The running mean; the ends are held beyond themselves."""
    reach = int(min(_SMOOTH_MM / 2 / step, len(values)))
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")


def _nearest(values: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    return np.clip(np.rint(values), 0, size - 1).astype(np.int64)
