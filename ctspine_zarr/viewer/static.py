"""The viewer's page as files, which show a store beside them on any web server, without a server of ours."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import MissingDependency, StorageError, StoreMismatch, UnknownValue
from ctspine_zarr.format.findings import KINDS
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.viewer.page_files import page_files

INDEX: Final = "index.html"
PAGE: Final = "viewer"
"""The folder of all that `INDEX` loads."""

_BUNDLE: Final = "zarrita.js"
_ROOT: Final = "zarr.json"
# The page runs and asks its own web server alone. `wasm-unsafe-eval` and `data:` let it compile the decoder
# that it holds, as text.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data:; base-uri 'none'; form-action 'none'"
)
# By which a page of ours is known: no other file is written over.
_GENERATOR: Final = '<meta name="generator" content="ctspine_zarr">'
# The first thing in the head: what follows is read by it.
_CHARSET: Final = '<meta charset="utf-8">'
_STORE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*(?:/[A-Za-z0-9][A-Za-z0-9._~-]*)*")


def write_page(folder: str | Path, store: str = "spine.zarr") -> Path:
    """The page's address: `index.html`, written with a folder `viewer/` into the folder that a store lies in.

    Nothing is written into a store, so that it verifies as before. A page of ours that is there is replaced.

    Args:
        folder: that is published; made where it does not exist.
        store: where the store lies, from the folder, as a path of names with `/` between them. It may come
            there later.

    Raises:
        UnknownValue: `store` is no such path, or leads into the page's own folder.
        StoreMismatch: the folder is a store or lies in one, or holds an `index.html` or `viewer` of others.
        MissingDependency: zarrita was not bundled.
        StorageError: a file cannot be written.
    """
    folder = Path(folder)
    if _STORE.fullmatch(store) is None or store.partition("/")[0] in {INDEX, PAGE}:
        message = f"store {store!r}; legal: a path from the page to the store, such as spine.zarr"
        raise UnknownValue(message)
    page = dict(page_files())
    if _BUNDLE not in page:
        message = "a page without a server needs zarrita, which is not in this installation: run make page"
        raise MissingDependency(message)
    _require_place(folder, page)
    for name, body in page.items():
        if name != INDEX:
            _write(folder / PAGE / name, body)
    # At last, so that a page that is there is whole.
    _write(folder / INDEX, _index(page[INDEX].decode(), store).encode())
    return folder / INDEX


def _require_place(folder: Path, page: Collection[str]) -> None:
    """Do nothing where a page of ours, or nothing, is where one is to be written, and no store around it."""
    index, inside = folder / INDEX, folder / PAGE
    try:
        stores = [one for one in (folder, *folder.absolute().parents) if (one / _ROOT).exists()]
        is_ours = index.is_file() and _GENERATOR in index.read_text(encoding="utf-8", errors="replace")
        others = [index] if index.exists() else []
        others += [one for one in inside.iterdir() if one.name not in page] if inside.exists() else []
    except OSError as error:
        message = f"cannot look at {folder}: {error.strerror or error}"
        raise StorageError(message) from error
    if stores:
        message = (
            f"cannot write a page to {folder}: {stores[0]} is a store; legal: the folder that it lies in"
        )
        raise StoreMismatch(message)
    if others and not is_ours:
        message = f"cannot write a page to {folder}: {others[0]} is none of ours; legal: a folder without"
        raise StoreMismatch(message)


def _index(text: str, store: str) -> str:
    """The page's `index.html` one folder higher, which says where the store lies."""
    severities = json.dumps({str(code): str(kind.severity) for code, kind in KINDS.items()})
    told = {"store": store, "severities": severities, "referrer": "no-referrer"}
    metas = [
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        _GENERATOR,
        *(f'<meta name="{name}" content="{html.escape(content)}">' for name, content in told.items()),
    ]
    beside = text.replace('href="style.css"', f'href="{PAGE}/style.css"')
    beside = beside.replace('src="main.js"', f'src="{PAGE}/main.js"')
    return beside.replace(_CHARSET, "\n    ".join([_CHARSET, *metas]), 1)


def _write(path: Path, body: bytes) -> None:
    with whole_file(path) as file:
        file.write(body)
