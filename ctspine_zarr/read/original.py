"""A case's source files again, from its stored voxels and what was kept of their headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format.layout import CHUNK
from ctspine_zarr.format.receipt import NiftiSource

# The slowest axis of a NIfTI file, along which its bytes can be made part by part.
_SLOWEST: Final = 2


def inflated_source(voxels: Voxels, source: NiftiSource) -> Iterator[bytes]:
    """The inflated `.nii` in parts, byte for byte as it was where the source is restorable.

    A row of chunks is held at a time, not the volume.
    """
    return nifti.join(nifti.parse_header(source.prefix), _disk_parts(voxels, source), source.trailer)


def _disk_parts(voxels: Voxels, source: NiftiSource) -> Iterator[NDArray[Any]]:
    """The values in disk orientation, (i, j, k), in parts along k."""
    axis = source.axes.index(_SLOWEST)
    starts = range(0, voxels.shape[axis], CHUNK[axis])
    for start in reversed(starts) if source.flips[axis] else starts:
        index = [slice(None)] * 3
        index[axis] = slice(start, start + CHUNK[axis])
        yield source.reorientation.undo(voxels[tuple(index)])
