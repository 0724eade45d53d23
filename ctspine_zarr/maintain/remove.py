"""Cases taken out of a store."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ctspine_zarr.errors import require_case
from ctspine_zarr.format import layout
from ctspine_zarr.manifest.claims import Claim, Held, claimed
from ctspine_zarr.manifest.commit import switch
from ctspine_zarr.manifest.inventory import keys_above
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.state import documents_of, own_provenance
from ctspine_zarr.write.tables import made_tables


def remove(
    location: Location,
    cases: str | Collection[str],
    *,
    take_over: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Take cases out of a store: its new state has them no more, then their objects go, and nothing else.

    Whoever reads meanwhile sees the state before, or one error that says: updated, open again. A build
    from a source that has the cases brings them back, unless others are selected. Interrupted, it may be
    run again.

    Args:
        location: of the store.
        cases: ids, also of cases that an interrupted build or removal has left.
        take_over: see `build_store`.
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
    if not ids:
        return ()
    claim = Claim.own(secrets.token_hex(32), f"to remove {len(ids)} cases")
    with claimed(storage, claim, take_over=take_over) as held, held.gate():
        # As it is now that nobody else writes.
        state, receipts = _require_there(ids, storage)
        _remove(ids, state, receipts, held)
        held.release()
    return tuple(sorted(ids))


def _require_there(ids: Collection[str], storage: Storage) -> tuple[State, list[KeptReceipt]]:
    """The state of a store that has these cases, or what is left of them, and all its receipts."""
    state, receipts = load(storage), read_receipts(storage)
    state.require_ended(storage.location)
    known = state.records.keys() | {kept.receipt.record.id for kept in receipts}
    for case in sorted(ids):
        require_case(case, known, storage.location)
    return state, receipts


def _remove(ids: Collection[str], state: State, receipts: Iterable[KeptReceipt], held: Held) -> None:
    storage = held.storage
    entries = {entry.record.id: entry for entry in state.entries if entry.record.id not in ids}
    earlier = keys_above(state.root, state.entries)
    above: Collection[str] = earlier
    if len(entries) < len(state.entries):
        refused = [one for one in state.root.refused if one.case not in ids]
        tables = made_tables(storage, entries.values(), state.spec)
        documents = documents_of(entries, refused, state.spec, own_provenance(), tables)
        switch(storage, documents)
        above = documents
    records = [entry.record for entry in state.entries] + [kept.receipt.record for kept in receipts]
    gone = {record.receipt_key: record for record in records if record.id in ids}
    for receipt, record in gone.items():
        # The receipt last: by it a removal that was cut off is taken up again, and no build takes up a
        # case whose objects are gone.
        for key in (*storage.sizes(f"{record.path}/"), receipt):
            storage.remove(key)
    for key in storage.sizes():
        # The groups too of a split or a source that has no case any more.
        if (layout.is_catalog(key) or key in earlier) and key not in above:
            storage.remove(key)
