"""What the viewer's server answers: the files of its page, and what the page asks of one store."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from ctspine_zarr.errors import (
    CtspineError,
    NoMask,
    OutOfBounds,
    StoreUpdated,
    UnknownCase,
    UnknownValue,
    require_known,
)
from ctspine_zarr.publishing.page import page_files
from ctspine_zarr.publishing.web import Answer, Asked
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.store import Store
from ctspine_zarr.viewer.boxes import read_box
from ctspine_zarr.viewer.documents import case_document, state_of, store_document

# Of this machine.
_NAMES: Final = ("127.0.0.1", "localhost")
_HTTP_PORT: Final = 80
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
# The page runs its own files alone, asks its own server alone, and is shown in no other page. What it was
# given is kept nowhere: a store may be updated, and pictures of patients do not belong in a browser's cache.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer."""

# The first that an error is one of decides.
_STATUSES: Final[tuple[tuple[type[CtspineError], int, str], ...]] = (
    (StoreUpdated, 409, "updated"),
    (UnknownCase, 404, "unknown"),
    (NoMask, 404, "unknown"),
    (OutOfBounds, 400, "asked"),
    (UnknownValue, 400, "asked"),
    (CtspineError, 500, "store"),
)


class Answers:
    """The answers to a page of one store, all of them from the public reading of it.

    Paths: `/` and the page's files; `/api/store`; `/api/cases/ID`; voxels at `/api/cases/ID/image` and
    `/api/cases/ID/labels/NAME`, with a query as `read_box` has it. Errors are JSON: `error`, a sentence,
    and `kind`: `updated`, `unknown`, `asked` or `store`.

    `/api/store` tells of the store as it is then, and names its `state`: where it was updated, or is partial,
    it is opened again. So it is where a read finds that it was updated, and the answer is then `updated`. The
    same is answered to a query with another `state`, so that nobody who knows the cases of one state gets
    voxels of another.
    """

    def __init__(self, store: Store, port: int, again: Callable[[], Store]) -> None:
        """Of a store, to whoever asks for this machine by name at a port; `again` opens it as it is now."""
        self._opened = _Opened(store)
        self._again = again
        self._opening = threading.Lock()
        # Another site's name that was made to lead here (DNS rebinding) is no name of this machine.
        self._hosts = {f"{name}:{port}" for name in _NAMES}
        # Of the port that HTTP has by default, browsers say nothing.
        self._hosts |= set(_NAMES) if port == _HTTP_PORT else set()
        self._page = _page()

    def __call__(self, asked: Asked) -> Answer:
        """The answer, whatever is asked."""
        given = self._answer(asked)
        return Answer(given.body, given.status, {**HEADERS, **given.headers})

    def _answer(self, asked: Asked) -> Answer:
        if len(asked.hosts) != 1 or asked.hosts[0].lower() not in self._hosts:
            seen, legal = ", ".join(asked.hosts) or "not named", " or ".join(sorted(self._hosts))
            message = f"host {seen}; legal: {legal}"
            return _error(message, 403, "asked")
        if asked.method not in {"GET", "HEAD"}:
            return _error(f"method {asked.method}; legal: GET or HEAD", 405, "asked", {"Allow": "GET, HEAD"})
        if asked.path in self._page:
            return self._page[asked.path]
        opened = self._opened
        try:
            if asked.path == "/api/store":
                return _json(store_document(self._as_it_is(opened).store))
            return opened.answer(asked)
        except CtspineError as error:
            if isinstance(error, StoreUpdated):
                self._open_again(opened)
            status, kind = next((status, kind) for of, status, kind in _STATUSES if isinstance(error, of))
            return _error(str(error), status, kind)

    def _as_it_is(self, opened: _Opened) -> _Opened:
        """What was opened, or, where the store is another by now, that."""
        updated = opened.store.reading.updated
        if opened.store.is_partial or (updated is not None and updated()):
            self._open_again(opened)
        return self._opened

    def _open_again(self, opened: _Opened) -> None:
        """Open the store again, unless another request has; where that fails, what was opened stays."""
        with self._opening, contextlib.suppress(CtspineError):
            if self._opened is opened:
                self._opened = _Opened(self._again())


class _Opened:
    """A store as it was opened once, with its selections by label set."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._state = state_of(store)
        self._sets: dict[str, Store] = {}

    def answer(self, asked: Asked) -> Answer:
        """What is asked of its cases.

        Raises:
            CtspineError: as the public reading does.
        """
        if asked.query.get("state", self._state) != self._state:
            message = f"{self.store.location} was updated since the page was loaded"
            return _error(message, 409, "updated")
        match asked.path.split("/")[1:]:
            case ["api", "cases", case]:
                return _json(case_document(self.store[case].record, self.store.spec))
            case ["api", "cases", case, "image"]:
                return _voxels(self.store[case], "image", asked.query)
            case ["api", "cases", case, "labels", name]:
                return _voxels(self._labelled(case, name), "segmentation", asked.query)
        return _error(f"nothing at {asked.path}; legal: the page at /", 404, "unknown")

    def _labelled(self, case: str, name: str) -> Case:
        """The case with that label set, or with its own mask, as the one that is read."""
        one = self.store[case]
        if name == self.store.spec.mask and name not in one.record.sets:
            return one
        require_known(f"label set of {case}", [name], [self.store.spec.mask, *one.record.sets])
        if name not in self._sets:
            self._sets[name] = self.store.select(labels=name)
        return self._sets[name][case]


def _page() -> Mapping[str, Answer]:
    """Path -> file of the page; a request finds one of these or none, so that no path leads elsewhere."""
    found = {
        f"/{name}": Answer(body, headers={"Content-Type": kind})
        for name, body in page_files().items()
        if (kind := _TYPES.get(name.rpartition(".")[2])) is not None
    }
    return found | {"/": found["/index.html"]}


def _voxels(case: Case, which: Any, query: Mapping[str, str]) -> Answer:
    voxels, dtype = read_box(case, which, query)
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Dtype": dtype,
        "X-Shape": ",".join(map(str, voxels.shape)),
    }
    return Answer(voxels.tobytes(), headers=headers)


def _json(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(body, status, {"Content-Type": "application/json", **(headers or {})})


def _error(message: str, status: int, kind: str, headers: Mapping[str, str] | None = None) -> Answer:
    return _json({"error": message, "kind": kind}, status, headers)
