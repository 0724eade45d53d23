"""Where the labels of a mask lie and in how many pieces. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from ctspine_zarr.format.record import Triple
from ctspine_zarr.geometry import Shape

_TOUCHING: Final = np.ones((3, 3, 3), dtype=bool)
_MOST_LABEL: Final = np.iinfo(np.uint8).max


@dataclass(frozen=True, slots=True)
class Measured:
    """One label of one mask, as `Label` has it, before it has a name and HU."""

    label: int
    voxels: int
    start: Shape
    stop: Shape
    centroid: Triple
    pieces: int
    largest: int

    @property
    def facts(self) -> dict[str, Any]:
        """Field -> value, to make a `Label` of."""
        return asdict(self)


def measure_labels(mask: NDArray[np.uint8]) -> tuple[Measured, ...]:
    """Count, box, centroid and pieces of every label of 1-255 in a (z, y, x) mask, in order of label."""
    occupied = _occupied(mask)
    corner = [int(span.start) for span in occupied]
    boxes = scipy.ndimage.find_objects(mask[occupied], max_label=_MOST_LABEL)
    return tuple(_measured(mask, label, box, corner) for label, box in enumerate(boxes, start=1) if box)


def _occupied(mask: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The box around all labels: a mask is mostly empty, and looking for that is cheap."""
    plane = np.maximum.reduce(mask, axis=0)
    z, y, x = mask.max(axis=(1, 2)), plane.max(axis=1), plane.max(axis=0)
    return _extent(z), _extent(y), _extent(x)


def _extent(line: NDArray[np.uint8]) -> slice:
    filled = np.flatnonzero(line)
    return slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 0)


def _measured(mask: NDArray[np.uint8], label: int, box: tuple[slice, ...], corner: list[int]) -> Measured:
    start = [span.start + offset for span, offset in zip(box, corner, strict=True)]
    stop = [span.stop + offset for span, offset in zip(box, corner, strict=True)]
    inside = mask[tuple(map(slice, start, stop))] == label
    counts = _counts(inside)
    pieces = [size for island in _islands(inside) for size in _piece_sizes(island)]
    return Measured(
        label=label,
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


def _centroid(counts: tuple[NDArray[np.int64], ...], start: list[int]) -> Triple:
    # Exact integers until the division: the same bytes wherever it runs.
    z, y, x = (
        round(float(line @ np.arange(len(line)) / line.sum()) + offset, 3)
        for line, offset in zip(counts, start, strict=True)
    )
    return z, y, x
