"""Cases back to `.nii.gz` files whose inflated bytes are those of the source."""

from __future__ import annotations

from pathlib import Path

from ctspine_zarr import nifti
from ctspine_zarr.datasets import DATASETS
from ctspine_zarr.errors import StorageError, choose
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.original import inflated_source
from ctspine_zarr.read.sample import Name


def export(case: Case, output: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write a case's volume and mask below `output`, named and laid out as their dataset is.

    Each file is proven against the sha256 of the inflated source, and appears under its name
    only when it is whole and proven. The gzip layer itself is our own. A file that is not
    restorable (the case has the finding `not_restorable`) has the source's values instead.

    Args:
        case: from an open store.
        output: made where it does not exist.
        overwrite: replace files that are there.

    Returns:
        The paths: the volume's, and that of the mask where the case has one.

    Raises:
        StorageError: a file exists, or cannot be written; no file is ever there in part.
        DamagedStore: the rebuilt bytes are not those of the source, or its header is of another grid.
        UnknownValue: the store's layout is none that this version knows, or has no such split.
    """
    paths = {which: Path(output) / _path(case, which) for which in case.names}
    for path in () if overwrite else paths.values():
        _require_free(path)
    for which, path in paths.items():
        source = case.nifti_source(which)
        digest = source.inflated_sha256 if source.restorable else None
        nifti.write(path, inflated_source(case.voxels(which), source, case.record, which), digest)
    return tuple(paths.values())


def _require_free(path: Path) -> None:
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise StorageError(message) from error
    message = f"{path} exists; give --overwrite to replace it"
    raise StorageError(message)


def _path(case: Case, which: Name) -> str:
    """Where a file lies in its dataset: it follows from names that were checked, not from what was kept."""
    layout, record = choose("layout", case.spec.layout, DATASETS), case.record
    path = layout.image_path if which == "image" else layout.mask_path
    return path(record.split, record.source, record.id)
