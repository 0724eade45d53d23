"""A store in a dataset repository on the Hub, with a card, compared with the Hub's record of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import DamagedStore, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import StoredObject
from ctspine_zarr.hub import RemoteFile, Repository
from ctspine_zarr.publishing.card import CARD, dataset_card
from ctspine_zarr.publishing.whole import WholeStore

# Written last, in one commit: with them it is a store.
_TOP: Final = (layout.ROOT, layout.CATALOG)
_TORN: Final = "*.partial"


def upload(whole: WholeStore, repository: Repository, *, private: bool) -> None:
    """Upload what is not there yet: the cases, then in one commit what makes them a store, and a card.

    Args:
        whole: in a local folder.
        repository: made where it does not exist.
        private: whether one that is made is.

    Raises:
        StorageError: the store is not in a local folder.
        DamagedStore: what the Hub says it has is not what was written.
        HubError: the Hub cannot be reached, or refuses.
    """
    folder = whole.storage.path
    if folder is None:
        message = f"{whole.store.location} to the Hub; legal: a store in a local folder"
        raise StorageError(message)
    repository.create(private=private)
    repository.upload(folder, ignored=[*_TOP, _TORN])
    _require_uploaded(whole, repository, folder)
    card = dataset_card(str(repository), whole.store.records, whole.store.about)
    top = {key: data for key, data in whole.top() if key in _TOP}
    repository.commit_together({**top, CARD: card}, "Catalog, root and card")


def _require_uploaded(whole: WholeStore, repository: Repository, folder: Path) -> None:
    """Do nothing where every object of every case is there as it was written."""
    there = repository.newest_files()
    wrong = [key for key, written in _objects(whole) if not _is(there.get(key), written, folder / key)]
    if wrong:
        message = (
            f"{repository}: {len(wrong)} objects are not there as they were written, such as {wrong[0]}; "
            f"run verify on {whole.store.location}, then publish again"
        )
        raise DamagedStore(message)


def _objects(whole: WholeStore) -> Iterator[tuple[str, StoredObject]]:
    for case in whole.cases:
        yield from case.objects.items()
        digest = hashlib.sha256(case.receipt).hexdigest()
        yield case.receipt_key, StoredObject(len(case.receipt), digest)


def _is(file: RemoteFile | None, written: StoredObject, path: Path) -> bool:
    if file is None or file.bytes != written.bytes:
        return False
    if file.sha256 is not None:
        return file.sha256 == written.sha256
    data = path.read_bytes()
    # Git's own id of a file: the only record of small ones.
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return file.blob == blob and hashlib.sha256(data).hexdigest() == written.sha256
