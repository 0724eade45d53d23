"""JSON files of nnU-Net's folders."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ctspine_zarr.errors import StorageError
from ctspine_zarr.outputs import whole_file


def write_json(path: Path, document: object) -> None:
    """A document as a JSON file, whole or not at all; nothing is written where it is there already.

    Raises:
        StorageError: the file cannot be written.
    """
    text = json.dumps(document, indent=1) + "\n"
    with suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    with whole_file(path) as file:
        file.write(text.encode())


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
