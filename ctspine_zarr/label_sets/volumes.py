"""The volumes of labels that a label set is made of: of files, and of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.conversion import looked_up
from ctspine_zarr.digest import BackgroundSha256
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.record import Record
from ctspine_zarr.nifti import Volume
from ctspine_zarr.write.ingest import require_one_grid
from ctspine_zarr.write.values import convert, require_label_range

type Labels = ArrayLike | str | Path
"""Labels of a case: (z, y, x), canonical, of its shape; or the path of a `.nii.gz` on its grid."""

_MOST: Final = 255


def volume_of(labels: Labels, record: Record, back: Mapping[int, int] | None = None) -> Volume:
    """The labels of a case as a volume that a build would read.

    Args:
        labels: a file, whose axes may lie anyhow, or an array.
        record: of the case.
        back: value -> label of the dataset, where the values are those of a label map.

    Raises:
        CaseRefused: the file cannot be read, or either is of another grid than the case, or an array has
            values that are no integers from 0 to 255, or either has one that the map does not give.
    """
    if isinstance(labels, str | Path):
        volume = _of_file(Path(labels), record)
    else:
        volume = _of_array(_labels(np.asarray(labels), record), record)
    return volume if back is None else _of_array(_taken_back(volume, back), record)


def _taken_back(volume: Volume, back: Mapping[int, int]) -> NDArray[np.uint8]:
    """The labels that have the values of a volume, canonical (z, y, x)."""
    require_label_range(volume, back)
    values = convert(volume.header, volume.header.reorientation.apply(volume.stored), MASK_DTYPE)
    is_there = np.zeros(_MOST + 1, np.bool_)
    is_there[values.reshape(-1)] = True
    if other := [value for value in np.flatnonzero(is_there[1:]) + 1 if value not in back]:
        message = f"{volume.name}: value {other[0]}; legal: 0, and what the label map gives: {sorted(back)}"
        raise CaseRefused(message)
    return looked_up(values, bytes(back.get(value, 0) for value in range(_MOST + 1)))


def _of_file(path: Path, record: Record) -> Volume:
    try:
        require_one_grid(record.shape, record.affine_matrix, nifti.read_header(path))
    except CaseRefused as error:
        seen = str(error)
        message = seen if path.name in seen else f"{path.name}: {seen}"
        raise CaseRefused(message) from error
    return nifti.read(path)


def _of_array(voxels: NDArray[np.uint8], record: Record) -> Volume:
    """A volume of a `.nii` in RAS+ that has these voxels, as that of a derived case."""
    prefix = nifti.new_prefix(voxels.shape[::-1], MASK_DTYPE, record.affine_matrix)
    hashing = BackgroundSha256()
    hashing.update(prefix)
    hashing.update(voxels.reshape(-1))
    digest = hashing.hexdigest()
    return Volume(
        name=f"{record.id}.nii",
        header=nifti.parse_header(prefix),
        stored=voxels.transpose(),
        trailer=b"",
        file_bytes=len(prefix) + voxels.nbytes,
        file_sha256=digest,
        file_ending="",
        inflated_sha256=digest,
    )


def _labels(array: NDArray[Any], record: Record) -> NDArray[np.uint8]:
    """The same values as uint8, C-contiguous."""
    if array.shape != record.shape or array.dtype.kind not in "biuf":
        seen = f"an array of shape {array.shape} and dtype {array.dtype} for case {record.id}"
        message = f"{seen}; legal: labels of shape {record.shape} (z, y, x)"
        raise CaseRefused(message)
    low, high = array.min(), array.max()
    if not 0 <= low <= high <= _MOST:
        message = f"values from {low:g} to {high:g} for case {record.id}; legal: integers 0 to {_MOST}"
        raise CaseRefused(message)
    voxels = np.ascontiguousarray(array, MASK_DTYPE)
    if array.dtype.kind == "f" and not np.array_equal(voxels, array):
        other = array[voxels != array][0]
        message = f"value {other:g} for case {record.id}; legal: integers 0 to {_MOST}"
        raise CaseRefused(message)
    return voxels
