"""NIfTI header extensions: kept as bytes, and read only for a nibabel image. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ctspine_zarr.nifti.fields import EXTENSION_FLAG

_PREAMBLE: Final = 8
# https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields/nifti1fields_pages/extension.html
_LEAST: Final = 16


@dataclass(frozen=True)
class Extensions:
    """The extensions of a header, up to the first whose size cannot be.

    The voxels do not depend on them, so a bad one refuses no file: NIfTI's C library stops
    there as well, and reads the voxels. Zeros up to the voxels are padding.

    Attributes:
        parts: (code, content) of each.
        fault: what is wrong with the next one; None where nothing is.
    """

    parts: tuple[tuple[int, bytes], ...]
    fault: str | None


def read_extensions(prefix: bytes, size: int, order: str) -> Extensions:
    """The extensions between a header and its voxels.

    Args:
        prefix: every byte before the voxels.
        size: of the header, 348 or 540.
        order: its byte order, "<" or ">".
    """
    at = size + EXTENSION_FLAG
    parts: list[tuple[int, bytes]] = []
    fault = None
    has_any = any(prefix[size : size + 1])
    while has_any and fault is None and len(prefix) - at >= _LEAST:
        taken, code = struct.unpack_from(f"{order}2i", prefix, at)
        if _PREAMBLE <= taken <= len(prefix) - at:
            parts.append((code, prefix[at + _PREAMBLE : at + taken]))
            at += taken
        elif any(prefix[at:]):
            fault = f"extension at byte {at} of {taken} bytes, where {len(prefix) - at} are left: kept unread"
        else:
            break
    return Extensions(tuple(parts), fault)
