"""Boxes of voxels that the page asks for: which are legal, and their bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import OutOfBounds, UnknownValue
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.sample import Name
from ctspine_zarr.viewer.documents import box_dtype

type Box = tuple[Shape, Shape]

MOST_BYTES: Final = 2**24
"""Of one box."""

_CORNER: Final = re.compile(r"(\d{1,6}),(\d{1,6}),(\d{1,6})", re.ASCII)


def parse_box(query: Mapping[str, str], shape: Shape, itemsize: int) -> Box:
    """First and past the last voxel of a box, (z, y, x), that lies in the volume.

    Args:
        query: `start` and `stop`, each as `z,y,x`.
        shape: of the volume.
        itemsize: bytes of a voxel.

    Raises:
        UnknownValue: a corner is missing or no three indices, or the box has too many bytes.
        OutOfBounds: the box is empty, or is not inside.
    """
    start, stop = (_corner(query, name) for name in ("start", "stop"))
    inside = all(a < b <= most for a, b, most in zip(start, stop, shape, strict=True))
    if not inside:
        message = f"box {start} to {stop}; legal: one voxel or more of a volume of {shape}, (z, y, x)"
        raise OutOfBounds(message)
    size = itemsize * math.prod(b - a for a, b in zip(start, stop, strict=True))
    if size > MOST_BYTES:
        message = f"box {start} to {stop} of {size} bytes; legal: at most {MOST_BYTES} bytes"
        raise UnknownValue(message)
    return start, stop


def read_box(case: Case, which: Name, query: Mapping[str, str]) -> tuple[NDArray[Any], str]:
    """The voxels of a box that a query names, (z, y, x), C-contiguous, little-endian; and their dtype.

    The image comes as int16 where it is stored so, else as float32, rounded to the nearest; a mask as uint8.

    Raises:
        UnknownValue, OutOfBounds: as `parse_box`.
        NoMask: the mask of a case that has none.
        StorageError, DamagedStore: the chunks cannot be read.
    """
    voxels = case.voxels(which)
    dtype = box_dtype(case.record.image.dtype) if which == "image" else "uint8"
    start, stop = parse_box(query, case.shape, np.dtype(dtype).itemsize)
    read = voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return np.ascontiguousarray(read, np.dtype(dtype).newbyteorder("<")), dtype


def _corner(query: Mapping[str, str], name: str) -> Shape:
    found = _CORNER.fullmatch(query.get(name, ""))
    if found is None:
        message = f"{name} {query.get(name)!r}; legal: three indices z,y,x, such as 0,0,0"
        raise UnknownValue(message)
    z, y, x = map(int, found.groups())
    return z, y, x
