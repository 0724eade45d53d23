"""Voxels of one place or of several, image and mask together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, NotRequired, SupportsIndex, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import NoMask, UnknownValue, require_known

type Name = Literal["image", "segmentation"]

NAMES: Final[tuple[Name, Name]] = ("image", "segmentation")
"""The arrays of a case."""

AIR: Final = -1024
"""HU of what lies beyond a volume's edge."""


class Sample(TypedDict):
    """Voxels of one place, or of several, one after another along a first axis of their own.

    Attributes:
        image: HU in the stored dtype, nearly always int16.
        segmentation: labels, uint8, of the same shape; not there where the case has no mask.
    """

    image: NDArray[Any]
    segmentation: NotRequired[NDArray[np.uint8]]


def sample_of(arrays: Mapping[Name, NDArray[Any]]) -> Sample:
    """A sample of the arrays that are there."""
    return cast("Sample", dict(arrays))


def mapped(sample: Sample, work: Callable[[NDArray[Any]], NDArray[Any]]) -> Sample:
    """A sample of what `work` makes of each array."""
    arrays = cast("dict[Name, NDArray[Any]]", sample)
    return sample_of({name: work(array) for name, array in arrays.items()})


def first(read: NDArray[Any]) -> NDArray[Any]:
    """The only one of the voxels of several places."""
    only: NDArray[Any] = read[0]
    return only


def require_array(which: str, names: Collection[Name], place: str) -> None:
    """Do nothing where a case has the array.

    Args:
        which: the array.
        names: of those that the case has.
        place: of the case.

    Raises:
        UnknownValue: no case has such an array.
        NoMask: it is the mask, and the case has none.
    """
    require_known("array", [which], NAMES)
    if which not in names:
        message = (
            f"{place} has no mask, so that its labels are not known; "
            "legal: its image, or a case of select(has_mask=True)"
        )
        raise NoMask(message)


def require_fill(fill: float, dtype: np.dtype[Any]) -> None:
    """Do nothing where an image of that dtype can be padded with it.

    Raises:
        UnknownValue: the dtype does not hold it.
    """
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    is_number = isinstance(fill, float | np.number | SupportsIndex) and limits.min <= fill <= limits.max
    if not is_number or (dtype.kind != "f" and fill != int(fill)):
        message = f"fill {fill!r}; legal: what {dtype} holds, {limits.min} to {limits.max}"
        raise UnknownValue(message)
