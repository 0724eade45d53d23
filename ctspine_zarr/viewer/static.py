"""The viewer's page written into a folder, for a store beside it or elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import StorageError, StoreMismatch
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.publishing.page import INDEX, PAGE, is_page, page_documents

_ROOT: Final = "zarr.json"


def write_page(folder: str | Path, store: str = "spine.zarr", *, redirects: Iterable[str] = ()) -> Path:
    """The page's address: `index.html`, written with a folder `viewer/` into a folder.

    Nothing is written into a store: `publish` writes the page that lies in a store itself. A page
    of ours that is there is replaced.

    Args:
        folder: that is published; made where it does not exist.
        store: where the store lies: from the folder, as a path of names with `/` between them, where it may
            come later; or at http(s)://HOST/PATH, whose server lets pages of other origins read it (CORS).
        redirects: origins that this server may send who asks on to; those of huggingface.co are known.

    Raises:
        UnknownValue: `store` is no such place, or leads into the page's own folder; or one of `redirects` is
            no origin.
        StoreMismatch: the folder is a store or lies in one, or holds an `index.html` or `viewer` of others.
        MissingDependency: zarrita was not bundled.
        StorageError: a file cannot be written.
    """
    folder = Path(folder)
    page = page_documents(store, redirects=redirects)
    _require_place(folder, page)
    # In order: the index as the last, so that a page that is there is whole.
    for key, body in page.items():
        with whole_file(folder / key) as file:
            file.write(body)
    return folder / INDEX


def _require_place(folder: Path, page: Collection[str]) -> None:
    """Do nothing where a page of ours, or nothing, is where one is to be written, and no store around it."""
    index, inside = folder / INDEX, folder / PAGE
    try:
        stores = [one for one in (folder, *folder.absolute().parents) if (one / _ROOT).exists()]
        is_ours = index.is_file() and is_page(index.read_bytes())
        others = [index] if index.exists() else []
        if inside.exists():
            others += [one for one in inside.iterdir() if f"{PAGE}/{one.name}" not in page]
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
