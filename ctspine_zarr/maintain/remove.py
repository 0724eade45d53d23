"""Cases taken out of a store."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from ctspine_zarr.errors import StoreMismatch, require_case
from ctspine_zarr.manifest.claims import Claim, claimed, gate
from ctspine_zarr.manifest.commit import sweep, switch
from ctspine_zarr.manifest.inventory import left_over, own_keys, splits_of
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.state import documents_of, own_provenance


def remove(
    location: Location, cases: str | Collection[str], *, storage_options: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Take cases out of a store: its new state has them no more, then their objects go.

    Whoever reads meanwhile sees the state before, or one error that says: updated, open again. A build
    from a source that has the cases brings them back, unless others are selected.

    Args:
        location: of the store.
        cases: ids.
        storage_options: see `open_store`.

    Returns:
        The ids, in order.

    Raises:
        NotAStore, DamagedStore: there is no store, or its root or catalog is damaged.
        StoreMismatch: its first build has not ended.
        UnknownCase: an id that the store does not have; nothing was removed.
        StoreInUse: another process writes to the store.
        StorageError: the store cannot be read or written.
    """
    ids = {cases} if isinstance(cases, str) else set(cases)
    storage = open_storage(location, options=storage_options)
    _require_there(ids, storage)
    claim = Claim.own(secrets.token_hex(32), f"to remove {len(ids)} cases")
    with claimed(storage, claim) as held, gate(storage):
        # As it is now that nobody else writes.
        state = _require_there(ids, storage)
        _remove(ids, state, storage)
        held.release()
    return tuple(sorted(ids))


def _require_there(ids: Collection[str], storage: Storage) -> State:
    """The state of a store that has these cases."""
    state = load(storage)
    if state.is_partial:
        message = f"{storage.location} is partial: its first build has not ended; run it to the end"
        raise StoreMismatch(message)
    for case in sorted(ids):
        require_case(case, state.records.keys(), storage.location)
    return state


def _remove(ids: Collection[str], state: State, storage: Storage) -> None:
    entries = {entry.record.id: entry for entry in state.entries if entry.record.id not in ids}
    refused = [one for one in state.root.refused if one.case not in ids]
    documents = documents_of((), entries, refused, state.spec, own_provenance())
    switch(storage, documents)
    own = own_keys(documents, entries.values(), read_receipts(storage))
    splits = splits_of([state.spec])
    sweep(storage, left_over(storage.sizes(), own, splits), splits)
