"""The contents of a store when a build begins: its state, and every receipt that holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, NotAStore, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Root, require_dataset
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import UNKNOWN, Spec
from ctspine_zarr.manifest.inventory import case_folders
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Storage


@dataclass(frozen=True)
class Holdings:
    """The contents of a store before anything is written.

    Attributes:
        root: None where there is none, or a damaged one.
        entries: case id -> line of the catalog.
        receipts: case id -> every receipt that holds, that of the catalog first.
        mark: see `holdings_mark`.
    """

    root: Root | None
    entries: Mapping[str, Entry]
    receipts: Mapping[str, tuple[KeptReceipt, ...]]
    mark: str

    @property
    def ids(self) -> frozenset[str]:
        """Of every case that the store knows."""
        return frozenset(self.entries) | frozenset(self.receipts)

    @property
    def all_receipts(self) -> list[KeptReceipt]:
        """Every receipt that holds."""
        return [kept for some in self.receipts.values() for kept in some]

    def earlier(self, case: str) -> Record | None:
        """The record that a case has now, by which its group may be open; None for a new case."""
        if case in self.entries:
            return self.entries[case].record
        return self.receipts[case][0].receipt.record if case in self.receipts else None


def read_holdings(storage: Storage) -> Holdings:
    """What a store holds; nothing where there is no store.

    Raises:
        StoreMismatch: something else is there, or a store of another format.
        StorageError: the location cannot be read.
    """
    mark = holdings_mark(storage)
    receipts = read_receipts(storage)
    state = _state(storage, receipts)
    entries = {} if state is None else {entry.record.id: entry for entry in state.entries}
    found: dict[str, list[KeptReceipt]] = defaultdict(list)
    for kept in receipts:
        case = kept.receipt.record.id
        is_committed = case in entries and entries[case].receipt == kept.sha256
        found[case].insert(0 if is_committed else len(found[case]), kept)
    root = None if state is None else state.root
    return Holdings(root, entries, {case: tuple(some) for case, some in found.items()}, mark)


def holdings_mark(storage: Storage) -> str:
    """What changes when the contents of a store do: root, or keys and sizes of receipts."""
    root = storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES) or b""
    return sha256(root + repr(storage.sizes(layout.RECEIPTS)).encode())


def require_same_dataset(holdings: Holdings, spec: Spec, location: str) -> None:
    """Do nothing where a store is empty, or of the dataset that is to be written to it.

    Raises:
        StoreMismatch: it is of another.
    """
    if holdings.root is not None:
        _require_same_spec(holdings.root, spec, location)
    for kept in holdings.all_receipts:
        try:
            require_dataset(kept.receipt, spec)
        except Malformed as error:
            message = f"{location} has {kept.receipt.key}: {error}; build into another place"
            raise StoreMismatch(message) from error


def require_own_folders(storage: Storage, spec: Spec) -> None:
    """Do nothing where the folders that a dataset's cases go to are empty, before a first build.

    Raises:
        StoreMismatch: something lies there: it is of no store, whatever its name.
        StorageError: the location cannot be read.
    """
    keys = [key for folder in case_folders(spec.splits) for key in storage.sizes(f"{folder}/")]
    require_none(keys, storage.location)


def require_none(others: Sequence[str], location: str) -> None:
    """Do nothing where there are no keys of what is of no store and lies where its cases go.

    Raises:
        StoreMismatch: there are.
    """
    if others:
        message = (
            f"{location} holds {len(others)} objects that are of no store where its cases would be, such as "
            f"{others[0]}; legal: a place of its own"
        )
        raise StoreMismatch(message)


def with_terms(spec: Spec, holdings: Holdings) -> Spec:
    """A dataset's description, with the licence and citation that the store has where it has none itself."""
    if holdings.root is None:
        return spec
    kept = holdings.root.dataset
    return structs.replace(
        spec,
        licence=kept.licence if spec.licence == UNKNOWN else spec.licence,
        citation=kept.citation if spec.citation == UNKNOWN else spec.citation,
    )


def _require_same_spec(root: Root, spec: Spec, location: str) -> None:
    own, new = (
        (one.name, one.mask, dict(one.labels), one.splits, one.sources, one.derived)
        for one in (root.dataset, spec)
    )
    if own != new:
        message = (
            f"{location} holds {root.dataset.name} with {len(root.dataset.labels)} labels, asked to add "
            f"{spec.name} with {len(spec.labels)}; legal: the same dataset, or another store"
        )
        raise StoreMismatch(message)


def _state(storage: Storage, receipts: Collection[KeptReceipt]) -> State | None:
    """The state of the store; None where there is none, or it can only be made again from receipts."""
    if storage.size(layout.ROOT) is None:
        return None
    try:
        return load(storage, receipts)
    except DamagedStore as error:
        if receipts:
            return None
        raise _not_ours(storage) from error
    except NotAStore as error:
        raise _not_ours(storage, str(error)) from error


def _not_ours(storage: Storage, reason: str = "") -> StoreMismatch:
    seen = reason or f"{storage.location} holds a {layout.ROOT} that is not ours"
    return StoreMismatch(f"{seen}; build into another place")
