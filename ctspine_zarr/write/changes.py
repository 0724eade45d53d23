"""Changes to what the documents of cases say, whose voxels stay: then a state that says so, by one switch.

What the cases had of documents is written over, behind the gate: whoever is interrupted between that and the
switch leaves a store that opens, whose voxels are read as before, and which the same work, done again,
completes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, encode_receipt
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.claims import Held
from ctspine_zarr.manifest.commit import put_changed, sweep, switch
from ctspine_zarr.manifest.inventory import OwnKeys, left_over
from ctspine_zarr.manifest.state import load
from ctspine_zarr.storage import Storage, all_at_once
from ctspine_zarr.write.label_sets import WrittenCase
from ctspine_zarr.write.state import documents_of, own_provenance
from ctspine_zarr.write.tables import made_tables


def read_documents(storage: Storage, record: Record) -> WrittenCase:
    """A case as its documents have it, which may be ahead of the catalog.

    Args:
        storage: of the store.
        record: of the case, as the catalog has it.

    Raises:
        Malformed, OtherFormat: they are no receipt and no group of a case.
        StorageError: they cannot be read.
    """
    keys = [record.receipt_key, f"{record.path}/{layout.METADATA}"]
    receipt, group = storage.get_each(keys, most=MOST_DOCUMENT_BYTES)
    return WrittenCase.of(receipt, group, record)


@dataclass(frozen=True)
class Change:
    """A case of which its documents are to say something else; they are not written yet, its voxels are.

    Attributes:
        entry: its line of the catalog to be.
        documents: key below the store -> bytes, of what is written over, the receipt last.
    """

    entry: Entry
    documents: Mapping[str, bytes]

    @classmethod
    def to(cls, case: WrittenCase, spec: Spec) -> Self:
        """The change to this."""
        record = case.facts.record
        documents = case.documents(spec)
        inner = [f"{layout.mask_group(name)}/{layout.METADATA}" for name in record.sets]
        keys = [*inner, f"{layout.LABEL_GROUP}/{layout.METADATA}", layout.METADATA]
        changed = {f"{record.path}/{key}": documents[key] for key in keys if key in documents}
        return cls(case.entry, {**changed, case.receipt.key: encode_receipt(case.receipt)})


def make_hold(changes: Collection[Change], held: Held) -> None:
    """Make a state hold in which cases have changed; then its catalog alone is there.

    Raises:
        StorageError, StoreInUse: the state before holds, but that documents of some cases may be ahead.
    """
    storage = held.storage
    with held.gate():
        state = load(storage)
        all_at_once(lambda change: _put(change, storage), list(changes))
        entries = {entry.record.id: entry for entry in state.entries}
        entries |= {change.entry.record.id: change.entry for change in changes}
        tables = made_tables(storage, entries.values(), state.spec)
        documents = documents_of(entries, state.root.refused, state.spec, own_provenance(), tables)
        switch(storage, documents)
        if state.root.catalog is not None and state.root.catalog.key not in documents:
            storage.remove(state.root.catalog.key)


def tidy(held: Held) -> None:
    """Remove what is left of label sets that no case has, and of catalogs, and write no more.

    Raises:
        StorageError: something could not be removed: the state holds nevertheless.
    """
    storage = held.storage
    with held.gate():
        state = load(storage)
        own = {
            f"{one.record.path}/{key}" for one in state.entries for key in one.record.keys(state.spec.mask)
        }
        within = tuple(f"{one.record.path}/{layout.LABEL_GROUP}/" for one in state.entries)
        own |= set() if state.root.catalog is None else {state.root.catalog.key}
        ours = (key for key in storage.sizes() if layout.is_catalog(key) or key.startswith(within))
        sweep(storage, left_over(ours, OwnKeys(frozenset(own), ()), state.spec.splits), state.spec.splits)
        held.release()


def _put(change: Change, storage: Storage) -> None:
    for key, data in change.documents.items():
        put_changed(storage, key, data)
