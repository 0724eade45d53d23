"""`.nii.gz` files opened, and told apart from what else may lie in their place."""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from isal import igzip, isal_zlib

from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.format.names import printable
from ctspine_zarr.nifti.fields import is_nifti
from ctspine_zarr.text import file_kind

_GZIP: Final = b"\x1f\x8b"
# Of the start of a file that is no gzip: enough to recognise it.
_SEEN: Final = 1024
_BLOCK: Final = 1 << 20
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_HTML: Final = (b"<!doctype html", b"<html")
_INFLATE_ERROR: Final[type[Exception]] = vars(isal_zlib)["IsalError"]  # its stub declares an instance
_CORRUPT: Final[tuple[type[Exception], ...]] = (EOFError, zlib.error, igzip.BadGzipFile, _INFLATE_ERROR)
_UNREADABLE: Final[tuple[type[Exception], ...]] = (*_CORRUPT, OSError, CaseRefused)
# inflate's own number for a gzip header and trailer around the data.
_GZIP_WINDOW: Final = 31


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn every way in which a file can be unreadable into a refusal that names it."""
    try:
        yield
    except CaseRefused as error:
        message = f"{printable(path.name)}: {error}"
        raise CaseRefused(message) from error
    except _CORRUPT as error:
        message = f"{printable(path.name)}: {_why_corrupt(path, error)}; legal: a whole .nii.gz and no more"
        raise CaseRefused(message) from error
    except OSError as error:
        message = f"{printable(path.name)}: cannot be read ({error.strerror or error})"
        raise CaseRefused(message) from error


def open_source_file(path: Path) -> io.BufferedReader:
    """A regular file opened for reading, links followed.

    Raises:
        CaseRefused: it is something else, which is neither waited for nor read.
        OSError: it cannot be opened.
    """
    return open(path, "rb", opener=_open_source_file)


@contextmanager
def open_gzip(path: Path) -> Iterator[io.BufferedReader]:
    """A gzip file at its first byte.

    Raises:
        CaseRefused: it is something else.
    """
    with open_source_file(path) as file:
        start = file.read(_SEEN)
        if not start.startswith(_GZIP):
            message = f"not gzip: {_what_starts(start)}; legal: {_GZIP.hex()}"
            raise CaseRefused(message)
        file.seek(0)
        yield file


def _open_source_file(path: str, flags: int) -> int:
    # A look before opening, for opening alone can be felt by a device; one after, for a path can change.
    _require_regular(Path(path).stat().st_mode)
    # Non-blocking, or a FIFO put there in between would be waited for. It means nothing to a file.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except CaseRefused:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        message = f"cannot be read: {file_kind(mode)}; legal: a regular file"
        raise CaseRefused(message)


def _what_starts(start: bytes) -> str:
    if is_nifti(start):
        return "a NIfTI file that is not compressed"
    if start.startswith(_LFS):
        return "a Git LFS pointer, its file was not fetched"
    if start.lstrip().lower().startswith(_HTML):
        return "an HTML page, as servers send in place of a file"
    return f"starts with bytes {start[: len(_GZIP)].hex() or 'none'}"


def _why_corrupt(path: Path, error: Exception) -> str:
    after = _bytes_after_gzip(path) if isinstance(error, (EOFError, igzip.BadGzipFile)) else 0
    return f"other bytes follow its gzip: {after}" if after else f"truncated or corrupt gzip ({error})"


def _bytes_after_gzip(path: Path) -> int:
    """Bytes after the last gzip member, zeros before them not counted; 0 where a member is cut or damaged."""
    try:
        with open_source_file(path) as file:
            rest = file.read(_BLOCK)
            while rest.startswith(_GZIP):
                rest = _skip_member(file, rest).lstrip(b"\0")
            return len(rest) + os.fstat(file.fileno()).st_size - file.tell()
    except _UNREADABLE:
        return 0


def _skip_member(file: io.BufferedReader, data: bytes) -> bytes:
    """What was read after a member, whose voxels are inflated a block at a time and dropped."""
    member: Any = isal_zlib.decompressobj(_GZIP_WINDOW)
    while not member.eof:
        member.decompress(data, _BLOCK)
        data = member.unconsumed_tail or (b"" if member.eof else file.read(_BLOCK))
        if not data and not member.eof:
            raise EOFError
    rest: bytes = member.unused_data
    return rest
