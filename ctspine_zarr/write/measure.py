"""Measures of a mask's labels: voxels, box, centroid, pieces. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.format.record import Triple
from ctspine_zarr.geometry import Shape
from ctspine_zarr.write.extents import Extents, centroid_of
from ctspine_zarr.write.pieces import PieceCounter
from ctspine_zarr.write.runs import Runs

# Voxels looked at together. Where each is a run and touches many, it takes 110 bytes for each of them.
_BLOCK: Final = 2**19


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
    def fields(self) -> dict[str, Any]:
        """Field -> value, to make a `Label` of."""
        return asdict(self)


def measure_labels(mask: NDArray[np.uint8]) -> tuple[Measured, ...]:
    """Count, box, centroid and pieces of every label of 1-255 in a (z, y, x) mask, in order of label.

    Memory: 60 MB; more only where a plane across the longest axis has over 2**18 voxels.
    """
    if native.kernel is not None:
        return tuple(map(_from_kernel, native.kernel.measure_labels(mask)))
    occupied = _occupied(mask)
    box = mask[occupied]
    axes = _axes(box.shape)
    extents, pieces = Extents(axes, [int(span.start) for span in occupied]), PieceCounter()
    for first, new, planes in _blocks(box.transpose(axes)):
        runs = Runs.of(planes)
        extents.add(runs, first, new)
        pieces.add(runs, len(planes) - 1)
    pieces.close()
    return tuple(_measured(label, extents, pieces) for label in extents.present())


def _from_kernel(found: native.Label) -> Measured:
    label, voxels, sums, bounds, pieces, largest = found
    (z, z_stop), (y, y_stop), (x, x_stop) = bounds
    return Measured(
        label=label,
        voxels=voxels,
        start=(z, y, x),
        stop=(z_stop, y_stop, x_stop),
        centroid=centroid_of(sums, voxels),
        pieces=pieces,
        largest=largest,
    )


def _measured(label: int, extents: Extents, pieces: PieceCounter) -> Measured:
    start, stop = extents.box(label)
    return Measured(
        label=label,
        voxels=int(extents.voxels[label]),
        start=start,
        stop=stop,
        centroid=extents.centroid(label),
        pieces=int(pieces.pieces[label]),
        largest=int(pieces.largest[label]),
    )


def _occupied(mask: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """The box around all labels: a mask is mostly empty, and looking for that is cheap."""
    plane = np.maximum.reduce(mask, axis=0)
    z, y, x = mask.max(axis=(1, 2)), plane.max(axis=1), plane.max(axis=0)
    return _extent(z), _extent(y), _extent(x)


def _extent(line: NDArray[np.uint8]) -> slice:
    filled = np.flatnonzero(line)
    return slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 0)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes in the order to go through them: as they are, but the longest first where planes are large."""
    if 2 * math.prod(shape[1:]) <= _BLOCK:
        return 0, 1, 2
    return tuple(sorted(range(3), key=lambda axis: -shape[axis]))


def _blocks(volume: NDArray[np.uint8]) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Planes, some at a time: index of the first, how many of them came before, and they themselves."""
    depth = max(1, _BLOCK // max(1, math.prod(volume.shape[1:])) - 1)
    for start in range(0, len(volume), depth):
        shared = min(1, start)
        yield start - shared, shared, volume[start - shared : start + depth]
