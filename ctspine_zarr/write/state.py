"""A new state of a store: the documents above its cases, and the switch to it."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import IncompleteBuild
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import (
    CatalogFile,
    Entry,
    Provenance,
    Refused,
    Root,
    counted,
    encode_catalog,
)
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, StoredObject
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.claims import Held
from ctspine_zarr.manifest.commit import is_put, sweep, switch
from ctspine_zarr.manifest.holdings import Holdings, read_holdings
from ctspine_zarr.manifest.inventory import documents_above, left_over, own_keys, splits_of
from ctspine_zarr.storage import Storage
from ctspine_zarr.text import some_names
from ctspine_zarr.write.case_objects import WRITER, version
from ctspine_zarr.write.document import PlanDocument
from ctspine_zarr.write.resume import whole_cases
from ctspine_zarr.write.tables import kept_tables, made_tables

_LIBRARIES: Final = ("zarr", "numcodecs", "numpy", "nibabel")


@dataclass(frozen=True)
class NewState:
    """What is to hold once a build has ended: its cases, and beside them those that were there.

    Attributes:
        document: of the plan.
        holdings: what was there.
        sizes: of the store's objects.
        done: case id -> line of the catalog, of each case of the plan that is whole.
        refused: cases of the plan that are not.
    """

    document: PlanDocument
    holdings: Holdings
    sizes: Mapping[str, int]
    done: Mapping[str, Entry]
    refused: tuple[Refusal, ...]

    @classmethod
    def now(cls, document: PlanDocument, storage: Storage, refused: Iterable[Refusal]) -> Self:
        """What is to hold by what a store has now, whoever built it.

        Args:
            document: of the plan.
            storage: of the store.
            refused: cases that could not be built; where another build could, they are not refused.
        """
        holdings, sizes = read_holdings(storage), storage.sizes()
        done = whole_cases(document, document.cases, holdings, sizes)
        return cls(document, holdings, sizes, done, tuple(one for one in refused if one.case not in done))

    def require_all(self, location: str) -> None:
        """Do nothing where each case of the plan is whole or refused.

        Raises:
            IncompleteBuild: one is neither; `missing` holds all.
        """
        refused = {refusal.case for refusal in self.refused}
        missing = tuple(case for case in self.document.ids if case not in self.done and case not in refused)
        if missing:
            message = (
                f"{location}: {len(missing)} of {len(self.document.cases)} cases are not built yet: "
                f"{some_names(missing)}; run the build, or its parts, again"
            )
            raise IncompleteBuild(message, missing)

    @property
    def splits(self) -> list[str]:
        """Names of the folders in which cases of this state, or of that before it, lie."""
        earlier = self.holdings.root
        return splits_of([self.document.dataset, earlier.dataset if earlier else None])

    def entries(self) -> dict[str, Entry]:
        """Case id -> line of the catalog, of every case.

        Those of the plan's cases, else those that the state before has; cases that an interrupted
        build, or one of other cases, wrote meanwhile are found by their receipts, if all is there.
        """
        entries = dict(self.holdings.entries)
        for kept in self.holdings.all_receipts:
            if all(self.sizes.get(key) == one.bytes for key, one in kept.receipt.keys.items()):
                entries.setdefault(kept.receipt.record.id, kept.entry)
        return entries | dict(self.done)

    def kept_tables(self, entries: Mapping[str, Entry], storage: Storage) -> dict[str, bytes]:
        """The tables of the state before, where it has these cases and they are whole; else none.

        Args:
            entries: case id -> line of the catalog, of every case.
            storage: of the store.
        """
        earlier, spec = self.holdings.root, self.document.dataset
        if earlier is None or earlier.dataset != spec or self.holdings.entries != entries:
            return {}
        return kept_tables(storage, earlier)

    def documents(
        self, entries: Mapping[str, Entry], provenance: Provenance, tables: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """The documents above the cases; see `documents_of`."""
        earlier = self.holdings.root
        now = [Refused(one.case, _reason(one, entries)) for one in self.refused]
        before = [
            one
            for one in (earlier.refused if earlier else ())
            if one.case in self.document.elsewhere and one.case not in entries
        ]
        return documents_of(entries, [*now, *before], self.document.dataset, provenance, tables)


@dataclass(frozen=True)
class Change:
    """The difference between a state and what is there.

    Attributes:
        entries: case id -> line of the catalog.
        documents: above the cases, the root the last.
        left_over: keys that no state names any more.
        is_none: whether nothing is to be written or removed.
    """

    entries: Mapping[str, Entry]
    documents: Mapping[str, bytes]
    left_over: Sequence[str]
    is_none: bool


def change_to(state: NewState, storage: Storage) -> Change:
    """What makes a state hold; nothing is written."""
    earlier, entries = state.holdings.root, state.entries()
    kept = earlier.provenance if earlier and not earlier.is_partial else None
    proven = state.kept_tables(entries, storage)
    tables = proven or made_tables(storage, entries.values(), state.document.dataset)
    documents = state.documents(entries, kept or own_provenance(), tables)
    if kept and storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES) != documents[layout.ROOT]:
        documents = state.documents(entries, own_provenance(), tables)
    own = own_keys(documents, entries.values(), state.holdings.all_receipts)
    left = left_over(state.sizes, own, state.splits)
    is_there = all(is_put(storage, key, data) for key, data in documents.items() if key not in proven)
    is_tidy = not left and not any(map(layout.is_build, state.sizes)) and not storage.irregular()
    return Change(entries, documents, left, is_none=is_there and is_tidy)


def make_hold(state: NewState, held: Held) -> Mapping[str, Entry]:
    """Make a state hold, behind the gate; then remove what no state names, unless others write still.

    The plan is carried out with that: it goes, with the claims of its parts that have ended.

    Returns:
        Its cases: id -> line of the catalog.

    Raises:
        IncompleteBuild: a case of the plan has neither a receipt nor a reason: the state before holds.
        StorageError, StoreInUse: it holds as well.
    """
    storage = held.storage
    state.require_all(storage.location)
    change = change_to(state, storage)
    switch(storage, change.documents)
    held.sweep_builds()
    if not held.others():
        sweep(storage, change.left_over, state.splits)
    return change.entries


def make_some_hold(built: Collection[Entry], held: Held) -> None:
    """Make a state hold, behind the gate, in which these cases have taken the place of their earlier ones.

    Those go, and nothing else: other cases may be written meanwhile.

    Raises:
        StorageError, StoreInUse: the state before holds.
    """
    storage = held.storage
    holdings = read_holdings(storage)
    if holdings.root is None or holdings.root.is_partial:
        return
    done = {one.record.id: one for one in built if one.record.id in holdings.entries}
    entries = dict(holdings.entries) | done
    root = holdings.root
    tables = made_tables(storage, entries.values(), root.dataset)
    documents = documents_of(entries, root.refused, root.dataset, own_provenance(), tables)
    switch(storage, documents)
    receipts = [kept for case in done for kept in holdings.receipts.get(case, ())]
    own = own_keys(documents, entries.values(), receipts)
    earlier = [key for kept in receipts for key in (kept.receipt.key, *kept.receipt.keys)]
    for key in (*earlier, *filter(layout.is_catalog, storage.sizes())):
        if key not in own:
            storage.remove(key)


def own_provenance(written: str | None = None) -> Provenance:
    """Who writes, and when: now, where nothing else is said."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Provenance(
        writer=WRITER,
        written=now if written is None else written,
        python=platform.python_version(),
        libraries={name: version(name) for name in _LIBRARIES},
    )


