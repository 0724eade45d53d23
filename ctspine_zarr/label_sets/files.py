"""A folder of NIfTI files that are the labels of cases, by their names."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.text import some_names

# In this order: a case's id may end as that of a mask does.
_ENDINGS: Final = (".nii.gz", "_seg.nii.gz")
_NIFTI: Final = re.compile(r"[^.].*\.nii(\.gz)?")
_LEGAL: Final = "for each case of the store one file at the most, CASE.nii.gz or CASE_seg.nii.gz"


def labels_in(folder: Path, cases: Collection[str]) -> dict[str, Path]:
    """Case id -> the file of its labels, in order of id.

    Args:
        folder: which has them. Files that are no NIfTI, such as those that nnU-Net writes beside its
            predictions, and those whose names begin with a dot are passed over.
        cases: ids of those that there are.

    Raises:
        UnknownValue: there is no such folder, or no NIfTI file; one of no case, or two of one; the message
            names them.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if _NIFTI.fullmatch(path.name))
    except OSError as error:
        message = f"labels {folder}: {error.strerror}; legal: a folder that has, {_LEGAL}"
        raise UnknownValue(message) from error
    found: dict[str, Path] = {}
    others = []
    for path in paths:
        case = _case_of(path.name, cases)
        if case is None or case in found or not path.is_file():
            others.append(path.name)
        else:
            found[case] = path
    if others or not found:
        seen = f"{some_names(others)} in it" if others else "nothing in it"
        message = f"labels {folder}, with {seen}; legal: {_LEGAL}"
        raise UnknownValue(message)
    return dict(sorted(found.items()))


def _case_of(name: str, cases: Collection[str]) -> str | None:
    names = (name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))
    return next((case for case in names if case in cases), None)
