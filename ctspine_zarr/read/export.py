"""Cases back to `.nii.gz` files whose inflated bytes are those of the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ctspine_zarr import nifti
from ctspine_zarr.errors import StorageError
from ctspine_zarr.read.case import Case, Name
from ctspine_zarr.read.original import proven_source

_FOLDERS: Final[dict[Name, str]] = {"image": "raw_data/volumes", "segmentation": "raw_data/labels"}


def export(case: Case, output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a case's volume and mask below `output`, laid out as the dataset is on the Hub.

    Each file is proven against the sha256 of the inflated source before it is written, and
    appears under its name only when it is whole. The gzip layer itself is our own.

    Args:
        case: from an open store.
        output: made where it does not exist.
        overwrite: replace files that are there.

    Yields:
        Each path, once its file is written.

    Raises:
        StorageError: a file exists, or cannot be written.
        DamagedStore: the rebuilt bytes are not those of the source.
    """
    for which, folder in _FOLDERS.items():
        source = case.nifti_source(which)
        path = output / folder / case.record.source / source.file.name
        if path.exists() and not overwrite:
            message = f"{path} exists; give --overwrite to replace it"
            raise StorageError(message)
        _write(path, nifti.compress(proven_source(case.voxels(which), source)))
        yield path


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        message = f"cannot write {path}: {error.strerror or error}"
        raise StorageError(message) from error
