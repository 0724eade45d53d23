"""A source as a user types it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.datasets.ctspine1k import HUB
from ctspine_zarr.errors import SourceError
from ctspine_zarr.sources.folder import FolderSource
from ctspine_zarr.sources.source import Source

_SHORT: Final = "hub"
_ELSEWHERE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def open_source(location: str | Path, options: Mapping[str, Any], *, name: str, keep: bool) -> Source:
    """Where the files are; a repository on the Hub is pinned to the commit it is at.

    Args:
        location: a folder, hf://datasets/USER/NAME[@REVISION], or "hub" for CTSpine1K itself.
        options: of the Hub: `token`, `endpoint`.
        name: of the store, which tells its downloads from those of others.
        keep: what is downloaded.

    Raises:
        HubError: there is no such repository, or the Hub cannot be reached.
        SourceError: another kind of location, or no path of a folder.
    """
    if isinstance(location, str) and (location == _SHORT or location.lower().startswith("hf://")):
        # Half a second to import, which a local source need not wait for.
        from ctspine_zarr.sources.hub import HubSource

        return HubSource.at(HUB if location == _SHORT else location, options, name, keep=keep)
    if _ELSEWHERE.match(str(location)):
        message = f"source {location}; legal: a folder, hf://datasets/USER/NAME[@REVISION], or {_SHORT}"
        raise SourceError(message)
    return FolderSource(_folder(location))


def _folder(location: str | Path) -> Path:
    try:
        folder = Path(location).expanduser()
        folder.resolve()
    # A home that nobody has, a zero byte, a working directory that is gone.
    except (RuntimeError, OSError, ValueError) as error:
        message = f"source {str(location)!r}: {getattr(error, 'strerror', None) or error}; legal: a folder"
        raise SourceError(message) from error
    return folder
