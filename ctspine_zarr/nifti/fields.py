"""The fields of a NIfTI header, as a file has them and as nibabel mends them. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ctspine_zarr.errors import CaseRefused

SIZE_FIELD: Final = 4
"""Bytes at a file's start that tell its kind."""

MOST_EXTRA: Final = 16 << 20
"""Bytes that may precede the voxels (header extensions) or follow them."""

EXTENSION_FLAG: Final = 4
"""Bytes between a header and its extensions, or its voxels where it has none."""

_HEADERS: Final[dict[int, Any]] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MAGIC: Final = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_MAGIC_AT: Final = {348: 344, 540: 4}
_BYTE_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")

# Of nibabel's levels: what is graver cannot be mended, whatever `imageglobals.error_level` says.
_UNMENDABLE: Final = 40
# What nibabel mends goes into `repairs`. Its own logger prints, without naming the file, and its
# LoggingOutputSuppressor leaves Python's handler of last resort.
_SILENT: Final = logging.getLogger(__name__)
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Fields:
    """A NIfTI header's fields, twice.

    Attributes:
        raw: as the file has them.
        mended: as nibabel mends them when it opens a file; what everything is computed from.
    """

    raw: nibabel.Nifti1Header
    mended: nibabel.Nifti1Header


@contextmanager
def refusing_header() -> Iterator[None]:
    """Turn what nibabel raises on headers that cannot be into a refusal."""
    try:
        # Fields that overflow are seen by their results, which are looked at.
        with np.errstate(all="ignore"):
            yield
    except CaseRefused:
        raise
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        message = f"unusable NIfTI header: {error}"
        raise CaseRefused(message) from error


def header_size(first: bytes) -> int:
    """348 or 540, NIfTI-1 or NIfTI-2, from a file's first four bytes.

    Raises:
        CaseRefused: the file is not NIfTI.
    """
    for order in _BYTE_ORDERS:
        size = int.from_bytes(first[:SIZE_FIELD], order)
        if size in _HEADERS:
            return size
    seen = first[:SIZE_FIELD].hex() or "none"
    message = f"not NIfTI: starts with bytes {seen}; legal: header size 348 or 540"
    raise CaseRefused(message)


def is_nifti(start: bytes) -> bool:
    """Whether a file that starts so is a single-file NIfTI, not compressed."""
    try:
        _require_magic(start, header_size(start))
    except CaseRefused:
        return False
    return True


def read_fields(data: bytes) -> Fields:
    """The fields of a whole header; what follows it is not looked at.

    Raises:
        CaseRefused: not NIfTI, or what nibabel cannot mend.
    """
    size = header_size(data)
    _require_magic(data, size)
    with refusing_header():
        raw = _HEADERS[size](data[:size], check=False)
        mended = raw.copy()
        mended.check_fix(logger=_SILENT, error_level=_UNMENDABLE)
    return Fields(raw, mended)


def voxel_offset(head: bytes) -> int:
    """Where the voxels start, from a whole header without its extensions.

    Raises:
        CaseRefused: nowhere that can be.
    """
    size = header_size(head)
    _require_magic(head, size)
    offset = float(_HEADERS[size](head[:size], check=False)["vox_offset"])
    least = size + EXTENSION_FLAG
    if not (offset.is_integer() and least <= offset <= least + MOST_EXTRA):
        message = (
            f"voxels are said to start at byte {offset:.15g}; "
            f"legal: a whole number from {least} to {least + MOST_EXTRA}"
        )
        raise CaseRefused(message)
    return int(offset)


def _require_magic(data: bytes, size: int) -> None:
    magic = data[_MAGIC_AT[size] :][: len(_MAGIC[size])]
    if magic != _MAGIC[size]:
        message = f"not a single-file NIfTI: magic {magic!r}; legal: {_MAGIC[size]!r}"
        raise CaseRefused(message)
