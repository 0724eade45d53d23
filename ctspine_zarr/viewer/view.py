"""A store shown in the system's browser, until Ctrl-C."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from ctspine_zarr.errors import require_case
from ctspine_zarr.publishing.web import answering, listen, run
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.viewer.answers import Answers

_HOST: Final = "127.0.0.1"
# Of decoded chunks: coronal and sagittal slabs of one row of chunks follow one another.
_CACHE_BYTES: Final = 256 * 2**20


def view(
    location: str | Path,
    case: str | None = None,
    *,
    port: int = 0,
    browser: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Show a store in a browser until Ctrl-C; nothing is written, and this machine alone can ask.

    Args:
        location, storage_options: as for `open_store`.
        case: that is shown first.
        port: 0 for any that is free.
        browser: whether the system's browser is opened.
        on_ready: told the URL.

    Raises:
        UnknownCase: no such case; the message names the nearest ones.
        NotAStore, DamagedStore: there is no store.
        StorageError: it cannot be read, or the port cannot be had.
    """
    store = open_store(location, storage_options=storage_options, cache_bytes=_CACHE_BYTES)
    if case is not None:
        require_case(case, store.keys(), store.location)
    with listen(_HOST, port) as listening:
        number = listening.getsockname()[1]
        url = f"http://{_HOST}:{number}/{f'#{urlencode({"case": case})}' if case else ''}"
        if on_ready is not None:
            on_ready(url)
        if browser:
            webbrowser.open(url)
        run(answering(Answers(store, number)), listening)
