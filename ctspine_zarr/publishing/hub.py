"""A store in a dataset repository on the Hub, with a card, compared with the Hub's record of it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ctspine_zarr.errors import DamagedStore, Malformed, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, StoredObject
from ctspine_zarr.hub.files import LocalFile, RemoteFile
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.publishing.beside import There, changes_beside
from ctspine_zarr.publishing.whole import WholeCase, WholeStore
from ctspine_zarr.read.proof import proven_object, require_object
from ctspine_zarr.storage import Storage, all_at_once

# Of a commit, which is there whole or not at all; a dataset of 1,005 cases takes 41.
_CASES_AT_A_TIME: Final = 25
# Of the documents of a commit that changes cases in their place.
_MOST_AT_ONCE: Final = 1 << 26
# Of an object that is sent from memory, as it was proven; a larger one is sent from its file.
_MOST_IN_MEMORY: Final = 1 << 20

type _Files = Mapping[str, RemoteFile]


def upload_cases(whole: WholeStore, repository: Repository) -> Generator[tuple[WholeCase, int]]:
    """Upload the objects that are not there yet, some cases a commit; each is proven before it is sent.

    Where cases that are there change in their place, as by new metadata, all is one commit, catalog and root
    included, up to 64 MiB of documents: whoever reads the branch sees the state before or the one after. If
    there is more, the root goes first.

    Args:
        whole: in a local folder.
        repository: made where it does not exist.

    Yields:
        Each case as it is there, and how many bytes of it had to be uploaded.

    Raises:
        StorageError: the store is not in a local folder.
        StoreMismatch: the repository holds something else, or cases that the store has not.
        DamagedStore: an object is not what its receipt says.
        StoreUpdated: it is not, since the store was updated.
        HubError: the Hub cannot be reached, or refuses.
    """
    folder = whole.storage.path
    if folder is None:
        message = f"{whole.store.location} to the Hub; legal: a store in a local folder"
        raise StorageError(message)
    newest = repository.newest()
    there = newest.files
    whole.require_place(str(repository), there.keys(), partial(newest.read, span=(0, MOST_DOCUMENT_BYTES)))
    missing = {case.id: _missing(there, case, whole.storage) for case in whole.cases}
    pending = [case for case in whole.cases if missing[case.id]]
    in_place = layout.ROOT in there and any(case.receipt.key in there for case in pending)
    is_at_once = in_place and _document_bytes(pending, missing) <= _MOST_AT_ONCE
    if in_place and not is_at_once:
        # A root would speak of cases of which others are already in the place.
        repository.change({}, [layout.ROOT], f"Make room for other cases of {whole.store.spec.name}")
    for case in whole.cases:
        if not missing[case.id]:
            yield case, 0
    for cases in itertools.batched(pending, max(1, len(pending)) if is_at_once else _CASES_AT_A_TIME):
        files = {
            key: data
            for case in cases
            for key, data in _proven(whole, folder, case, missing[case.id]).items()
        }
        top = _top(whole, repository, newest) if is_at_once else _Top({}, [], ())
        repository.change({**files, **top.put}, top.removed, f"{len(cases)} cases of {whole.store.spec.name}")
        yield from ((case, sum(case.written[key].bytes for key in missing[case.id])) for case in cases)


def upload_top(whole: WholeStore, repository: Repository) -> tuple[str, ...]:
    """What makes it a store, and what goes along, in one commit, once every object of every case is there.

    Returns:
        Keys of documents beside it that somebody changed there, and that were left as they are.

    Raises:
        DamagedStore: what the Hub says it has is not what was written.
        HubError: the Hub cannot be reached, or refuses.
    """
    newest = repository.newest()
    wrong = [case for case in whole.cases if _missing(newest.files, case, whole.storage)]
    if wrong:
        if _matches(newest.files.get(layout.ROOT), whole.top[layout.ROOT]):
            repository.change({}, [layout.ROOT], "Take away a root whose cases are not there")
        message = (
            f"{repository} has not what was written of {len(wrong)} cases, such as {wrong[0].id}; run verify "
            f"on {whole.store.location}, then publish again"
        )
        raise DamagedStore(message)
    top = _top(whole, repository, newest)
    repository.change(top.put, top.removed, "Catalog, root and what goes along with them")
    return top.kept


@dataclass(frozen=True, slots=True)
class _Top:
    """What is to be done above and beside the cases of a repository.

    Attributes:
        put: key -> document.
        removed: keys of what is left over there.
        kept: keys of documents that somebody changed there.
    """

    put: dict[str, bytes]
    removed: list[str]
    kept: tuple[str, ...]


def _top(whole: WholeStore, repository: Repository, newest: Repository) -> _Top:
    there = There(
        {key: file.size for key, file in newest.files.items()},
        lambda key, most: newest.read(key, (0, most)),
        lambda key, data: newest.files[key].is_of(data),
    )
    beside = changes_beside(whole, str(repository), there)
    documents = {**whole.top, **dict(beside.steps)}
    changed = {key: data for key, data in documents.items() if data is not None and not there.has(key, data)}
    removed = [key for key, data in documents.items() if data is None]
    return _Top(changed, [*whole.left_over(newest.files.keys()), *removed], beside.kept)


def _document_bytes(cases: Iterable[WholeCase], missing: Mapping[str, Collection[str]]) -> int:
    """Of what is missing of cases, without shards, which are sent by themselves."""
    return sum(
        case.written[key].bytes
        for case in cases
        for key in missing[case.id]
        if not key.endswith(f"/{layout.SHARD}")
    )


def _proven(
    whole: WholeStore, folder: Path, case: WholeCase, keys: Collection[str]
) -> dict[str, bytes | LocalFile]:
    """Key below the store -> what is to be sent of a case, its receipt as the last.

    What leads out of the store is no object of it, and is neither read nor sent.
    """

    def prove(key: str) -> bytes | LocalFile:
        written = case.objects[key]
        if written.bytes <= _MOST_IN_MEMORY:
            return bytes(whole.objects.proven(proven_object, key, written))
        whole.objects.proven(require_object, key, written)
        return LocalFile(folder / key, written.sha256)

    objects = [key for key in case.objects if key in keys]
    found = dict(zip(objects, all_at_once(prove, objects), strict=True))
    return found | ({case.receipt.key: case.data} if case.receipt.key in keys else {})


def _missing(there: _Files, case: WholeCase, storage: Storage) -> frozenset[str]:
    """Keys of a case's objects, its receipt included, of which the Hub has no record that is theirs."""
    return frozenset(
        key
        for key, one in case.written.items()
        if key not in there
        or not there[key].holds(one.bytes, one.sha256, partial(_intact, storage, key, one))
    )


def _intact(storage: Storage, key: str, written: StoredObject) -> bytes | None:
    """The bytes of an object; None where it is not what was written."""
    try:
        return bytes(proven_object(storage, key, written))
    except Malformed:
        return None


def _matches(file: RemoteFile | None, data: bytes) -> bool:
    return file is not None and file.is_of(data)
