"""NIfTI as nibabel images, and new files from arrays."""

from __future__ import annotations

import nibabel

from ctspine_zarr.geometry import Affine
from ctspine_zarr.nifti.header import AnyArray, header_size


def source_image(inflated: bytes) -> nibabel.Nifti1Image:
    """A nibabel image over the bytes of a `.nii`, NIfTI-1 or NIfTI-2 as the bytes say."""
    is_second = header_size(inflated) == nibabel.Nifti2Header.sizeof_hdr
    image_class = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    return image_class.from_bytes(inflated)


def canonical_image(values: AnyArray, affine: Affine) -> nibabel.Nifti1Image:
    """A nibabel image in RAS+ over a canonical (z, y, x) array.

    Args:
        values: axes (z, y, x).
        affine: (4, 4), (x, y, z) -> RAS+ mm.
    """
    image = nibabel.Nifti1Image(values.transpose(), affine)
    image.header.set_xyzt_units("mm")
    return image


def encode(stored: AnyArray, affine: Affine, inter: float = 0) -> bytes:
    """The inflated `.nii` of new voxels, its sform and qform both coded as scanner coordinates.

    Args:
        stored: (i, j, k), as they are to lie on disk.
        affine: (4, 4), (i, j, k) -> RAS+ mm.
        inter: added to a stored voxel to give its value.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, inter)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock) + bytes(4) + stored.tobytes(order="F")
