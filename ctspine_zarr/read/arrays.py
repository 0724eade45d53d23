"""The arrays of a case, from its record."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from ctspine_zarr.arrays.reading import ArraySpec, Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format import layout
from ctspine_zarr.format.profiles import codec_of
from ctspine_zarr.format.record import Record, StoredArray
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.read.sample import Name
from ctspine_zarr.storage import Storage

_LOG: Final = logging.getLogger(__name__)


def arrays_of(storage: Storage, record: Record, spec: Spec, reading: Reading) -> dict[Name, Voxels]:
    """The arrays that a case has; nothing is read.

    Args:
        storage: of the store.
        record: of the case.
        spec: of the dataset, which names the group of the mask.
        reading: threads and caches.
    """

    def voxels(path: str, stored: StoredArray) -> Voxels:
        dtype = np.dtype(stored.dtype)
        codec = codec_of(stored.codec, dtype, stored.chunk)
        if codec is None:
            seen = f"{storage.location}, case {record.id}: codec {stored.codec!r}"
            _LOG.debug("%s of the catalog is unknown here; reading through zarr-python", seen)
        index = stored.index_crc32c if stored.bytes else None
        array = ArraySpec(
            storage, f"{record.path}/{path}", record.shape, dtype, stored.bytes, index, stored.slabs
        )
        return Voxels(array, codec, reading)

    found: dict[Name, Voxels] = {"image": voxels(layout.IMAGE, record.image)}
    if record.segmentation is not None:
        path = layout.mask_path(spec.mask, record.segmentation.tag)
        found["segmentation"] = voxels(path, record.segmentation)
    return found
