"""A case's source files again, from its stored voxels and what was kept of their headers."""

from __future__ import annotations

from ctspine_zarr import nifti
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format.records import NiftiSource
from ctspine_zarr.read.voxels import Voxels


def inflated_source(voxels: Voxels, source: NiftiSource) -> bytes:
    """The inflated `.nii` as it was when it was read, byte for byte where it is restorable."""
    header = nifti.parse_header(source.prefix)
    values = source.reorientation.undo(voxels[...])
    return nifti.join(header, values, source.trailer)


def proven_source(voxels: Voxels, source: NiftiSource) -> bytes:
    """As `inflated_source`, with proof.

    Raises:
        DamagedStore: the bytes are not those that were read.
    """
    inflated = inflated_source(voxels, source)
    seen = sha256(inflated)
    if seen != source.inflated_sha256:
        message = (
            f"{source.file.name}: rebuilt with sha256 {seen}, the source had {source.inflated_sha256}; "
            "either its finding not_restorable says why, or verify will"
        )
        raise DamagedStore(message)
    return inflated
