"""Small files that appear under their name when they are whole."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctspine_zarr.errors import StorageError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path, whose file gets its name once the context ends without an error.

    Args:
        path: its folder is made where it does not exist.

    Raises:
        StorageError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise StorageError(message) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """A document as a JSON file, whole or not at all; nothing is written where it is there already.

    Raises:
        StorageError: the file cannot be written.
    """
    text = json.dumps(document, indent=1) + "\n"
    with suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        StorageError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot read {path}: {getattr(error, 'strerror', None) or error}; legal: a JSON file"
        raise StorageError(message) from error
