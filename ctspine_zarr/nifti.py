"""One `.nii.gz` file: its bytes to header and voxels, and back to the same bytes.

The only module that knows NIfTI, nibabel or gzip.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import nibabel
import numpy as np
from isal import igzip, isal_zlib
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from ctspine_zarr.digest import BackgroundSha256
from ctspine_zarr.errors import CaseRefused, CtspineError, DamagedStore, StorageError
from ctspine_zarr.geometry import Affine, Reorientation, Shape

type AnyArray = NDArray[Any]

_HEADERS: Final[dict[int, Any]] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_MAGIC: Final = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_MAGIC_AT: Final = {348: 344, 540: 4}
_SIZE_FIELD: Final = 4
_GZIP: Final = b"\x1f\x8b"
_TRAILER_BYTES: Final = 8
_CORRUPT: Final[tuple[type[Exception], ...]] = (
    EOFError,
    zlib.error,
    igzip.BadGzipFile,
    vars(isal_zlib)["IsalError"],  # its stub declares an instance, not a class
)
# What nibabel raises on headers that cannot be; a float that is no offset is a ValueError.
_UNUSABLE: Final = (HeaderDataError, WrapStructError, ValueError, OverflowError)
_BYTE_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
_BLOCK: Final = 1 << 20
# Of igzip: twice as fast as 3 and about as small on CT.
_LEVEL: Final = 2
# Deflate cannot expand a byte to more than this many (zlib technical details, 1032:1).
_MOST_DEFLATE_EXPANDS: Final = 1032
# Bytes that may precede the voxels (header extensions) or follow them.
_MOST_EXTRA: Final = 16 << 20
EXACT_INTEGERS: Final = 2**53
"""float64 holds every integer up to here, so nibabel's scaling of such integers is exact."""

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


@dataclass(frozen=True)
class Volume:
    """A NIfTI file read whole.

    Attributes:
        name: of the file.
        header: what precedes the voxels.
        stored: the voxels as on disk, (i, j, k), Fortran order, not scaled.
        trailer: bytes after the voxels, nearly always none.
        file_bytes, file_sha256: of the `.nii.gz` file.
        file_ending: see `ending`.
        inflated_sha256: of the inflated `.nii`.
    """

    name: str
    header: Header
    stored: AnyArray
    trailer: bytes
    file_bytes: int
    file_sha256: str
    file_ending: str
    inflated_sha256: str


def read_header(path: Path) -> Header:
    """The header of a `.nii.gz`, inflating little more than the header.

    Raises:
        CaseRefused: unreadable, not gzip, not a single-file NIfTI, not 3-D, or not numbers.
    """
    with _refusing(path), _open_gzip(path) as file, igzip.IGzipFile(fileobj=file) as inflated:
        return _read_header(inflated, path)


def read(path: Path) -> Volume:
    """A `.nii.gz` read to its last byte, its gzip checksum verified.

    Peak memory is the inflated file and a few MB.

    Raises:
        CaseRefused: as `read_header`; or truncated, corrupt, or longer than its header says.
    """
    inflated_hash = BackgroundSha256()
    with _refusing(path), _open_gzip(path) as file:
        hashing = _HashingFile(file)
        buffered = io.BufferedReader(hashing, _BLOCK)
        with igzip.IGzipFile(fileobj=buffered) as inflated:
            header = _read_header(inflated, path)
            inflated_hash.update(header.prefix)
            voxels = _read_voxels(inflated, header.nbytes, inflated_hash.update)
            trailer = _read_trailer(inflated)
            inflated_hash.update(trailer)
    return Volume(
        name=path.name,
        header=header,
        stored=voxels.view(header.dtype).reshape(header.shape, order="F"),
        trailer=trailer,
        file_bytes=hashing.count,
        file_sha256=hashing.digest.hexdigest(),
        file_ending=ending(path),
        inflated_sha256=inflated_hash.hexdigest(),
    )


