"""The exact conversion of voxels as they are on disk to HU and labels. Pure arithmetic.

HU are `slope * stored + inter` as nibabel computes them, kept in the smallest of int16,
int32, float32 and float64 that holds every value; nothing is ever rounded. HU are signed, so
the ladder has no unsigned dtype (`uint16 - 1000` wraps around), and it starts at int16, so that a
case whose HU happen to lie in 0-127 has the dtype of its neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.nifti import EXACT_INTEGERS, Header, Volume

_INTEGERS: Final = (np.dtype("<i2"), np.dtype("<i4"))
_SINGLE: Final = np.dtype("<f4")
_DOUBLE: Final = np.dtype("<f8")
_PLANES: Final = 16
# What the kernel shifts integers on disk to.
_SHIFTED: Final = (_INTEGERS[0], MASK_DTYPE)
# Dtypes on disk -> those the kernel takes their bits as.
_KERNEL_INTEGERS: Final = {
    np.dtype(name): np.dtype(taken)
    for name, taken in {"u1": "u1", "i2": "i2", "u2": "i2", "i4": "i4", "u4": "i4"}.items()
}


@dataclass(frozen=True, slots=True)
class Survey:
    """The range and kind of a volume's values.

    Attributes:
        low, high: least and greatest value, or limits between which all lie.
        integral: all are integers; a negative zero is none, for integers cannot hold it.
        single: all are exact in float32; not looked at where int32 holds them.
    """

    low: float
    high: float
    integral: bool
    single: bool


def survey(volume: Volume) -> Survey:
    """Look at every value once.

    Raises:
        CaseRefused: NaN or infinity, or integers beyond 2**53.
    """
    header, stored = volume.header, volume.stored
    if header.shifts_integers:
        return _survey_integers(volume)
    parts = [_survey_part(header.scale(part), volume.name) for part in _parts(stored)]
    return Survey(
        min(part.low for part in parts),
        max(part.high for part in parts),
        all(part.integral for part in parts),
        all(part.single for part in parts),
    )


def survey_image(volume: Volume) -> Survey:
    """As `survey`, but for a file whose dtype alone says that int16 holds every value: it is not looked at.

    Raises:
        CaseRefused: as `survey`.
    """
    header = volume.header
    if header.shifts_integers and header.dtype.itemsize <= _INTEGERS[0].itemsize:
        limits, inter = np.iinfo(header.dtype), int(header.inter)
        bounds = Survey(limits.min + inter, limits.max + inter, integral=True, single=False)
        if exact_dtype(bounds) == _INTEGERS[0]:
            return bounds
    return survey(volume)


def _survey_integers(volume: Volume) -> Survey:
    """As `survey`, in integers: a look at the extremes settles nearly every file."""
    least, most = int(volume.stored.min()), int(volume.stored.max())
    low, high = least + int(volume.header.inter), most + int(volume.header.inter)
    if max(-low, high, -least, most) > EXACT_INTEGERS:
        message = f"{volume.name}: integers from {low} to {high}; legal: up to 2**53, which float64 holds"
        raise CaseRefused(message)
    if np.iinfo(_INTEGERS[-1]).min <= low and high <= np.iinfo(_INTEGERS[-1]).max:
        return Survey(low, high, integral=True, single=False)
    single = all(_is_single(volume.header.scale(part)) for part in _parts(volume.stored))
    return Survey(low, high, integral=True, single=single)


def exact_dtype(seen: Survey) -> np.dtype[Any]:
    """The smallest of int16, int32, float32 and float64 that holds every value."""
    if seen.integral:
        for dtype in _INTEGERS:
            limits = np.iinfo(dtype)
            if limits.min <= seen.low and seen.high <= limits.max:
                return dtype
    return _SINGLE if seen.single else _DOUBLE


def require_label_range(mask: Volume, labels: Collection[int]) -> None:
    """Refuse a mask whose values cannot be labels; a negative zero counts as 0.

    Raises:
        CaseRefused: NaN or infinity, values outside 0 and the greatest label, or fractions.
    """
    seen, most = survey(mask), max(labels, default=0)
    if not 0 <= seen.low <= seen.high <= most:
        message = f"{mask.name}: values from {seen.low:g} to {seen.high:g}; legal: integers 0 to {most}"
        raise CaseRefused(message)
    for part in () if seen.integral else _parts(mask.stored):
        values = mask.header.scale(part)
        fractions = values[values != np.rint(values)]
        if fractions.size:
            message = f"{mask.name}: value {fractions[0]:g}; legal: integers 0 to {most}"
            raise CaseRefused(message)


def is_of_labels(mask: Header) -> bool:
    """Whether the voxels of a mask are its labels as they are on disk."""
    return mask.dtype == MASK_DTYPE and (mask.slope, mask.inter) == (1, 0)


def require_known_labels(name: str, present: Collection[int], labels: Collection[int]) -> None:
    """Refuse a mask that holds a value between the labels, which the dataset does not name.

    Raises:
        CaseRefused: there is one.
    """
    unknown = sorted(set(present) - set(labels))
    if unknown:
        message = f"{name}: label {unknown[0]}; legal: 0 and {', '.join(map(str, sorted(labels)))}"
        raise CaseRefused(message)


def convert(
    header: Header, stored: NDArray[Any], dtype: np.dtype[Any], out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Values of `stored` in a dtype that holds them all exactly, C-contiguous.

    Args:
        header: of the file.
        stored: voxels as they are on disk.
        dtype: of the values.
        out: an array to write them to; by default one is made where it is needed.
    """
    shifts = header.shifts_integers and dtype.kind in "iu"
    values = stored if shifts else header.scale(stored)
    # Integers wrap around, so the sum is right in `dtype` even where `stored` alone is not.
    inter = np.int64(header.inter).astype(dtype) if shifts else dtype.type(0)
    if out is None:
        out = np.empty(values.shape, dtype)
    if native.kernel is not None and shifts and dtype in _SHIFTED and values.dtype in _KERNEL_INTEGERS:
        # Of unsigned integers, the same bits are the same integer modulo 2**16 and 2**8.
        native.kernel.shift(values.view(_KERNEL_INTEGERS[values.dtype]), out, int(inter))
        return out
    np.copyto(out, values, casting="unsafe")
    if inter:
        out += inter
    return out


def is_restorable(volume: Volume, dtype: np.dtype[Any]) -> bool:
    """Whether the bytes on disk follow from the values: true of every integer file with slope 1.

    A negative zero in a mask, or a fraction of a scaled float, may not survive.
    """
    header = volume.header
    if header.shifts_integers:
        return True
    return all(
        header.unscale(convert(header, part, dtype)).tobytes() == np.ascontiguousarray(part).tobytes()
        for part in _parts(volume.stored)
    )


def _survey_part(values: NDArray[Any], name: str) -> Survey:
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        message = f"{name}: {count} or more voxels are NaN or infinite; legal: none"
        raise CaseRefused(message)
    integral = (values == np.rint(values)).all() and not (np.signbit(values) & (values == 0)).any()
    return Survey(float(values.min()), float(values.max()), bool(integral), _is_single(values))


def _is_single(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(_SINGLE).astype(_DOUBLE) == values).all())


def _parts(stored: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of a few planes of the slowest disk axis: what is computed of each stays small."""
    for start in range(0, stored.shape[2], _PLANES):
        yield stored[:, :, start : start + _PLANES]
