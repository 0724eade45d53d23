"""nnU-Net's reader of pointers to a store. Every process that reads imports it, so it imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, override

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency, UnknownValue
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.read.case import Case

try:
    from nnunetv2.imageio import nibabel_reader_writer
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

type Read = tuple[NDArray[np.float32], dict[str, Any]]
"""Voxels, (1, z, y, x), and what nnU-Net calls properties: `spacing` in mm, (z, y, x), and affines."""


class CTSpineStoreIO(nibabel_reader_writer.NibabelIOWithReorient):
    """A reader for nnU-Net of pointers to a store, and of NIfTI files as its base is; it writes NIfTI.

    What it gives is what its base gives of the same case's NIfTI in RAS+, value for value; a mask that it
    writes lies on the source's grid.
    """

    supported_file_endings: Final = [".nii", ".nii.gz", ".json"]

    @override
    def read_images(self, image_fnames: Sequence[str]) -> Read:
        """HU of one image, (1, z, y, x) float32.

        Raises:
            StoreUpdated: the case holds something else than when the pointer was made.
            UnknownValue: several images of which one is a pointer.
            Malformed, and others: as `Pointer.read` and `Pointer.open`.
        """
        pointers = [pointer for path in image_fnames if (pointer := Pointer.read(path)) is not None]
        if not pointers:
            found: Read = super().read_images(image_fnames)
            return found
        if len(image_fnames) != 1:
            message = f"pointers as {len(image_fnames)} channels of one case; legal: one"
            raise UnknownValue(message)
        case = pointers[0].open()
        return case.voxels("image")[...].astype(np.float32, copy=False)[None], properties_of(case)

    @override
    def read_seg(self, seg_fname: str) -> Read:
        """Labels of nnU-Net's numbering, (1, z, y, x) float32, as all its readers give them.

        Raises: as `read_images` does.
        """
        pointer = Pointer.read(seg_fname)
        if pointer is None:
            found: Read = super().read_seg(seg_fname)
            return found
        case = pointer.open()
        labels = pointer.mapped(case.voxels("segmentation")[...])
        return labels.astype(np.float32)[None], properties_of(case)


def properties_of(case: Case) -> dict[str, Any]:
    """What nnU-Net's own reader says of a case's NIfTI, so that masks are written on the source's grid."""
    affines = {
        "original_affine": np.array(case.nifti_source("image").affine),
        "reoriented_affine": np.array(case.affine),
    }
    # A NIfTI header has them as float32.
    return {"nibabel_stuff": affines, "spacing": [float(np.float32(mm)) for mm in case.spacing]}


def register() -> None:
    """Make nnU-Net find the reader by its name, in this process."""
    nibabel_reader_writer.CTSpineStoreIO = CTSpineStoreIO
