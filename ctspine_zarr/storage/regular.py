"""Regular files, opened so that nothing else can stand in for one: a FIFO, a device, a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import FileIO
from typing import Final

from ctspine_zarr.storage.keys import require_size
from ctspine_zarr.text import file_kind

# Opening a FIFO would wait for its writer. Not every system has all of these.
_FLAGS: Final = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_NOCTTY", "O_BINARY")
)


def open_regular(path: str) -> tuple[int, int]:
    """The descriptor of a regular file, open for reading, and its size in bytes.

    Returns at once whatever is there, and does not follow a link that is the last part of the path.

    Raises:
        OSError: there is nothing, or what is there is no regular file or cannot be read.
    """
    descriptor = _opened(path)
    try:
        seen = os.fstat(descriptor)
        _require_regular(seen.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, seen.st_size


def read_regular(path: str, most: int) -> bytes:
    """The bytes of a regular file, which may be this many.

    Raises:
        OSError: as `open_regular`.
        ValueError: it is longer.
    """
    return read_all(*open_regular(path), most)


def read_all(descriptor: int, size: int, most: int) -> bytes:
    """The bytes of an open file of that size, which is then closed; as `read_regular`."""
    with FileIO(descriptor) as file:
        require_size(size, most)
        return file.readall()


def _seek_and_read(descriptor: int, length: int, start: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.read(descriptor, length)


# It gives at most 2 GiB at a time, whatever is asked for.
_read_once: Final[Callable[[int, int, int], bytes]] = getattr(os, "pread", _seek_and_read)


def read_at(descriptor: int, length: int, start: int) -> bytes:
    """So many bytes of an open file from `start` on, fewer where it ends."""
    data = _read_once(descriptor, length, start)
    if len(data) == length:
        return data
    parts, size = [data], len(data)
    while parts[-1] and size < length:
        parts.append(_read_once(descriptor, length - size, start + size))
        size += len(parts[-1])
    return b"".join(parts)


def _opened(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        # What Linux says of sockets, and of devices that have no driver.
        if error.errno == errno.ENXIO:
            _require_regular(os.lstat(path).st_mode)
        raise


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, f"{os.strerror(errno.EISDIR)}; legal: a regular file")
    if not stat.S_ISREG(mode):
        message = f"it is {file_kind(mode)}; legal: a regular file"
        raise OSError(message)
