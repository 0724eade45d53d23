"""The form of voxels on their way to an array: another dtype, and scaled. Pure arithmetic."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.scaling import Scaling

_STORED: Final = tuple(map(np.dtype, ("uint8", "int16", "int32", "float32", "float64")))
_SINGLE: Final = np.dtype("float32")
_SCALED: Final = frozenset((stored, _SINGLE) for stored in _STORED)
_WRITTEN: Final = (
    _SCALED
    | {(stored, stored) for stored in _STORED}
    | {(np.dtype(stored), np.dtype("int32")) for stored in ("uint8", "int16")}
)


def by_kernel(stored: np.dtype[Any], target: np.dtype[Any], scaling: Scaling | None) -> bool:
    """Whether the kernel is there and can write values of one dtype to an array of another."""
    legal = _WRITTEN if scaling is None else _SCALED
    return native.kernel is not None and (stored, target) in legal


def plain(scaling: Scaling | None) -> native.Scale | None:
    """A scaling as the kernel takes it."""
    return None if scaling is None else (scaling.subtract, scaling.divide, scaling.low, scaling.high)


def convert(source: NDArray[Any], target: NDArray[Any], scaling: Scaling | None) -> None:
    """Write values to an array of their shape: rounded to its dtype, then scaled.

    Args:
        source: at most three axes.
        target: of floats where there is a scaling; the two share no memory.
        scaling: None to leave them as they are.
    """
    if native.kernel is not None and by_kernel(source.dtype, target.dtype, scaling):
        axes = (None,) * (3 - source.ndim)
        native.kernel.convert(source[axes], target[axes], plain(scaling))
        return
    target[...] = source
    if scaling is not None:
        target -= scaling.subtract
        target /= scaling.divide
        if (scaling.low, scaling.high) != (-math.inf, math.inf):
            np.clip(target, scaling.low, scaling.high, out=target)


def fill_with(target: NDArray[Any], value: float, dtype: np.dtype[Any], scaling: Scaling | None) -> None:
    """Write one value of a stored dtype everywhere, in the form that is wanted."""
    convert(np.broadcast_to(np.array(value, dtype), target.shape), target, scaling)


def look_up(labels: NDArray[np.uint8], target: NDArray[Any], table: bytes) -> None:
    """Write for each label what a table has at its place.

    Args:
        labels: three axes.
        target: of their shape, uint8 or int32; the two share no memory.
        table: 256 labels.
    """
    if native.kernel is not None:
        native.kernel.look_up(labels, target, table)
    else:
        np.take(np.frombuffer(table, np.uint8).astype(target.dtype), labels, out=target, mode="clip")


def looked_up(labels: NDArray[np.uint8], table: bytes) -> NDArray[np.uint8]:
    """For each label what a table has at its place, C-contiguous, in an array of its own.

    Args:
        labels: three axes.
        table: 256 labels.
    """
    found = np.empty(labels.shape, np.uint8)
    look_up(labels, found, table)
    return found
