"""What is measured of a case: its HU distribution and its vertebrae. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from ctspine_zarr.dataset import MAX_LABEL, VERTEBRAE
from ctspine_zarr.format.record import Intensity, Vertebra

_LATTICE: Final = (slice(None, None, 2), slice(None, None, 4), slice(None, None, 4))
_PERCENTS: Final = (0.5, 5, 50, 95, 99.5)
_TOUCHING: Final = np.ones((3, 3, 3), dtype=bool)


class IntensityMeter:
    """Collects a volume's HU distribution slab by slab, in order of z."""

    def __init__(self) -> None:
        self._ranges: list[tuple[float, float]] = []
        self._samples: list[NDArray[Any]] = []

    def add(self, slab: NDArray[Any]) -> None:
        """Take in the next 16 slices; an even number, so that the lattice goes on."""
        self._ranges.append((slab.min().item(), slab.max().item()))
        self._samples.append(slab[_LATTICE].ravel())

    def result(self) -> Intensity:
        """The distribution over all slabs; see `Intensity` for which voxels count."""
        samples = np.concatenate(self._samples)
        percentiles = np.percentile(samples, _PERCENTS, method="inverted_cdf")
        lows, highs = zip(*self._ranges, strict=True)
        return Intensity(
            min(lows),
            max(highs),
            *_mean_and_std(samples),
            *(value.item() for value in percentiles),
        )


def _mean_and_std(samples: NDArray[Any]) -> tuple[float, float]:
    # Of values scaled to one, for float64 squares above 1e154 overflow.
    scale = max(1.0, float(np.abs(samples.astype(np.float64)).max()))
    shares = samples / scale
    return round(float(shares.mean()) * scale, 3), round(float(shares.std()) * scale, 3)


def measure_vertebrae(mask: NDArray[np.uint8]) -> tuple[Vertebra, ...]:
    """Count, box, centroid and pieces of every label present in a (z, y, x) mask of 0-25."""
    occupied = _occupied(mask)
    corner = [int(span.start) for span in occupied]
    boxes = scipy.ndimage.find_objects(mask[occupied], max_label=MAX_LABEL)
    return tuple(_vertebra(mask, label, box, corner) for label, box in enumerate(boxes, start=1) if box)


def _occupied(mask: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The box around all labels: a mask is mostly empty, and looking for that is cheap."""
    plane = np.maximum.reduce(mask, axis=0)
    z, y, x = mask.max(axis=(1, 2)), plane.max(axis=1), plane.max(axis=0)
    return _extent(z), _extent(y), _extent(x)


def _extent(line: NDArray[np.uint8]) -> slice:
    filled = np.flatnonzero(line)
    return slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 0)


def _vertebra(mask: NDArray[np.uint8], label: int, box: tuple[slice, ...], corner: list[int]) -> Vertebra:
    start = [span.start + offset for span, offset in zip(box, corner, strict=True)]
    stop = [span.stop + offset for span, offset in zip(box, corner, strict=True)]
    inside = mask[tuple(map(slice, start, stop))] == label
    counts = _counts(inside)
    pieces = [size for island in _islands(inside) for size in _piece_sizes(island)]
    return Vertebra(
        label=label,
        name=VERTEBRAE[label],
        voxels=sum(pieces),
        start=(start[0], start[1], start[2]),
        stop=(stop[0], stop[1], stop[2]),
        centroid=_centroid(counts, start),
        pieces=len(pieces),
        largest=max(pieces),
    )


def _islands(inside: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Boxes parted by empty planes, which no piece can cross.

    Two stray voxels make a label's box as large as the volume; labelling all of it would take
    twelve times its bytes.
    """
    for axis in range(inside.ndim):
        filled = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        runs = np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1)
        if len(filled) < inside.shape[axis]:
            for run in runs:
                index = [slice(None)] * 3
                index[axis] = slice(run[0], run[-1] + 1)
                yield from _islands(inside[tuple(index)])
            return
    yield inside


def _piece_sizes(island: NDArray[np.bool_]) -> list[int]:
    pieces, _ = scipy.ndimage.label(island, structure=_TOUCHING)
    sizes: list[int] = np.bincount(pieces[island])[1:].tolist()
    return sizes


def _counts(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """Voxels in each plane of z, of y and of x, with one pass over the volume for the last two."""
    column = inside.sum(axis=0, dtype=np.int32)
    planes = np.array([np.count_nonzero(plane) for plane in inside], dtype=np.int64)
    return planes, column.sum(axis=1, dtype=np.int64), column.sum(axis=0, dtype=np.int64)


def _centroid(counts: tuple[NDArray[np.int64], ...], start: list[int]) -> tuple[float, float, float]:
    # Exact integers until the division: the same bytes wherever it runs.
    z, y, x = (
        round(float(line @ np.arange(len(line)) / line.sum()) + offset, 3)
        for line, offset in zip(counts, start, strict=True)
    )
    return z, y, x
