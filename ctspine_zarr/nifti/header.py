"""What a NIfTI file says before its voxels. Pure: bytes in, header out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import nibabel
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.geometry import Affine, Reorientation, Shape

type AnyArray = NDArray[Any]

EXACT_INTEGERS: Final = 2**53
"""float64 holds every integer up to here, so nibabel's scaling of such integers is exact."""

SIZE_FIELD: Final = 4
"""Bytes at a file's start that tell its kind."""

_HEADERS: Final[dict[int, Any]] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MAGIC: Final = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_MAGIC_AT: Final = {348: 344, 540: 4}
_BYTE_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
MOST_EXTRA: Final = 16 << 20
"""Bytes that may precede the voxels (header extensions) or follow them."""

# Of the three axes' unit vectors: below it they lie in a plane but for rounding.
_LEAST_DETERMINANT: Final = 1e-3


@dataclass(frozen=True)
class Header:
    """What a NIfTI file says before its voxels.

    Attributes:
        prefix: every byte before the voxels: header, extensions and padding.
        disk_shape: the shape as stored, trailing axes of length 1 included.
        shape: the (i, j, k) shape.
        dtype: of the voxels on disk, with byte order.
        slope, inter: `value = slope * stored + inter`; 1 and 0 where the header has none.
        affine: (4, 4), (i, j, k) -> RAS+ mm, as nibabel chooses it: sform, else qform, else
            the header's fall-back.
        sform, qform: the two affines the header may hold, None where their code is 0.
        sform_code, qform_code: the header's codes.
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

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels on disk, inflated."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def reorientation(self) -> Reorientation:
        """The permutation and flips to closest-canonical RAS+, in (z, y, x) order."""
        orientation = io_orientation(self.affine)
        disk_axis = np.argsort(orientation[:, 0])
        flipped = orientation[disk_axis, 1] < 0
        x, y, z = disk_axis.tolist()
        flip_x, flip_y, flip_z = flipped.tolist()
        return Reorientation((z, y, x), (flip_z, flip_y, flip_x))

    @property
    def shifts_integers(self) -> bool:
        """Whether a value is a stored integer plus an integer: exact without floats."""
        whole = self.slope == 1 and self.inter.is_integer() and abs(self.inter) < EXACT_INTEGERS
        return self.dtype.kind in "iu" and whole

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


def header_size(first: bytes) -> int:
    """348 or 540, NIfTI-1 or NIfTI-2, from a file's first four bytes.

    Raises:
        CaseRefused: the file is not NIfTI.
    """
    for order in _BYTE_ORDERS:
        size = int.from_bytes(first[:SIZE_FIELD], order)
        if size in _HEADERS:
            return size
    message = f"not NIfTI: starts with bytes {first.hex() or 'none'}; legal: header size 348 or 540"
    raise CaseRefused(message)


def voxel_offset(head: bytes) -> int:
    """Where the voxels start, from a whole header without its extensions.

    Raises:
        CaseRefused: nowhere that can be.
    """
    size = header_size(head)
    with _refusing():
        offset = int(_nibabel_header(head).get_data_offset())
    if not size <= offset <= size + MOST_EXTRA:
        message = f"voxels are said to start at byte {offset}; legal: {size} to {size + MOST_EXTRA}"
        raise CaseRefused(message)
    return offset


def parse_header(prefix: bytes) -> Header:
    """The header in every byte before the voxels.

    Raises:
        CaseRefused: not NIfTI, not 3-D, not numbers, or an affine that cannot be inverted.
    """
    with _refusing():
        header = _nibabel_header(prefix)
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        slope, inter = _scaling(header)
        disk_shape = tuple(int(size) for size in header.get_data_shape())
    _require_invertible(affine)
    return Header(
        prefix=prefix,
        disk_shape=disk_shape,
        shape=_three_axes(disk_shape),
        dtype=_number_dtype(header),
        slope=slope,
        inter=inter,
        affine=affine,
        sform=header.get_sform(coded=True)[0],
        qform=_qform(header),
        sform_code=int(header["sform_code"]),
        qform_code=int(header["qform_code"]),
    )


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what nibabel raises on headers that cannot be into a refusal."""
    try:
        yield
    except CaseRefused:
        raise
    # A float that is no offset is a ValueError or an OverflowError.
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        message = f"unusable NIfTI header: {error}"
        raise CaseRefused(message) from error


def _nibabel_header(data: bytes) -> nibabel.Nifti1Header:
    size = header_size(data)
    magic = data[_MAGIC_AT[size] :][: len(_MAGIC[size])]
    if magic != _MAGIC[size]:
        message = f"not a single-file NIfTI: magic {magic!r}; legal: {_MAGIC[size]!r}"
        raise CaseRefused(message)
    # Header extensions stay bytes: they are kept in the prefix and never interpreted.
    # What nibabel would print of harmless oddities is kept off a builder's screen.
    with LoggingOutputSuppressor():
        header: nibabel.Nifti1Header = _HEADERS[size](data[:size], check=True)
    return header


def _qform(header: nibabel.Nifti1Header) -> Affine | None:
    try:
        affine: Affine | None = header.get_qform(coded=True)[0]
    except ValueError:
        # A quaternion of length above 1; it does not matter where a sform is the one in use.
        return None
    return affine


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
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    finite = np.isfinite(affine).all() and lengths.min() > 0
    # Degenerate when the axes of one voxel span no volume worth the name.
    if finite and abs(np.linalg.det(affine[:3, :3] / lengths)) > _LEAST_DETERMINANT:
        return
    message = f"affine {affine[:3].tolist()} cannot be inverted; legal: three independent finite axes"
    raise CaseRefused(message)
