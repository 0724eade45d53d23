"""A local store over HTTP, with ranges, for browsers and notebooks. The only module that knows starlette."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import MissingDependency, StorageError
from ctspine_zarr.read.opening import open_store

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    message = "serving needs starlette and uvicorn: pip install 'ctspine-zarr[serve]'"
    raise MissingDependency(message) from error

_BACKLOG: Final = 512
_SEEN_BY_SCRIPTS: Final = ["Accept-Ranges", "Content-Length", "Content-Range", "ETag"]


def application(folder: Path) -> Starlette:
    """An ASGI application that gives the files of a folder, or ranges of them, to pages of any origin."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["Range"],
        expose_headers=_SEEN_BY_SCRIPTS,
    )
    return Starlette(routes=[Mount("/", StaticFiles(directory=folder))], middleware=[cors])


def serve(
    location: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a store until Ctrl-C; nothing can be written, and nothing outside it is seen.

    Args:
        location: a local store.
        host: the address to listen at; by default this machine alone can ask.
        port: 0 for any that is free.
        on_ready: told the URL.

    Raises:
        NotAStore, DamagedStore: there is no store.
        StorageError: it is not in a local folder, or the address cannot be had.
    """
    folder = open_store(location).storage.path
    if folder is None:
        message = f"cannot serve {location}; legal: a store in a local folder"
        raise StorageError(message)
    with _listening(host, port) as listening:
        if on_ready is not None:
            shown = f"[{host}]" if ":" in host else host
            on_ready(f"http://{shown}:{listening.getsockname()[1]}")
        config = uvicorn.Config(application(folder), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        # Without the protocol's name asyncio leaves Nagle's algorithm on, and small answers wait 40 ms.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        message = (
            f"cannot listen at {host}:{port}: {error.strerror or error}; legal: another --host or --port"
        )
        raise StorageError(message) from error
    return listening
