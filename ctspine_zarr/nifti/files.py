"""`.nii.gz` files, read to their last byte and written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from ctspine_zarr.digest import BackgroundSha256
from ctspine_zarr.errors import CaseRefused, DamagedStore
from ctspine_zarr.memory.pages import pages
from ctspine_zarr.nifti.fields import MOST_EXTRA, SIZE_FIELD, header_size, voxel_offset
from ctspine_zarr.nifti.header import AnyArray, Header, parse_header
from ctspine_zarr.nifti.opening import open_gzip, open_source_file, refusing
from ctspine_zarr.outputs import whole_file

_TRAILER_BYTES: Final = 8
_BLOCK: Final = 1 << 20
# Of igzip: twice as fast as 3 and about as small on CT.
_LEVEL: Final = 2
# Deflate cannot expand a byte to more than this many (zlib technical details, 1032:1).
_MOST_DEFLATE_EXPANDS: Final = 1032


@dataclass(frozen=True)
class Volume:
    """A NIfTI file read whole.

    Attributes:
        name: of the file.
        header: what precedes the voxels.
        stored: the voxels as on disk, (i, j, k), Fortran order, not scaled.
        trailer: bytes after the voxels, nearly always none.
        file_bytes, file_sha256: of the `.nii.gz` file.
        file_ending: see `size_and_ending`.
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
    with refusing(path), open_gzip(path) as file, igzip.IGzipFile(fileobj=file) as inflated:
        return _read_header(inflated, _size(file))


def read(path: Path) -> Volume:
    """A `.nii.gz` read to its last byte, its gzip checksum verified.

    Peak memory is the inflated file and a few MB.

    Raises:
        CaseRefused: as `read_header`; or truncated, corrupt, or longer than its header says.
    """
    inflated_hash = BackgroundSha256()
    with refusing(path), open_gzip(path) as file:
        hashing = _HashingFile(file)
        with igzip.IGzipFile(fileobj=hashing) as inflated:
            header = _read_header(inflated, _size(file))
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
        file_ending=size_and_ending(path)[1],
        inflated_sha256=inflated_hash.hexdigest(),
    )


def size_and_ending(path: Path) -> tuple[int, str]:
    """Bytes of a file, and its last eight, hex: of a gzip, the CRC-32 and length of what is in it.

    Raises:
        CaseRefused: the file cannot be read.
    """
    with refusing(path), open_source_file(path) as file:
        size = _size(file)
        file.seek(max(0, size - _TRAILER_BYTES))
        return size, file.read(_TRAILER_BYTES).hex()


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
    """Write a `.nii.gz`, or a `.nii`, from its inflated bytes in parts; it appears under its name when whole.

    Args:
        path: its folder is made where it does not exist; it is compressed where its name ends in `.gz`.
        inflated: as `join` gives it.
        sha256: of the inflated bytes, if they must be those.

    Raises:
        DamagedStore: the bytes have another digest; nothing was written.
        StorageError: the file cannot be written.
    """
    digest = hashlib.sha256()
    with whole_file(path) as file:
        with _deflating(path, file) as target:
            for part in inflated:
                digest.update(part)
                target.write(part)
        _require_digest(path, digest.hexdigest(), sha256)


def _deflating(path: Path, file: BinaryIO) -> AbstractContextManager[Any]:
    """Where the inflated bytes of a file go."""
    return igzip.IGzipFile("", "wb", _LEVEL, file, mtime=0) if path.suffix == ".gz" else nullcontext(file)


def _require_digest(path: Path, seen: str, expected: str | None) -> None:
    if expected is not None and seen != expected:
        message = f"{path.name}: rebuilt with sha256 {seen}, its source had {expected}; verify says why"
        raise DamagedStore(message)


class _HashingFile(io.RawIOBase):
    """A file that counts and hashes what is read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.digest = BackgroundSha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        # The caller owns the buffer and fills it again: what is hashed meanwhile is another.
        view = memoryview(buffer)
        data = self._file.read(len(view))
        view[: len(data)] = data
        self.digest.update(data)
        self.count += len(data)
        return len(data)


def _size(file: io.BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def _read_header(file: igzip.IGzipFile, file_bytes: int) -> Header:
    header = parse_header(_read_prefix(file))
    _require_plausible(header, file_bytes)
    return header


def _read_prefix(file: igzip.IGzipFile) -> bytes:
    """Every byte before the voxels, as the header's own offset bounds them."""
    first = file.read(SIZE_FIELD)
    size = header_size(first)
    head = _exactly(size, first + file.read(size - len(first)), "header")
    offset = voxel_offset(head)
    return _exactly(offset, head + file.read(offset - len(head)), "header with its extensions")


def _exactly(size: int, data: bytes, what: str) -> bytes:
    if len(data) < size:
        message = f"ends after {len(data)} bytes; its {what} takes {size}"
        raise CaseRefused(message)
    return data


def _require_plausible(header: Header, file_bytes: int) -> None:
    """Refuse before allocating what the file cannot possibly inflate to."""
    if header.nbytes > file_bytes * _MOST_DEFLATE_EXPANDS:
        message = (
            f"header promises {header.nbytes} bytes of voxels, "
            f"more than {file_bytes} bytes of gzip can hold: truncated or corrupt"
        )
        raise CaseRefused(message)


def _read_voxels(file: igzip.IGzipFile, nbytes: int, update: Callable[[Any], object]) -> NDArray[np.uint8]:
    voxels = _allocate(nbytes)
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


def _allocate(nbytes: int) -> NDArray[np.uint8]:
    try:
        return pages([nbytes], np.dtype(np.uint8))
    except MemoryError as error:
        message = f"header promises {nbytes} bytes of voxels, more than there is memory for"
        raise CaseRefused(message) from error


def _read_trailer(file: igzip.IGzipFile) -> bytes:
    # Reading on to the end is also what makes gzip check its own checksum.
    trailer = file.read(MOST_EXTRA + 1)
    if len(trailer) > MOST_EXTRA:
        message = f"over {MOST_EXTRA} bytes follow the voxels that the header promises"
        raise CaseRefused(message)
    return trailer
