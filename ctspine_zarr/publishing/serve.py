"""A local store over HTTP, with ranges, for browsers and notebooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ctspine_zarr.errors import StorageError
from ctspine_zarr.publishing.web import Answer, Asked, application, listen, run
from ctspine_zarr.read.opening import open_store


def serve(
    location: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    on_ready: Callable[[str], None] | None = None,
    extra: Callable[[Asked], Answer | None] | None = None,
) -> None:
    """Serve a store until Ctrl-C; nothing can be written, and nothing outside it is seen.

    Args:
        location: a local store.
        host: the address to listen at; by default this machine alone can ask, whoever is logged in there.
        port: 0 for any that is free.
        on_ready: told the URL.
        extra: as for `web.application`.

    Raises:
        NotAStore, DamagedStore: there is no store.
        UnknownValue: a port that is not legal.
        StorageError: it is not in a local folder, or the address cannot be had.
    """
    folder = open_store(location).storage.path
    if folder is None:
        message = f"cannot serve {location}; legal: a store in a local folder"
        raise StorageError(message)
    with listen(host, port) as listening:
        if on_ready is not None:
            shown = f"[{host}]" if ":" in host else host
            on_ready(f"http://{shown}:{listening.getsockname()[1]}")
        run(application(folder, extra), listening)
