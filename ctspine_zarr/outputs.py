"""Files that are written for a user: whole or not at all, and none in place of another unasked."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from ctspine_zarr.errors import CtspineError, StorageError

_KINDS: Final = {
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which appears under its name once the block ends without an error.

    Args:
        path: its folder is made where it does not exist; a file that lies there is replaced.

    Raises:
        StorageError: the file cannot be written, or what lies there is no file: a link, a device, a pipe.
    """
    _require_file(path)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except CtspineError:
        raise
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def require_free(path: Path) -> None:
    """Do nothing where no file is there.

    Raises:
        StorageError: one is, or the place cannot be looked at.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_write(path, error) from error
    message = f"{path} exists; give --overwrite to replace it"
    raise StorageError(message)


def _require_file(path: Path) -> None:
    """Do nothing where a regular file is there, or nothing."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        # Whoever writes is told of it.
        return
    if not stat.S_ISREG(mode):
        seen = _KINDS.get(stat.S_IFMT(mode), "thing of another kind")
        message = f"cannot write {path}: it is a {seen}; legal: a file, or a name that nothing has"
        raise StorageError(message)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error.strerror or error}")
