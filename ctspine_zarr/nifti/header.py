"""The header of a NIfTI file, from every byte before its voxels. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import nibabel
import numpy as np
from nibabel.orientations import io_orientation
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.geometry import Affine, Reorientation, Shape, is_invertible
from ctspine_zarr.nifti.extensions import read_extensions
from ctspine_zarr.nifti.fields import read_fields, refusing_header
from ctspine_zarr.nifti.repairs import Unit, is_spacing_made_up, repairs, unit_of

type AnyArray = NDArray[Any]

EXACT_INTEGERS: Final = 2**53
"""float64 holds every integer up to here, so nibabel's scaling of such integers is exact."""

# Of a stored value: the ladder of dtypes is int16, int32, float32, float64.
_INTEGER_BYTES: Final = (2, 4)
_DOUBLE_BYTES: Final = 8
# Of a unit: multiplied by and divided by, so that both ways are rounded once.
_MILLIMETRES: Final[dict[Unit, tuple[int, int]]] = {
    "mm": (1, 1),
    "metre": (1000, 1),
    "micron": (1, 1000),
    "unknown": (1, 1),
}


@dataclass(frozen=True)
class Header:
    """A NIfTI header, checked, its affines in mm.

    Attributes:
        prefix: every byte before the voxels: header, extensions and padding.
        disk_shape: the shape as stored, trailing axes of length 1 included.
        shape: the (i, j, k) shape.
        dtype: of the voxels on disk, with byte order.
        slope, inter: `value = slope * stored + inter`; 1 and 0 where the header has none.
        affine: (4, 4), (i, j, k) -> RAS+ mm, as nibabel chooses it: sform, else qform, else
            the header's fall-back. nibabel's own is in the file's unit.
        sform, qform: the two affines the header may hold, in mm, None where their code is 0; the
            qform also where its quaternion is none.
        sform_code, qform_code: the header's codes, 0 for one that NIfTI does not have.
        unit: of the affines in the file; "unknown" is taken as mm.
        repairs: each field that is not taken as it is, and with what in its place.
        spacing_made_up: whether `affine` rests on a spacing of 1 in place of the file's 0.
    """

    prefix: bytes
    disk_shape: tuple[int, ...]
    shape: Shape
    dtype: np.dtype[Any]
    slope: float
    inter: float
    affine: Affine
    sform: Affine | None
    qform: Affine | None
    sform_code: int
    qform_code: int
    unit: Unit
    repairs: tuple[str, ...]
    spacing_made_up: bool

    @property
    def voxels(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels on disk, inflated."""
        return self.voxels * self.dtype.itemsize

    @property
    def decoded_bytes(self) -> int:
        """Most bytes that the values can take in the smallest of int16, int32, float32 and float64
        that holds them all: scaling makes up to eight of each byte on disk.
        """
        return self.voxels * self._most_value_bytes

    @cached_property
    def reorientation(self) -> Reorientation:
        """The permutation and flips to closest-canonical RAS+, in (z, y, x) order."""
        orientation = io_orientation(self.affine)
        disk_axis = np.argsort(orientation[:, 0])
        flipped = orientation[disk_axis, 1] < 0
        x, y, z = disk_axis.tolist()
        flip_x, flip_y, flip_z = flipped.tolist()
        return Reorientation((z, y, x), (flip_z, flip_y, flip_x))

    @property
    def _most_value_bytes(self) -> int:
        if self.dtype.kind == "f":
            return self.dtype.itemsize if self.slope == 1 and self.inter == 0 else _DOUBLE_BYTES
        # A negative slope makes zero a negative one, which no integer is.
        if self.slope <= 0 or not (self.slope.is_integer() and self.inter.is_integer()):
            return _DOUBLE_BYTES
        limits = np.iinfo(self.dtype)
        values = (int(self.slope) * int(limit) + int(self.inter) for limit in (limits.min, limits.max))
        bits = max((value if value >= 0 else ~value).bit_length() for value in values) + 1
        return next((size for size in _INTEGER_BYTES if bits <= 8 * size), _DOUBLE_BYTES)

    @property
    def shifts_integers(self) -> bool:
        """Whether a value is a stored integer plus an integer: exact without floats."""
        is_shift = self.slope == 1 and self.inter.is_integer() and abs(self.inter) < EXACT_INTEGERS
        return self.dtype.kind in "iu" and is_shift

    def scale(self, stored: AnyArray) -> AnyArray:
        """The values that nibabel computes for voxels as they are on disk."""
        if self.slope == 1 and self.inter == 0:
            return stored
        scaled = apply_read_scaling(stored, np.float64(self.slope), np.float64(self.inter))
        return np.asarray(scaled)

    def unscale(self, values: AnyArray) -> AnyArray:
        """Voxels as they are on disk, from their values: the inverse of `scale`."""
        if self.shifts_integers and values.dtype.kind in "iu":
            return (values.astype(np.int64) - int(self.inter)).astype(self.dtype)
        stored = values.astype(np.float64)
        if self.slope != 1 or self.inter != 0:
            stored = (stored - self.inter) / self.slope
        return (np.rint(stored) if self.dtype.kind in "iu" else stored).astype(self.dtype)


def parse_header(prefix: bytes) -> Header:
    """The header in every byte before the voxels.

    Raises:
        CaseRefused: not NIfTI, not 3-D, not numbers, or an affine that cannot be inverted.
    """
    fields = read_fields(prefix)
    mended = fields.mended
    with refusing_header():
        affine, qform = _best_affine(mended), _qform(mended)
        slope, inter = _scaling(mended)
        disk_shape = tuple(int(size) for size in mended.get_data_shape())
        repaired = (*repairs(fields), *_extension_fault(prefix, mended))
        _require_invertible(affine)
    unit = unit_of(fields)
    sform = mended.get_sform(coded=True)[0]
    return Header(
        prefix=prefix,
        disk_shape=disk_shape,
        shape=_three_axes(disk_shape),
        dtype=_number_dtype(mended),
        slope=slope,
        inter=inter,
        affine=_in_millimetres(affine, unit),
        sform=None if sform is None else _in_millimetres(sform, unit),
        qform=None if qform is None else _in_millimetres(qform, unit),
        sform_code=int(mended["sform_code"]),
        qform_code=int(mended["qform_code"]),
        unit=unit,
        repairs=repaired,
        spacing_made_up=is_spacing_made_up(fields),
    )


def _best_affine(header: nibabel.Nifti1Header) -> Affine:
    in_use = int(header["sform_code"]) == 0 and int(header["qform_code"]) > 0
    if in_use and _qform(header) is None:
        quaternion = ", ".join(f"{float(header[f'quatern_{name}']):g}" for name in "bcd")
        message = f"qform of quaternion (b, c, d) = ({quaternion}) and no sform; legal: a length of at most 1"
        raise CaseRefused(message)
    return np.asarray(header.get_best_affine(), dtype=np.float64)


def _qform(header: nibabel.Nifti1Header) -> Affine | None:
    try:
        affine: Affine | None = header.get_qform(coded=True)[0]
    except ValueError:
        # Of a length above 1; it does not matter where a sform is the one in use.
        return None
    return affine if affine is not None and np.isfinite(affine).all() else None


def _in_millimetres(affine: Affine, unit: Unit) -> Affine:
    """ITK converts so as well; nibabel gives affines in the file's unit."""
    times, over = _MILLIMETRES[unit]
    converted = np.array(affine, dtype=np.float64)
    converted[:3] = converted[:3] * times / over
    return converted


def _extension_fault(prefix: bytes, header: nibabel.Nifti1Header) -> tuple[str, ...]:
    fault = read_extensions(prefix, header.sizeof_hdr, header.endianness).fault
    return () if fault is None else (fault,)


def _scaling(header: nibabel.Nifti1Header) -> tuple[float, float]:
    slope, inter = header.get_slope_inter()
    return (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))


def _three_axes(disk_shape: tuple[int, ...]) -> Shape:
    shape = disk_shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        message = f"shape {disk_shape}; legal: three axes, none empty, and further ones of length 1"
        raise CaseRefused(message)
    i, j, k = shape
    return i, j, k


def _number_dtype(header: nibabel.Nifti1Header) -> np.dtype[Any]:
    dtype: np.dtype[Any] = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        message = f"voxels of type {dtype}; legal: integers and floats of at most 64 bits"
        raise CaseRefused(message)
    return dtype


def _require_invertible(affine: Affine) -> None:
    if not is_invertible(affine):
        message = f"affine {affine[:3].tolist()} cannot be inverted; legal: three independent finite axes"
        raise CaseRefused(message)
