"""A case's source files again, from its stored voxels and what was kept of their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import CaseRefused, DamagedStore
from ctspine_zarr.format.receipt import Facts, NiftiSource
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import grid_offset
from ctspine_zarr.nifti import Header
from ctspine_zarr.read.sample import Name

# The slowest axis of a NIfTI file, along which its bytes can be made part by part.
_SLOWEST: Final = 2
# In voxels, from the record's affine, which is the image's; the build refuses a mask that lies further off.
_MOST_OFFSET: Final[dict[Name, float]] = {"image": 1e-3, "segmentation": 0.5}


def kept_source(facts: Facts, which: Name, mask: str, place: str) -> NiftiSource:
    """What was kept of a source file of a case that has it.

    Args:
        facts: of the case.
        which: the file.
        mask: name of the label group that the mask is of.
        place: of the case.

    Raises:
        DamagedStore: nothing was kept.
    """
    found = facts.nifti.image if which == "image" else facts.nifti.mask(mask)
    if found is None:
        message = f"{place}: nothing is kept of its {which}; run verify"
        raise DamagedStore(message)
    return found


def kept_header(source: NiftiSource, record: Record, which: Name) -> Header:
    """The header of a source file, of the grid that the record has.

    Raises:
        DamagedStore: what was kept of the header is none, or of another shape or place.
    """
    try:
        header = nifti.parse_header(source.prefix)
    except CaseRefused as error:
        message = f"{source.file.name}: its kept header is unusable ({error}); run verify"
        raise DamagedStore(message) from error
    shape = source.reorientation.shape(header.shape)
    if shape != record.shape:
        seen = f"its kept header has shape {shape}"
        message = f"{source.file.name}: {seen}; legal, by the catalog: {record.shape}; run verify"
        raise DamagedStore(message)
    offset, most = _offset(header, source, record), _MOST_OFFSET[which]
    if not offset < most:
        message = (
            f"{source.file.name}: its kept header lies {offset:.3g} voxels from the catalog's affine; "
            f"legal: below {most}; run verify"
        )
        raise DamagedStore(message)
    return header


def _offset(header: Header, source: NiftiSource, record: Record) -> float:
    z, y, x = record.shape
    # Beyond what floats hold there is no number, which is below none.
    with np.errstate(all="ignore"):
        affine = source.reorientation.affine(header.affine, header.shape)
        return grid_offset(record.affine_matrix, affine, (x, y, z))


def inflated_source(voxels: Voxels, source: NiftiSource, record: Record, which: Name) -> Iterator[bytes]:
    """The inflated `.nii` in parts, byte for byte as it was where the source is restorable.

    A row of chunks is held at a time, not the volume.

    Raises:
        DamagedStore: what was kept of the header is none, or of another grid than the record's.
    """
    header = kept_header(source, record, which)
    return nifti.join(header, _disk_parts(voxels, source), source.trailer)


def original_bytes(voxels: Voxels, source: NiftiSource, record: Record, which: Name) -> bytes:
    """The inflated `.nii`, all of it, proven by the digest of the source's.

    Raises:
        DamagedStore: it is not what the source held, where the source is restorable; or its header is
            of another grid than the record's.
    """
    data = b"".join(inflated_source(voxels, source, record, which))
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
