"""A store shown in the system's browser, until Ctrl-C."""

from __future__ import annotations

import json
import threading
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from ctspine_zarr.errors import require_case
from ctspine_zarr.publishing.serve import serve
from ctspine_zarr.publishing.web import Answer, Asked, answering, listen, run
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.viewer.answers import Answers
from ctspine_zarr.viewer.neuroglancer import (
    DEMO,
    label_names,
    names_path,
    neuroglancer_link,
    neuroglancer_state,
)
from ctspine_zarr.viewer.tokens import below_token, new_token

_HOST: Final = "127.0.0.1"
# Of decoded chunks: a row of them gives many slabs of coronal or sagittal slices, one after another.
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
    """Show a store in a browser until Ctrl-C; nothing is written.

    Only this machine can ask, and of those who are logged in there only who knows the URL: it has a random
    token, another each time.

    Args:
        location, storage_options: as for `open_store`.
        case: that is shown first.
        port: 0 for any that is free.
        browser: whether the system's browser is opened.
        on_ready: told the URL, with its token.

    Raises:
        UnknownCase: no such case; the message names the nearest ones.
        UnknownValue: a port that is not legal.
        NotAStore, DamagedStore: there is no store.
        StorageError: it cannot be read, or the port cannot be had.
    """
    opening = partial(open_store, location, storage_options=storage_options, cache_bytes=_CACHE_BYTES)
    store = opening()
    if case is not None:
        require_case(case, store.keys(), store.location)
    with listen(_HOST, port) as listening:
        number, token = listening.getsockname()[1], new_token()
        url = f"http://{_HOST}:{number}/{token}/{f'#{urlencode({"case": case})}' if case else ''}"
        if on_ready is not None:
            on_ready(url)
        if browser:
            # One of the terminal, such as w3m, returns when it is ended, and waits for an answer before.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        run(answering(below_token(token, Answers(store, number, opening))), listening)


def view_in_neuroglancer(
    location: str | Path,
    case: str,
    *,
    port: int = 0,
    base: str = DEMO,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a store to neuroglancer until Ctrl-C, as `serve` does: to pages of any origin on this machine.

    Args:
        location: a local store.
        case: that the address shows.
        port: 0 for any that is free.
        base: address of a neuroglancer.
        on_ready: told the address that opens it.

    Raises:
        UnknownCase: no such case; the message names the nearest ones.
        UnknownValue: its codec is one that neuroglancer does not read, or a port that is not legal.
        NotAStore, DamagedStore: there is no store.
        StorageError: it is not in a local folder, or the port cannot be had.
    """
    one = open_store(location)[case]

    def ready(url: str) -> None:
        if on_ready is not None:
            on_ready(neuroglancer_link(neuroglancer_state(one.record, one.spec, url), base))

    # What is not legal is found before anything is served.
    neuroglancer_state(one.record, one.spec, "")
    serve(location, host=_HOST, port=port, on_ready=ready, extra=names_of(one))


def names_of(case: Case) -> Callable[[Asked], Answer | None]:
    """What answers neuroglancer's requests for the names of a case's labels, and None to any other."""
    documents = {
        f"{names_path(case.id, name)}/info": json.dumps(label_names(case.record, case.spec, name)).encode()
        for name in case.record.masks(case.spec.mask)
    }

    def answer(asked: Asked) -> Answer | None:
        body = documents.get(asked.path) if asked.method in {"GET", "HEAD"} else None
        return None if body is None else Answer(body, headers={"Content-Type": "application/json"})

    return answer
