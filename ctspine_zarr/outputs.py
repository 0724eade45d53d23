"""Files that are written for a user: whole or not at all, and none in place of another unasked."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ctspine_zarr.errors import CtspineError, StorageError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which appears under its name once the block ends without an error.

    Args:
        path: its folder is made where it does not exist; what lies there is replaced.

    Raises:
        StorageError: the file cannot be written.
    """
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


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error.strerror or error}")