def ending(path: Path) -> str:
    """The last eight bytes of a file, hex: of a gzip, the CRC-32 and length of what is in it.

    Raises:
        CaseRefused: the file cannot be read.
    """
    with _refusing(path), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TRAILER_BYTES))
        return file.read(_TRAILER_BYTES).hex()


def parse_header(prefix: bytes) -> Header:
    """The header whose bytes were kept in a store.

    Raises:
        CaseRefused: the bytes are not the start of a NIfTI file.
    """
    return _parse(prefix)


def join(header: Header, values: Iterable[AnyArray], trailer: bytes) -> Iterator[bytes]:
    """The inflated `.nii` in parts: header, voxels and trailer, byte for byte as the source was.

    Args:
        header: the source's header.
        values: scaled values, axes (i, j, k), in parts along k.
        trailer: the source's bytes after the voxels.
    """
    yield header.prefix
    for part in values:
        yield header.unscale(part).tobytes(order="F")
    yield trailer


def write(path: Path, inflated: Iterable[bytes], sha256: str | None = None) -> None:
    """Write a `.nii.gz` from its inflated bytes in parts; it appears under its name when whole.

    Args:
        path: its folder is made where it does not exist.
        inflated: as `join` gives it.
        sha256: of the inflated bytes, if they must be those.

    Raises:
        DamagedStore: the bytes have another digest; nothing was written.
        StorageError: the file cannot be written.
    """
    digest = hashlib.sha256()
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file, igzip.IGzipFile("", "wb", _LEVEL, file, mtime=0) as deflated:
            for part in inflated:
                digest.update(part)
                deflated.write(part)
        _require_digest(path, digest.hexdigest(), sha256)
        partial.replace(path)
    except CtspineError:
        raise
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise StorageError(message) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _require_digest(path: Path, seen: str, expected: str | None) -> None:
    if expected is not None and seen != expected:
        message = f"{path.name}: rebuilt with sha256 {seen}, its source had {expected}; verify says why"
        raise DamagedStore(message)


def encode(stored: AnyArray, affine: Affine, inter: float = 0) -> bytes:
    """The inflated `.nii` of new voxels, its sform and qform both coded as scanner coordinates.

    Args:
        stored: (i, j, k), as they are to lie on disk.
        affine: (4, 4), (i, j, k) -> RAS+ mm.
        inter: added to a stored voxel to give its value.
    """
    header = nibabel.Nifti1Header()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, inter)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return bytes(header.binaryblock) + bytes(4) + stored.tobytes(order="F")


def source_image(inflated: bytes) -> nibabel.Nifti1Image:
    """A nibabel image over the bytes of a `.nii`, NIfTI-1 or NIfTI-2 as the bytes say."""
    is_second = _header_size(inflated[:_SIZE_FIELD]) == 540
    image_class = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    return image_class.from_bytes(inflated)


def canonical_image(values: AnyArray, affine: Affine) -> nibabel.Nifti1Image:
    """A nibabel image in RAS+ over a canonical (z, y, x) array.

    Args:
        values: axes (z, y, x).
        affine: (4, 4), (x, y, z) -> RAS+ mm.
    """
    image = nibabel.Nifti1Image(values.transpose(), affine)
    image.header.set_xyzt_units("mm")
    return image


class _HashingFile(io.RawIOBase):
    """A file that counts and hashes what is read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.digest = BackgroundSha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = self._file.readinto(buffer)
        # The caller owns the buffer and fills it again.
        self.digest.update(bytes(memoryview(buffer)[:count]))
        self.count += count
        return count


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn every way in which a file can be unreadable into a refusal that names it."""
    try:
        yield
    except CaseRefused as error:
        message = f"{path.name}: {error}"
        raise CaseRefused(message) from error
    except _CORRUPT as error:
        message = f"{path.name}: truncated or corrupt gzip ({error}); legal: a whole .nii.gz"
        raise CaseRefused(message) from error
    except _UNUSABLE as error:
        message = f"{path.name}: unusable NIfTI header: {error}"
        raise CaseRefused(message) from error
    except OSError as error:
        message = f"{path.name}: cannot be read ({error.strerror or error})"
        raise CaseRefused(message) from error


