"""An internet of this machine alone, where the Hub has its own name, for programs that know no other."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import trustme
from fakehub import CDN
from servers import App, served

HUB: Final = "huggingface.co"
_AUTHORITIES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


@dataclass(frozen=True)
class Internet:
    """One that has the Hub and nothing else.

    Attributes:
        proxy: where it is entered, `127.0.0.1:PORT`.
        authority: a file with the certificate of who vouches for the Hub's name there.
        missed: whatever else it was asked for, `HOST:PORT` or the address of a page.
    """

    proxy: str
    authority: Path
    missed: list[str] = field(default_factory=list)

    def environment(self, home: Path) -> dict[str, str]:
        """What a process has to know to be there, as somebody whose home is this folder."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SSL_"))}
        proxied = dict.fromkeys(_PROXIES, f"http://{self.proxy}")
        trusted = dict.fromkeys(_AUTHORITIES, str(self.authority))
        return kept | proxied | trusted | {"HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.port = port
        self.missed: list[str] = []


class _Passage(socketserver.StreamRequestHandler):
    # What follows the request is the client's own talk with the Hub.
    rbufsize = 0

    def handle(self) -> None:
        proxy = cast("_Proxy", self.server)
        method, asked, _ = self.rfile.readline().decode().split(" ", 2)
        while self.rfile.readline().strip():
            pass
        if method != "CONNECT" or asked not in {f"{name}:443" for name in (HUB, CDN)}:
            proxy.missed.append(asked)
            self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port)) as hub:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _pass_on(self.connection, hub)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    """Give each what the other says, until one of them hangs up."""
    others = {one: other, other: one}
    while True:
        for speaking in select.select(list(others), [], [])[0]:
            data = speaking.recv(1 << 16)
            if not data:
                return
            others[speaking].sendall(data)


@contextlib.contextmanager
def internet(hub: App, folder: Path) -> Iterator[Internet]:
    """The one where this hub answers; its certificates lie in a folder."""
    authority, chain, key = (folder / name for name in ("authority.pem", "hub.pem", "key.pem"))
    vouching = trustme.CA()
    vouching.cert_pem.write_to_path(authority)
    vouched = vouching.issue_cert(HUB, CDN)
    vouched.private_key_pem.write_to_path(key)
    for part in vouched.cert_chain_pems:
        part.write_to_path(chain, append=True)
    with (
        served(hub, ssl_certfile=chain, ssl_keyfile=key) as url,
        _Proxy(int(url.rpartition(":")[2])) as proxy,
    ):
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield Internet(f"127.0.0.1:{proxy.server_address[1]}", authority, proxy.missed)
        finally:
            proxy.shutdown()
