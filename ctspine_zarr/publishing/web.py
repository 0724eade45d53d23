"""Applications over HTTP, and the socket they are asked at. The one module that knows starlette, uvicorn."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import MissingDependency, StorageError, UnknownValue, integer

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocketClose
except ImportError as error:
    message = "serving needs starlette and uvicorn: pip install 'ctspine-zarr[serve]'"
    raise MissingDependency(message) from error

_BACKLOG: Final = 512
_MOST_PORT: Final = 65535
_SEEN_BY_SCRIPTS: Final = ["Accept-Ranges", "Content-Length", "Content-Range", "ETag"]


@dataclass(frozen=True)
class Asked:
    """A request without a body.

    Attributes:
        method: such as GET.
        path: with its escapes resolved, from the first slash on.
        query: name -> its last value.
        hosts: every Host header; a browser sends one.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What is answered: body, status and headers."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def application(folder: Path, extra: Callable[[Asked], Answer | None] | None = None) -> ASGIApp:
    """An ASGI application that gives the files of a folder, or ranges of them, to pages of any origin; at a
    folder's own address its `index.html`, where there is one.

    Args:
        folder: whose files.
        extra: what answers before the files are looked at; None leaves the request to them.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["Range"],
        expose_headers=_SEEN_BY_SCRIPTS,
    )
    files = StaticFiles(directory=folder, html=True)
    root = files if extra is None else _answering(extra, files)
    return Starlette(routes=[Mount("/", root)], middleware=[cors])


def answering(answer: Callable[[Asked], Answer]) -> ASGIApp:
    """An ASGI application of one function, which is called in a thread for each request."""
    return _answering(answer, None)


def _answering(answer: Callable[[Asked], Answer | None], otherwise: ASGIApp | None) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await WebSocketClose()(scope, receive, send)
            return
        request = Request(scope)
        hosts = tuple(request.headers.getlist("host"))
        asked = Asked(request.method, scope["path"], request.query_params, hosts)
        given = await run_in_threadpool(answer, asked)
        if given is not None:
            await Response(given.body, given.status, given.headers)(scope, receive, send)
        elif otherwise is not None:
            await otherwise(scope, receive, send)

    return application


def run(application: ASGIApp, listening: socket.socket) -> None:
    """Answer whoever asks at a socket, until Ctrl-C, which is raised again as KeyboardInterrupt."""
    config = uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: whoever connects waits until `run` has begun.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Raises:
        UnknownValue: the port is no integer from 0 to 65535.
        StorageError: the address cannot be had.
    """
    # The system's own function takes 70000 for 4464, its lower 16 bits.
    if (port := integer("port", port, 0, f" to {_MOST_PORT}")) > _MOST_PORT:
        message = f"port {port}; legal: an integer from 0 to {_MOST_PORT}"
        raise UnknownValue(message)
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
        message = f"cannot listen at {host}:{port}: {error.strerror or error}; legal: another address or port"
        raise StorageError(message) from error
    return listening
