"""A case's source files again, from its stored voxels and what was kept of their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import CaseRefused, DamagedStore
from ctspine_zarr.format.receipt import NiftiSource

# The slowest axis of a NIfTI file, along which its bytes can be made part by part.
_SLOWEST: Final = 2


def inflated_source(voxels: Voxels, source: NiftiSource) -> Iterator[bytes]:
    """The inflated `.nii` in parts, byte for byte as it was where the source is restorable.

    A row of chunks is held at a time, not the volume.

    Raises:
        DamagedStore: what was kept of the header is none.
    """
    try:
        header = nifti.parse_header(source.prefix)
    except CaseRefused as error:
        message = f"{source.file.name}: its kept header is unusable ({error}); run verify"
        raise DamagedStore(message) from error
    return nifti.join(header, _disk_parts(voxels, source), source.trailer)


def original_bytes(voxels: Voxels, source: NiftiSource) -> bytes:
    """The inflated `.nii`, all of it, proven by the digest of the source's.

    Raises:
        DamagedStore: it is not what the source held, where the source is restorable.
    """
    data = b"".join(inflated_source(voxels, source))
    if source.restorable and hashlib.sha256(data).hexdigest() != source.inflated_sha256:
        message = f"{source.file.name}: rebuilt with another sha256 than its source had; run verify"
        raise DamagedStore(message)
    return data


def _disk_parts(voxels: Voxels, source: NiftiSource) -> Iterator[NDArray[Any]]:
    """The values in disk orientation, (i, j, k), in parts along k."""
    axis = source.axes.index(_SLOWEST)
    thickness = voxels.chunk[axis]
    starts = range(0, voxels.shape[axis], thickness)
    for start in reversed(starts) if source.flips[axis] else starts:
        index = [slice(None)] * 3
        index[axis] = slice(start, start + thickness)
        yield source.reorientation.undo(voxels[tuple(index)])
