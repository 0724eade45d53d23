"""NIfTI as nibabel images, and new files from arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Extension, extension_codes

from ctspine_zarr.geometry import Affine
from ctspine_zarr.nifti.extensions import read_extensions
from ctspine_zarr.nifti.fields import SIZE_FIELD, header_size, read_fields, refusing_header, voxel_offset
from ctspine_zarr.nifti.header import AnyArray


def source_image(inflated: bytes) -> nibabel.Nifti1Image:
    """A nibabel image over the bytes of a `.nii`, NIfTI-1 or NIfTI-2 as the bytes say.

    It is what nibabel makes of the file, affine in the file's own unit, and more tolerant: an
    extension of impossible size, and those after it, are left out.

    Raises:
        CaseRefused: the bytes are not those of a NIfTI file.
    """
    size = header_size(inflated[:SIZE_FIELD])
    prefix = inflated[: voxel_offset(inflated[:size])]
    image_class: Any = nibabel.Nifti2Image if size == nibabel.Nifti2Header.sizeof_hdr else nibabel.Nifti1Image
    with refusing_header():
        header = read_fields(prefix).mended
        parts = read_extensions(prefix, size, header.endianness).parts
        header.extensions.extend(_extension(code, content) for code, content in parts)
        voxels = image_class.ImageArrayProxy(io.BytesIO(inflated), header.copy())
        image: nibabel.Nifti1Image = image_class(voxels, header.get_best_affine(), header)
    return image


def _extension(code: int, content: bytes) -> Any:
    """An extension as nibabel reads it."""
    kind: Any = extension_codes.handler.get(code, Nifti1Extension)
    return kind(code, content.rstrip(b"\0"))


def canonical_image(values: AnyArray, affine: Affine) -> nibabel.Nifti1Image:
    """A nibabel image in RAS+ over a canonical (z, y, x) array.

    Args:
        values: axes (z, y, x).
        affine: (4, 4), (x, y, z) -> RAS+ mm.
    """
    image = nibabel.Nifti1Image(values.transpose(), affine)
    image.header.set_xyzt_units("mm")
    return image


def retyped(prefix: bytes, dtype: np.dtype[Any]) -> tuple[bytes, np.dtype[Any]]:
    """Every byte before the voxels of a file of the same grid whose voxels are of another dtype.

    They mean themselves: the slope is 1, the intercept 0, and the range to show them in, which was that of
    the other values, is unset. All else is the source's: affines, codes, unit, text, extensions.

    Args:
        prefix: of the source.
        dtype: one of NIfTI.

    Returns:
        The bytes, and the dtype in the byte order that they say.
    """
    size = header_size(prefix)
    header = read_fields(prefix).raw
    header.set_data_dtype(dtype)
    for field, value in (("scl_slope", 1), ("scl_inter", 0), ("cal_min", 0), ("cal_max", 0)):
        header[field] = value
    return bytes(header.binaryblock) + prefix[size:], header.get_data_dtype()


def encode(stored: AnyArray, affine: Affine, inter: float = 0) -> bytes:
    """The inflated `.nii` of new voxels, its sform and qform both coded as scanner coordinates.

    Args:
        stored: (i, j, k), as they are to lie on disk.
        affine: (4, 4), (i, j, k) -> RAS+ mm.
        inter: added to a stored voxel to give its value.
    """
    return new_prefix(stored.shape, stored.dtype, affine, inter) + stored.tobytes(order="F")


def new_prefix(shape: Sequence[int], dtype: np.dtype[Any], affine: Affine, inter: float = 0) -> bytes:
    """Every byte before the voxels of a new file; see `encode`.

    Args:
        shape, dtype: of the voxels, (i, j, k).
        affine, inter: as for `encode`.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, inter)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock) + bytes(4)
