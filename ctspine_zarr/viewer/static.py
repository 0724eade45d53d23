"""The viewer's page written into a folder, for a store beside it or elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import StorageError, StoreMismatch
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.publishing.page import INDEX, PAGE, is_page, page_documents
from ctspine_zarr.publishing.papers.markdown import plain
from ctspine_zarr.publishing.papers.place import Place

_ROOT: Final = "zarr.json"

_CARD: Final = "README.md"
# By which a card of ours is known: it begins so.
_MARK: Final = "---\n# made by ctspine_zarr"
_SPACE: Final = """{mark}
title: {title}
sdk: static
app_file: index.html
---

The cases of a store, in your browser: the page reads [the store]({store}) itself, and sends nothing anywhere.
"""


def write_page(
    folder: str | Path, store: str = "spine.zarr", *, redirects: Iterable[str] = (), space: str | None = None
) -> Path:
    """The page's address: `index.html`, written with a folder `viewer/` into a folder.

    Nothing is written into a store: `publish` writes the page that lies in a store itself. A page
    of ours that is there is replaced.

    Args:
        folder: that is published; made where it does not exist.
        store: where the store lies: from the folder, as a path of names with `/` between them, where it may
            come later; at http(s)://HOST/PATH, whose server lets pages of other origins read it (CORS); or at
            hf://datasets/USER/NAME[@REVISION][/PATH], of a public repository.
        redirects: origins that this server may send who asks on to; those of huggingface.co are known.
        space: a title; with it a README.md is written too, by which the folder is a static Space of the Hub.

    Raises:
        UnknownValue: `store` is no such place, or leads into the page's own folder; or one of `redirects` is
            no origin.
        HubError: `store` begins with hf:// and is no dataset's location.
        StoreMismatch: the folder is a store or lies in one, or holds an `index.html` or, of a Space,
            README.md of others; or, without an `index.html` of ours, anything in `viewer` that is not of
            this page.
        MissingDependency: zarrita was not bundled.
        StorageError: a file cannot be written.
    """
    folder = Path(folder)
    page = page_documents(store, redirects=redirects)
    if space is not None:
        # Of a store beside the page there is no other address than the way to it.
        shown = Place.of(store).url or store
        # A string of JSON is one of YAML too.
        card = _SPACE.format(mark=_MARK, title=json.dumps(space), store=plain(shown))
        page = {_CARD: card.encode()} | page
    _require_place(folder, page)
    # In order: the index as the last, so that a page that is there is whole.
    for key, body in page.items():
        with whole_file(folder / key) as file:
            file.write(body)
    return folder / INDEX


def _require_place(folder: Path, page: Mapping[str, bytes]) -> None:
    """Do nothing where a page of ours, or nothing, is where one is to be written, and no store around it."""
    try:
        stores = [one for one in (folder, *folder.absolute().parents) if (one / _ROOT).exists()]
        others = list(_of_others(folder, page))
    except OSError as error:
        message = f"cannot look at {folder}: {error.strerror or error}"
        raise StorageError(message) from error
    if stores:
        message = (
            f"cannot write a page to {folder}: {stores[0]} is a store; legal: the folder that it lies in"
        )
        raise StoreMismatch(message)
    if others:
        message = f"cannot write a page to {folder}: {others[0]} is none of ours; legal: a folder without"
        raise StoreMismatch(message)


def _of_others(folder: Path, page: Mapping[str, bytes]) -> Iterator[Path]:
    """What lies where a page is to be written, and is none of ours.

    The index is written last: without one of ours, what an interrupted run left has the bytes of this page.
    """
    index, inside, card = folder / INDEX, folder / PAGE, folder / _CARD
    if _CARD in page and card.exists() and not card.read_bytes().startswith(_MARK.encode()):
        yield card
    if index.is_file() and is_page(index.read_bytes()):
        return
    if index.exists():
        yield index
    if inside.exists():
        yield from (one for one in inside.iterdir() if not _holds(one, page.get(f"{PAGE}/{one.name}")))


def _holds(path: Path, body: bytes | None) -> bool:
    """Whether a path is that of a file of these bytes."""
    return body is not None and path.is_file() and path.read_bytes() == body
