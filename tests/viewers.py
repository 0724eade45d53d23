"""The viewer's server on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from servers import App, Message, Receive, Send, served

import ctspine_zarr as cz
from ctspine_zarr.publishing.web import answering
from ctspine_zarr.viewer.answers import Answers
from ctspine_zarr.viewer.tokens import below_token, new_token


def answers_of(store: cz.Store, port: int) -> Answers:
    """The answers to a page of a store, which is opened again where it was updated."""
    return Answers(store, port, lambda: cz.open_store(store.location))


@contextlib.contextmanager
def viewed(store: cz.Store) -> Iterator[str]:
    """Where the viewer of a store answers: `http://127.0.0.1:PORT/TOKEN`."""
    apps: list[App] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await apps[0](scope, receive, send)

    with served(app) as url:
        token = new_token()
        apps.append(answering(below_token(token, answers_of(store, int(url.rpartition(":")[2])))))
        yield f"{url}/{token}"
