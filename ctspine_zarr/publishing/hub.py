"""A store in a dataset repository on the Hub, with a card, compared with the Hub's record of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import DamagedStore, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.hub import RemoteFile, Repository
from ctspine_zarr.publishing.card import CARD, MARK, dataset_card
from ctspine_zarr.publishing.whole import WholeCase, WholeStore

# Of a commit, which is there whole or not at all; a dataset of 1,005 cases takes 41.
_CASES_AT_A_TIME: Final = 25

type _Files = Mapping[str, RemoteFile]


def upload_cases(whole: WholeStore, repository: Repository) -> Iterator[tuple[WholeCase, bool]]:
    """Upload what is not there yet, some cases a commit.

    Args:
        whole: in a local folder.
        repository: made where it does not exist.

    Yields:
        Each case as it is there, and whether it had to be uploaded.

    Raises:
        StorageError: the store is not in a local folder.
        StoreMismatch: the repository holds something else, or cases that the store has not.
        HubError: the Hub cannot be reached, or refuses.
    """
    folder = whole.storage.path
    if folder is None:
        message = f"{whole.store.location} to the Hub; legal: a store in a local folder"
        raise StorageError(message)
    there = repository.newest().files
    whole.require_place(str(repository), there.keys())
    pending = [case for case in whole.cases if not _has(there, case, folder)]
    _clear(whole, repository, there, pending)
    for case in whole.cases:
        if case not in pending:
            yield case, False
    for cases in itertools.batched(pending, _CASES_AT_A_TIME):
        files = {key: folder / key for case in cases for key in case.written}
        repository.change(files, (), f"{len(cases)} cases of {whole.store.spec.name}")
        yield from ((case, True) for case in cases)


def upload_top(whole: WholeStore, repository: Repository) -> None:
    """What makes it a store, and a card, in one commit, once every object of every case is there.

    Raises:
        DamagedStore: what the Hub says it has is not what was written.
        HubError: the Hub cannot be reached, or refuses.
    """
    newest = repository.newest()
    wrong = [case for case in whole.cases if not _has(newest.files, case, whole.storage.path or Path())]
    if wrong:
        message = (
            f"{repository} has not what was written of {len(wrong)} cases, such as {wrong[0].id}; run verify "
            f"on {whole.store.location}, then publish again"
        )
        raise DamagedStore(message)
    documents = dict(whole.top)
    card = dataset_card(str(repository), whole.store.records, whole.store.about)
    if MARK in (newest.read(CARD) or card).decode(errors="replace"):
        documents[CARD] = card
    changed = {key: data for key, data in documents.items() if not _is(newest.files.get(key), data)}
    repository.change(changed, whole.left_over(newest.files.keys()), "Catalog, root and card")


def _clear(whole: WholeStore, repository: Repository, there: _Files, pending: list[WholeCase]) -> None:
    """Take the root away where another case is in the place of one of these; else it is read meanwhile."""
    if layout.ROOT in there and any(case.receipt.key in there for case in pending):
        repository.change({}, [layout.ROOT], f"Make room for other cases of {whole.store.spec.name}")


def _has(there: _Files, case: WholeCase, folder: Path) -> bool:
    return all(
        key in there and there[key].holds(one.bytes, one.sha256, folder / key)
        for key, one in case.written.items()
    )


def _is(file: RemoteFile | None, data: bytes) -> bool:
    return file is not None and file.is_of(data)
