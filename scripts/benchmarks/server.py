"""A folder over HTTP as from far away: every answer waits, and is counted.

`served` runs it in a process of its own, so that it shares no lock with the client it is measured by:

    python -m benchmarks.server FOLDER SECONDS
"""

import asyncio
import dataclasses
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import surroundings
from ctspine_zarr.errors import StorageError

COUNTERS = "/-/counters"
_RANGE = re.compile(rb"bytes=(\d*)-(\d*)")

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass
class Counters:
    """What was asked since the counters were last looked at.

    Attributes:
        requests: that came.
        bytes: of the answers, without their headers.
        at_once: most requests that were under way together.
        rounds: round trips, one after another: what was asked for once an answer had begun is one more.
    """

    requests: int = 0
    bytes: int = 0
    at_once: int = 0
    rounds: int = 0


@dataclass(frozen=True)
class Server:
    """One that runs.

    Attributes:
        url: of the folder.
    """

    url: str

    def counted(self) -> Counters:
        """What was asked since this was last called; it is itself neither counted nor delayed."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"))
        connection.request("GET", COUNTERS)
        found = Counters(**json.load(connection.getresponse()))
        connection.close()
        return found


@contextmanager
def served(folder: Path, latency: float) -> Iterator[Server]:
    """A server of a folder whose answers begin `latency` seconds after they were asked for."""
    command = [sys.executable, "-m", __name__, str(folder.absolute()), str(latency)]
    with subprocess.Popen(command, env=surroundings({}), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            if not port:
                message = "the server did not start: its error is above"
                raise StorageError(message)
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


class Far:
    """An application whose answers wait and are counted.

    Ranges of files are not left to it: what it takes for each, a millisecond, would be what peers
    that ask for many are measured by.

    Args:
        application: answers what is no range of a file.
        folder: of the files.
        latency: seconds.
    """

    def __init__(self, application: Application, folder: Path, latency: float) -> None:
        self._application = application
        self._folder = folder
        self._latency = latency
        self._counters = Counters()
        self._under_way = 0
        self._begun = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif scope["path"] == COUNTERS:
            found, self._counters, self._begun = self._counters, Counters(), 0
            await _answer(send, 200, json.dumps(dataclasses.asdict(found)).encode())
        else:
            await self._delayed(scope, receive, send)

    async def _delayed(self, scope: Message, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            self._counters.bytes += len(message.get("body", b""))
            await send(message)

        self._under_way += 1
        self._counters.requests += 1
        self._counters.at_once = max(self._counters.at_once, self._under_way)
        trip = self._begun + 1
        self._counters.rounds = max(self._counters.rounds, trip)
        try:
            await asyncio.sleep(self._latency)
            self._begun = max(self._begun, trip)
            if not await self._give_range(scope, counted):
                await self._application(scope, receive, counted)
        finally:
            self._under_way -= 1

    async def _give_range(self, scope: Message, send: Send) -> bool:
        """Whether one range of a file that is there was asked for, and given."""
        wanted = _RANGE.fullmatch(dict(scope["headers"]).get(b"range", b""))
        path = self._folder / scope["path"].lstrip("/")
        if scope["method"] != "GET" or wanted is None or not path.is_file():
            return False
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            first, last = (int(number) if number else None for number in wanted.groups())
            start = max(size - (last or 0), 0) if first is None else first
            stop = size if first is None or last is None else min(last + 1, size)
            if start >= stop:
                return False
            body = os.pread(file.fileno(), stop - start, start)
        await _answer(send, 206, body, (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
        return True


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def main(folder: Path, latency: float) -> None:
    """Serve until terminated, after printing the port."""
    import uvicorn  # noqa: PLC0415 - only this process needs it

    from ctspine_zarr.publishing.web import application  # noqa: PLC0415 - likewise

    # Without the protocol's name asyncio leaves Nagle's algorithm on, and small answers wait 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(
            Far(application(folder), folder, latency), log_level="warning", access_log=False
        )
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