def documents_of(
    entries: Mapping[str, Entry],
    refused: Iterable[Refused],
    spec: Spec,
    provenance: Provenance,
    tables: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The documents above the cases, in the order of writing: key -> bytes, the root the last. Pure.

    Args:
        entries: case id -> line of the catalog, of every case of the state, of this build or an earlier one.
        refused: cases with a reason why they are not there, or only as an earlier build has
            them; they travel in the root's attributes.
        spec: the dataset's description.
        provenance: what wrote the store and when; the only part that differs between builds.
        tables: of these cases, see `made_tables`.
    """
    reasons = {entry.case: entry for entry in sorted(refused, key=lambda entry: entry.case)}
    catalog = encode_catalog(spec, entries.values())
    root = Root(
        dataset=spec,
        catalog=CatalogFile(sha256(catalog), len(catalog), len(entries)),
        cases=counted(spec, (entry.record for entry in entries.values())),
        refused=tuple(reasons.values()),
        provenance=provenance,
        tables={key: StoredObject.of(data) for key, data in tables.items()},
    )
    return documents_above(root, entries.values(), tables, catalog)


def _reason(refusal: Refusal, entries: Mapping[str, Entry]) -> str:
    kept = "; as an earlier build read it, it is still in the store" if refusal.case in entries else ""
    return refusal.reason + kept
