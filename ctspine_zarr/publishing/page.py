"""The viewer's page as documents, which show a store on any web server, without a server of ours."""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from ctspine_zarr.errors import MissingDependency, UnknownValue
from ctspine_zarr.format.findings import KINDS
from ctspine_zarr.format.layout import VIEWER

INDEX: Final = "index.html"
PAGE: Final = VIEWER
"""The folder of all that `INDEX` loads."""

HERE: Final = "."
"""The store that the page lies in, as the page says where its store is."""

_BUNDLE: Final = "zarrita.js"
_LACKS: Final = "a page without a server needs zarrita, which is not in this installation: run make page"
# The page runs its own files alone, and asks one place alone. `wasm-unsafe-eval` and `data:` let it compile
# the decoder that it holds, as text.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src {asked} data:; base-uri 'none'; form-action 'none'"
)
# By which a page of ours is known: no other file is written over.
_GENERATOR: Final = '<meta name="generator" content="ctspine_zarr">'
# The first thing in the head: what follows is read by it.
_CHARSET: Final = '<meta charset="utf-8">'
# Whatever quotes a page of ours, in a comment or as text, does not begin as one.
_OURS: Final = re.compile(
    (
        rf'<!doctype html>\s+<html lang="en">\s+<head>\s+{_CHARSET}\s+'
        rf'<meta http-equiv="Content-Security-Policy" content="[^"<>]*">\s+{_GENERATOR}'
    ).encode()
)
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._~-]*"
_BESIDE: Final = re.compile(rf"{_NAME}(?:/{_NAME})*")
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_ELSEWHERE: Final = re.compile(rf"https?://{_HOST}(?:/[A-Za-z0-9._~%@=+-]+)*/?")
_ORIGIN: Final = re.compile(rf"https?://(?:\*\.)?{_HOST}")
_HUB: Final = "https://huggingface.co"
# Files of the Hub lie with servers of these names, which it sends whoever asks to.
_HUB_FILES: Final = "https://*.hf.co"


def page_files() -> dict[str, bytes]:
    """Name -> content of each file of the page, as it lies in the package; zarrita is among them where it was
    bundled.
    """
    page = files("ctspine_zarr").joinpath("viewer", "page")
    return {file.name: file.read_bytes() for file in page.iterdir() if file.is_file()}


def page_documents(store: str = HERE, *, redirects: Iterable[str] = ()) -> dict[str, bytes]:
    """Key -> bytes of the page of a store, `index.html` as the last: once it is there, the page is whole.

    All other keys lie below `viewer/`. The page's policy lets it run its own files alone, and ask one place
    alone: its own origin or, of a store elsewhere, the store's and `redirects`.

    Args:
        store: where it is: `HERE`, a path of names with `/` between them from the page, http(s)://HOST/PATH,
            or hf://datasets/USER/NAME[@REVISION][/PATH], of a public repository.
        redirects: origins that the server of a store elsewhere may send who asks on to, such as
            https://files.example or https://*.files.example; those of huggingface.co are known.

    Raises:
        UnknownValue: `store` is no such place or leads into the page's own folder; or one of `redirects` is
            no origin, or there are some for a store that is not elsewhere.
        HubError: `store` begins with hf:// and is no dataset's location.
        MissingDependency: zarrita was not bundled.
    """
    address = _in_a_browser(store)
    asked = _asked(address, tuple(redirects))
    found = page_files()
    if _BUNDLE not in found:
        raise MissingDependency(_LACKS)
    index = _index(found.pop(INDEX).decode(), address, asked)
    return {f"{PAGE}/{name}": body for name, body in sorted(found.items())} | {INDEX: index.encode()}


def page_beside() -> dict[str, bytes]:
    """Key -> bytes of the page that goes along with a published store; empty where none does."""
    return {} if why_no_page() else page_documents()


def why_no_page() -> str:
    """Why no page goes along with a published store, in words; empty where one does. See `page_beside`."""
    return "" if _BUNDLE in page_files() else f"no page: {_LACKS}"


def is_page(index: bytes) -> bool:
    """Whether an `index.html` is one of ours: it begins as they do, up to the line that says so."""
    return _OURS.match(index) is not None


def _in_a_browser(store: str) -> str:
    """The address at which a browser reads a store: on the Hub that of its files, of all else what it is."""
    if not store.lower().startswith("hf://"):
        return store
    # Half a second to import, which nobody else need wait for.
    from ctspine_zarr.hub.repository import Repository

    found = Repository.at(store, {})
    at = urllib.parse.quote(found.revision or "main", safe="")
    return f"{_HUB}/datasets/{found.id}/resolve/{at}/{urllib.parse.quote(found.folder)}".rstrip("/")


def _asked(store: str, redirects: tuple[str, ...]) -> str:
    """The sources that the page may ask, as a policy has them."""
    if _ELSEWHERE.fullmatch(store):
        for one in redirects:
            if _ORIGIN.fullmatch(one) is None:
                message = f"redirect {one!r}; legal: an origin, such as https://files.example"
                raise UnknownValue(message)
        parts = urllib.parse.urlsplit(store)
        origin = f"{parts.scheme}://{parts.netloc}"
        return " ".join([origin, *([_HUB_FILES] if origin == _HUB else []), *redirects])
    is_beside = _BESIDE.fullmatch(store) is not None and store.partition("/")[0].lower() not in {INDEX, PAGE}
    if (store != HERE and not is_beside) or redirects:
        message = (
            f"store {store!r}{' with redirects' * bool(redirects)}; legal: a path from the page to the "
            "store, such as spine.zarr; http(s)://HOST/PATH, with redirects or without; or "
            "hf://datasets/USER/NAME[@REVISION][/PATH]"
        )
        raise UnknownValue(message)
    return "'self'"


def _index(text: str, store: str, asked: str) -> str:
    """The page's `index.html` one folder higher, which says where the store lies."""
    severities = json.dumps({str(code): str(kind.severity) for code, kind in KINDS.items()})
    told = {"store": store, "severities": severities, "referrer": "no-referrer"}
    policy = html.escape(_POLICY.format(asked=asked), quote=False)
    metas = [
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        _GENERATOR,
        *(f'<meta name="{name}" content="{html.escape(content)}">' for name, content in told.items()),
    ]
    beside = text.replace('href="style.css"', f'href="{PAGE}/style.css"')
    beside = beside.replace('src="main.js"', f'src="{PAGE}/main.js"')
    return beside.replace(_CHARSET, "\n    ".join([_CHARSET, *metas]), 1)
