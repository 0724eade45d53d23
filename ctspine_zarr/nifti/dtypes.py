"""Which dtype a NIfTI file has for the values of an array. Pure."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

import numpy as np

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.nifti.header import AnyArray

# In order of size; of two as small, the one that more programs read comes first.
_INTEGERS: Final = tuple(
    np.dtype(name) for name in ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
)
_DOUBLE_BYTES: Final = 8


def smallest_dtype(array: AnyArray, fill: float = 0) -> np.dtype[Any]:
    """The smallest dtype of NIfTI that holds every value of an array, and `fill`, exactly.

    Returns:
        An integer dtype for integers and booleans, float32 or float64 for floats; native.

    Raises:
        UnknownValue: the array is of numbers that a NIfTI file of ours does not hold, or `fill` is no such
            number.
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > _DOUBLE_BYTES:
        message = (
            f"an array of {array.dtype}; legal in NIfTI: booleans, integers and floats of at most 64 bits"
        )
        raise UnknownValue(message)
    return _float(array, fill) if array.dtype.kind == "f" else _integer(array, fill)


def _integer(array: AnyArray, fill: float) -> np.dtype[Any]:
    seen = [int(value) for value in (array.min(), array.max())] if array.size else []
    least, most = (pick(chain(seen, [_whole(fill)])) for pick in (min, max))
    for dtype in _INTEGERS:
        if np.iinfo(dtype).min <= least and most <= np.iinfo(dtype).max:
            return dtype
    message = f"values and fill from {least} to {most}; legal in NIfTI: what one integer of 64 bits holds"
    raise UnknownValue(message)


def _whole(fill: object) -> int:
    try:
        found = int(fill)  # type: ignore[call-overload]
        if found == fill:
            return int(found)
    except (TypeError, ValueError, OverflowError):
        pass
    message = f"fill {fill!r} of an array of integers; legal: an integer"
    raise UnknownValue(message)


def _float(array: AnyArray, fill: object) -> np.dtype[Any]:
    if not isinstance(fill, float | int | np.number):
        message = f"fill {fill!r} of an array of floats; legal: a number"
        raise UnknownValue(message)
    single = np.dtype(np.float32)
    # What does not fit becomes infinite, which shows.
    with np.errstate(over="ignore"):
        held = array.dtype.itemsize <= single.itemsize or _is_kept(array, single)
        return single if held and _is_kept(np.asarray(fill, np.float64), single) else np.dtype(np.float64)


def _is_kept(array: AnyArray, dtype: np.dtype[Any]) -> bool:
    return np.array_equal(array, array.astype(dtype), equal_nan=True)
