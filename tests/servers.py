"""Servers on loopback, started and stopped by the tests, that count, delay and fail requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvicorn
from a2wsgi import WSGIMiddleware
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Fault = Callable[[int, str, str], int | str | None]
type App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass
class Request:
    """What was asked and what was given.

    Attributes:
        method, path: of the request.
        range: its Range header; empty where it has none.
        signed: whether it said who asks.
        status: of the answer; 0 where there is none.
        sent: bytes of its body.
        round: round trips until its answer, from the server's start on: one more than the answers that
            were there one after another when it came. Of requests under way together it is the same
            where there is a latency.
    """

    method: str
    path: str
    range: str
    signed: bool
    status: int = 0
    sent: int = 0
    round: int = 0


@dataclass
class Watched:
    """An application behind a round trip and faults, and the requests it was asked.

    Attributes:
        app: what answers.
        latency: seconds before each answer.
        fault: told the number of each request, from 1 on, its method and path: a status to answer
            with, "cut" for half of the body, None for no fault.
        retry_after: seconds that a refusal asks to wait.
        requests: in the order of their coming.
        busiest: most requests that waited for the first byte of their answer at once. Where there is a
            latency, requests that are asked one after another never do.
    """

    app: App
    latency: float = 0
    fault: Fault = field(default_factory=lambda: _no_fault)
    retry_after: int = 0
    requests: list[Request] = field(default_factory=list)
    busiest: int = 0
    _waiting: int = 0
    _answered: int = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {key.decode().lower(): value.decode() for key, value in scope["headers"]}
        signed = "authorization" in headers
        request = Request(scope["method"], scope["path"], headers.get("range", ""), signed)
        request.round = self._answered + 1
        self.requests.append(request)
        fault = self.fault(len(self.requests), request.method, request.path)
        self._waiting += 1
        self.busiest = max(self.busiest, self._waiting)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self._waiting -= 1
        # The client may ask on before this goes on: the answer counts once it begins.
        self._answered = max(self._answered, request.round)
        if isinstance(fault, int):
            await _refuse(fault, self.retry_after, request, receive, send)
        else:
            await self.app(scope, receive, _noting(request, send, cut=fault == "cut"))

    @property
    def rounds(self) -> int:
        """Round trips, one after another, of the requests that are noted."""
        found = [request.round for request in self.requests]
        return max(found) - min(found) + 1 if found else 0

    def heal(self) -> None:
        """No more faults, and no delay."""
        self.fault = _no_fault
        self.latency = 0


class _Dropped(Exception):
    """The connection ends here: uvicorn closes that of an application that fails in an answer."""


def _no_fault(number: int, method: str, path: str) -> None:  # noqa: ARG001 - as a fault is called
    return None


async def _read(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def _refuse(status: int, wait: int, request: Request, receive: Receive, send: Send) -> None:
    await _read(receive)
    request.status = status
    headers = [(b"content-length", b"0"), (b"retry-after", b"%d" % wait)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _noting(request: Request, send: Send, *, cut: bool) -> Send:
    async def note(message: Message) -> None:
        body = message.get("body", b"")
        if cut and body:
            body = body[: len(body) // 2]
            message = {**message, "body": body, "more_body": True}
        request.status = message.get("status", request.status)
        request.sent += len(body)
        await send(message)
        if cut and body:
            raise _Dropped

    return note


@contextlib.contextmanager
def served(app: App, **tls: Path) -> Iterator[str]:
    """Where an application answers: `http://127.0.0.1:PORT`; by TLS with uvicorn's options for that."""
    config = uvicorn.Config(
        app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, **cast("Any", tls)
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def folder(root: Path) -> App:
    """The files below a folder, with ranges."""
    return Starlette(routes=[Mount("/", StaticFiles(directory=root))])


def s3() -> App:
    """An S3 that keeps its objects in memory."""
    backend: Any = DomainDispatcherApplication(create_backend_app)
    return cast("App", WSGIMiddleware(backend, workers=16))


HEAD = (
    b"HTTP/1.1 %s\r\nContent-Length: %d\r\n"
    b'Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nETag: "e"\r\n%s\r\n'
)
"""The beginning of an answer: its status, how long it says it is, further headers."""


def silent(connection: socket.socket) -> None:
    """Never answers."""
    while connection.recv(1 << 16):
        pass


def dripping(connection: socket.socket) -> None:
    """Sends a byte of a small answer now and then."""
    connection.sendall(HEAD % (b"200 OK", 1 << 16, b""))
    _drip(connection, b"<" * (1 << 16))


def dripping_part(connection: socket.socket) -> None:
    """The same of its first half."""
    part = b"Content-Range: bytes 0-32767/65536\r\n"
    connection.sendall(HEAD % (b"206 Partial Content", 1 << 15, part))
    _drip(connection, b"<" * (1 << 15))


def dripping_head(connection: socket.socket) -> None:
    """Sends a byte of an answer's head now and then."""
    _drip(connection, HEAD % (b"200 OK", 1, b"x-filler: " + b"x" * 1000 + b"\r\n"))


def failing(connection: socket.socket) -> None:
    """Has an error of its own."""
    connection.sendall(HEAD % (b"500 Internal Server Error", 0, b"Connection: close\r\n"))


def endless(connection: socket.socket) -> None:
    """Says that its answer has a petabyte, and sends as much as is taken of it."""
    connection.sendall(HEAD % (b"200 OK", 10**15, b""))
    _pour(connection)


def endless_part(connection: socket.socket) -> None:
    """The same of the part from byte 100 to 199."""
    part = HEAD % (b"206 Partial Content", 10**15, b"Content-Range: bytes 100-199/1280\r\n")
    connection.sendall(part)
    _pour(connection)


def endless_failure(connection: socket.socket) -> None:
    """Says that there is nothing, at a length of a petabyte."""
    connection.sendall(HEAD % (b"404 Not Found", 10**15, b"X-Error-Code: EntryNotFound\r\n"))
    _pour(connection)


def endless_redirect(connection: socket.socket) -> None:
    """Leads to itself, and says so at a length of a petabyte."""
    connection.sendall(HEAD % (b"302 Found", 10**15, b"Location: /elsewhere\r\n"))
    _pour(connection)


def _drip(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def _pour(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * (1 << 16))


@contextlib.contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Where a server answers every connection as told, once a request has come, and hangs up at last."""

    def converse(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            answer(connection)

    connections: list[socket.socket] = []

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connections.append(connection)
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        # It wakes who waits in `accept`, and who still waits for an answer.
        for one in (listening, *connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