@contextmanager
def _open_gzip(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as file:
        first = file.read(len(_GZIP))
        if first != _GZIP:
            message = f"not gzip: starts with bytes {first.hex() or 'none'}; legal: {_GZIP.hex()}"
            raise CaseRefused(message)
        file.seek(0)
        yield file


def _read_header(file: igzip.IGzipFile, path: Path) -> Header:
    header = _parse(_read_prefix(file))
    _require_plausible(header, path.stat().st_size)
    return header


def _read_prefix(file: igzip.IGzipFile) -> bytes:
    """Every byte before the voxels, as the header's own offset bounds them."""
    first = file.read(_SIZE_FIELD)
    size = _header_size(first)
    head = _exactly(size, first + file.read(size - len(first)), "header")
    offset = _nibabel_header(head).get_data_offset()
    if not size <= offset <= size + _MOST_EXTRA:
        message = f"voxels are said to start at byte {offset}; legal: {size} to {size + _MOST_EXTRA}"
        raise CaseRefused(message)
    return _exactly(offset, head + file.read(offset - len(head)), "header with its extensions")


def _exactly(size: int, data: bytes, what: str) -> bytes:
    if len(data) < size:
        message = f"ends after {len(data)} bytes; its {what} takes {size}"
        raise CaseRefused(message)
    return data


def _header_size(first: bytes) -> int:
    for order in _BYTE_ORDERS:
        size = int.from_bytes(first, order)
        if size in _HEADERS:
            return size
    message = f"not NIfTI: starts with bytes {first.hex() or 'none'}; legal: header size 348 or 540"
    raise CaseRefused(message)


def _nibabel_header(data: bytes) -> nibabel.Nifti1Header:
    size = _header_size(data[:_SIZE_FIELD])
    magic = data[_MAGIC_AT[size] :][: len(_MAGIC[size])]
    if magic != _MAGIC[size]:
        message = f"not a single-file NIfTI: magic {magic!r}; legal: {_MAGIC[size]!r}"
        raise CaseRefused(message)
    # Header extensions stay bytes: they are kept in the prefix and never interpreted.
    # What nibabel would print of harmless oddities is kept off a builder's screen.
    with LoggingOutputSuppressor():
        header: nibabel.Nifti1Header = _HEADERS[size](data[:size], check=True)
    return header


def _parse(prefix: bytes) -> Header:
    header = _nibabel_header(prefix)
    disk_shape = tuple(int(size) for size in header.get_data_shape())
    slope, inter = _scaling(header)
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
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


def _require_plausible(header: Header, file_bytes: int) -> None:
    """Refuse before allocating what the file cannot possibly inflate to."""
    if header.nbytes > file_bytes * _MOST_DEFLATE_EXPANDS:
        message = (
            f"header promises {header.nbytes} bytes of voxels, "
            f"more than {file_bytes} bytes of gzip can hold: truncated or corrupt"
        )
        raise CaseRefused(message)


def _read_voxels(file: igzip.IGzipFile, nbytes: int, update: Callable[[Any], object]) -> NDArray[np.uint8]:
    voxels = np.empty(nbytes, dtype=np.uint8)
    position = 0
    while position < nbytes:
        block = memoryview(voxels)[position : position + _BLOCK]
        count = file.readinto(block)
        if not count:
            message = f"ends after {position} bytes of voxels; its header promises {nbytes}"
            raise CaseRefused(message)
        update(block[:count])
        position += count
    return voxels


def _read_trailer(file: igzip.IGzipFile) -> bytes:
    # Reading on to the end is also what makes gzip check its own checksum.
    trailer = file.read(_MOST_EXTRA + 1)
    if len(trailer) > _MOST_EXTRA:
        message = f"over {_MOST_EXTRA} bytes follow the voxels that the header promises"
        raise CaseRefused(message)
    return trailer
