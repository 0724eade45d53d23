"""Publish a store: the one way to a bucket, another folder or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ctspine_zarr.publishing.copy import copy_cases, copy_top
from ctspine_zarr.publishing.whole import WholeStore
from ctspine_zarr.read.store import open_store
from ctspine_zarr.storage import Location, open_storage

_HUB = "hf://"


@dataclass(frozen=True, slots=True)
class CasePublished:
    """A case is whole at its new place.

    Attributes:
        case: its id.
        bytes: of its objects.
        copied: whether they had to be sent; else they were there.
    """

    case: str
    bytes: int
    copied: bool


@dataclass(frozen=True, slots=True)
class Published:
    """What was done.

    Attributes:
        location: where the store now is, too.
        cases: of the store; none where the Hub's client keeps count.
        total: cases of the store.
    """

    location: str
    cases: tuple[CasePublished, ...]
    total: int


def publish(
    store: Location,
    target: Location,
    *,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    private: bool = False,
    on_case: Callable[[CasePublished], None] | None = None,
) -> Published:
    """Bring a store to another place; what is there already, of an interrupted run too, is kept.

    In a bucket or folder every object is read back and compared with its receipt. On the Hub the
    record of every file is. The catalog and the root come last: until then there is no store. A
    card on the Hub, as the root itself, says the licence and whom to cite.

    Args:
        store: any that opens; for the Hub one in a local folder.
        target: s3://, gs://, az://, a path, a zarr Store, or hf://datasets/USER/NAME[@BRANCH][/PATH].
        storage_options, target_options: of either; see `open_store`.
        private: a repository on the Hub that is made.
        on_case: told of each case that is whole there, in this thread; not for the Hub, whose
            client shows its own progress.

    Raises:
        NotAStore, DamagedStore: there is no store, or an object is not what its receipt says.
        StoreMismatch: the target holds something else.
        StorageError, HubError: either side cannot be read or written.
    """
    whole = WholeStore(open_store(store, storage_options=storage_options))
    if isinstance(target, str) and target.startswith(_HUB):
        # Half a second to import, which a copy need not wait for.
        from ctspine_zarr.hub import Repository
        from ctspine_zarr.publishing.hub import upload

        repository = Repository.at(target, target_options or {})
        upload(whole, repository, private=private)
        return Published(str(repository), (), len(whole.store))
    storage = open_storage(target, options=target_options)
    done = []
    for case, copied in copy_cases(whole, storage):
        done.append(CasePublished(case.id, case.bytes, copied))
        if on_case is not None:
            on_case(done[-1])
    copy_top(whole, storage)
    return Published(storage.location, tuple(done), len(done))
