"""Cases back to `.nii.gz` files whose inflated bytes are those of the source."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ctspine_zarr import nifti
from ctspine_zarr.errors import StorageError
from ctspine_zarr.read.case import Case, Name
from ctspine_zarr.read.original import inflated_source

_FOLDERS: Final[dict[Name, str]] = {"image": "raw_data/volumes", "segmentation": "raw_data/labels"}


def export(case: Case, output: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write a case's volume and mask below `output`, laid out as the dataset is on the Hub.

    Each file is proven against the sha256 of the inflated source, and appears under its name
    only when it is whole and proven. The gzip layer itself is our own. A file that is not
    restorable (the case has the finding `not_restorable`) has the source's values instead.

    Args:
        case: from an open store.
        output: made where it does not exist.
        overwrite: replace files that are there.

    Returns:
        The two paths, the volume's first.

    Raises:
        StorageError: a file exists, or cannot be written; nothing was replaced.
        DamagedStore: the rebuilt bytes are not those of the source.
    """
    paths = {which: _path(case, which, Path(output)) for which in _FOLDERS}
    for path in paths.values():
        if path.exists() and not overwrite:
            message = f"{path} exists; give --overwrite to replace it"
            raise StorageError(message)
    for which, path in paths.items():
        source = case.nifti_source(which)
        digest = source.inflated_sha256 if source.restorable else None
        nifti.write(path, inflated_source(case.voxels(which), source), digest)
    return tuple(paths.values())


def _path(case: Case, which: Name, output: Path) -> Path:
    return output / _FOLDERS[which] / case.record.source / case.nifti_source(which).file.name
