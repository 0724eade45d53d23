"""The thumbnail of a case, from voxels that are at hand while it is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.receipt import MOST_THUMBNAIL_BYTES
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.planes import plane
from ctspine_zarr.look.small import small_jpeg, spine_cut
from ctspine_zarr.nifti import Volume
from ctspine_zarr.write.values import convert


@dataclass(frozen=True)
class Voxels:
    """The voxels that a case was made from.

    Attributes:
        image: its file, read whole.
        mask: labels, canonical (z, y, x); None where the case has no mask.
    """

    image: Volume
    mask: NDArray[np.uint8] | None


def thumbnail_of(record: Record, spec: Spec, voxels: Voxels) -> bytes:
    """A JPEG of the spine from the side; see `Receipt.thumbnail`.

    Args:
        record: of the case.
        spec: of its dataset.
        voxels: of the same case.
    """
    chosen = spine_cut(record, spec)
    if chosen is None:
        return b""
    header = voxels.image.header
    canonical = header.reorientation.apply(voxels.image.stored)
    dtype = np.dtype(record.image.dtype)
    image = np.empty(chosen.shape, dtype)
    mask = None if voxels.mask is None else np.empty(chosen.shape, np.uint8)
    places = [
        tuple(slice(one, one + length) for one, length in zip(start, size, strict=True))
        for start, size in chosen.boxes
    ]
    for place, part in zip(places, chosen.parts(image), strict=True):
        convert(header, canonical[place], dtype, part)
    if mask is not None and voxels.mask is not None:
        for place, part in zip(places, chosen.parts(mask), strict=True):
            part[...] = voxels.mask[place]
    return small_jpeg(plane(chosen, image, mask, record.affine_matrix), MOST_THUMBNAIL_BYTES)
