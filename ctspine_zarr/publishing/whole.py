"""A store to be published: what it consists of, as its receipts have it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, tables_named
from ctspine_zarr.format.receipt import Receipt, StoredObject, decode_receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.holdings import require_none
from ctspine_zarr.manifest.inventory import OwnKeys, among_cases, documents_above, left_over, own_keys
from ctspine_zarr.manifest.receipts import KeptReceipt
from ctspine_zarr.manifest.state import kept_root
from ctspine_zarr.read.proof import proven, proven_object
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import Storage, all_at_once

type _Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class WholeCase:
    """A case's objects as they were written.

    Attributes:
        receipt: of the case.
        data: the receipt's bytes.
    """

    receipt: Receipt
    data: bytes

    @property
    def id(self) -> str:
        """Of the case."""
        return self.receipt.record.id

    @property
    def objects(self) -> Mapping[str, StoredObject]:
        """Key below the store -> size and sha256, the receipt not included."""
        return self.receipt.keys

    @cached_property
    def written(self) -> dict[str, StoredObject]:
        """Key below the store -> size and sha256 of every object, the receipt included, as the last."""
        return {**self.objects, self.receipt.key: StoredObject.of(self.data)}

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(one.bytes for one in self.written.values())


@dataclass(frozen=True, slots=True)
class WholeObjects:
    """The objects of a store, proven as they are read. Pickles as its storage does.

    Attributes:
        storage: where the store is.
        reading: by which a store that was updated meanwhile is told.
    """

    storage: Storage
    reading: Reading

    def proven[Found](
        self, prove: Callable[[Storage, str, StoredObject], Found], key: str, written: StoredObject
    ) -> Found:
        """The result of a proof of one of them, such as the object's bytes.

        Args:
            prove: raises Malformed where the object is not what was written.
            key: of the object.
            written: what its receipt says of it.

        Raises:
            DamagedStore: the object is not what was written.
            StoreUpdated: it is not, since the store was updated.
        """
        try:
            return prove(self.storage, key, written)
        except Malformed as error:
            self.reading.require_current(self.storage.location)
            message = f"{self.storage.location}: {key} {error}; run verify"
            raise DamagedStore(message) from error


@dataclass(frozen=True)
class WholeStore:
    """A store with the documents that say what belongs to it.

    Raises:
        StoreMismatch: its first build has not ended.
    """

    store: Store

    def __post_init__(self) -> None:
        if self.store.is_partial:
            message = f"{self.store.location} is partial: its first build has not ended; run it to the end"
            raise StoreMismatch(message)

    @property
    def storage(self) -> Storage:
        """Where it is."""
        return self.store.storage

    @property
    def objects(self) -> WholeObjects:
        """Of its cases."""
        return WholeObjects(self.storage, self.store.reading)

    @cached_property
    def cases(self) -> tuple[WholeCase, ...]:
        """In the catalog's order.

        Raises:
            DamagedStore: a receipt is missing, or is not the one that the catalog has.
        """
        return tuple(all_at_once(self._case, list(self.store.entries.values())))

    @cached_property
    def top(self) -> Mapping[str, bytes]:
        """The documents above the cases, in the order of writing: the root is the last.

        Raises:
            DamagedStore: a table is not the one that the root has, or the root is altered.
            StoreUpdated: it is not, since the store was updated.
        """
        # As it is there: a root of another version may have other fields, and its seal is known to others.
        root = kept_root(self.storage, self.store.root)
        if root is None:
            self.store.reading.require_current(self.storage.location)
            message = f"{self.storage.location}: {layout.ROOT} was altered; run verify"
            raise DamagedStore(message)
        above = documents_above(self.store.root, self.store.entries.values(), self.tables)
        return {**above, layout.ROOT: root}

    @cached_property
    def tables(self) -> Mapping[str, bytes]:
        """Key -> bytes of the tables.

        Raises: as `top`.
        """
        named = self.store.root.tables.items()
        return {key: bytes(self.objects.proven(proven_object, key, one)) for key, one in named}

    @cached_property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        """Key of a table -> column -> its kind.

        Raises:
            DamagedStore: a table is no Parquet file.
        """
        # Arrow is slow to import, and those who copy cases do not need it.
        from ctspine_zarr.tables.parquet import columns_of

        try:
            return {key: columns_of(data) for key, data in self.tables.items()}
        except Malformed as error:
            message = f"{self.storage.location}: a table {error}; build it again"
            raise DamagedStore(message) from error

    def left_over(self, keys: Collection[str]) -> list[str]:
        """Keys, among those of another place, of what is there from an earlier state of this store."""
        return left_over(keys, self._own, self.store.spec.splits)

    def require_place(self, location: str, keys: Collection[str], read: _Read) -> None:
        """Do nothing where a place holds nothing but what may be an earlier copy of this store.

        Args:
            location: of the place.
            keys: of what it holds.
            read: gives an object of it.

        Raises:
            StoreMismatch: it holds another dataset, cases that this store has not, or something else.
        """
        splits = self.store.spec.splits
        self._require_tables(location, keys, read)
        receipts = sorted(key for key in keys if key.startswith(layout.RECEIPTS))
        is_copy = _is_copy(self.store.spec, location, receipts, read)
        foreign = [key for key in among_cases(keys, splits) if key not in self._own]
        if is_copy:
            foreign = [key for key in foreign if not layout.is_written(key, splits)]
        require_none(foreign, location)
        others = sorted({layout.case_in(key) for key in receipts} - set(self.store.entries))
        if others:
            message = (
                f"{location} has {len(others)} cases that {self.store.location} has not, such as "
                f"{others[0]}; publish to another place"
            )
            raise StoreMismatch(message)
        if layout.ROOT in keys and not receipts:
            message = f"{location} holds a {layout.ROOT} that is not ours; publish to another place"
            raise StoreMismatch(message)

    def _require_tables(self, location: str, keys: Collection[str], read: _Read) -> None:
        """Do nothing where no file of others lies at a place in that of a table; see `require_place`."""
        from ctspine_zarr.tables.parquet import is_marked

        there = [key for key in self.tables if key in keys]
        named = tables_named(read(layout.ROOT)) if there and layout.ROOT in keys else ()
        for key in there:
            if key not in named and not is_marked(read(key) or b""):
                message = f"{location} holds a {key} that is no table of a store; publish to another place"
                raise StoreMismatch(message)

    @cached_property
    def _own(self) -> OwnKeys:
        entries = self.store.entries.values()
        proven_by = zip(self.cases, entries, strict=True)
        receipts = [KeptReceipt(case.receipt, entry.receipt) for case, entry in proven_by]
        return own_keys(self.top, entries, receipts)

    def _case(self, entry: Entry) -> WholeCase:
        key = entry.record.receipt_key

        def parse(data: bytes | None) -> WholeCase:
            # As it is there: a later version's receipt may have fields that this one does not know.
            return WholeCase(decode_receipt(data, key), data or b"")

        return proven(self.storage, self.store.reading, key, entry.receipt, parse)


def _is_copy(spec: Spec, location: str, receipts: Sequence[str], read: _Read) -> bool:
    """Whether a place has a receipt that holds; it must be of the dataset."""
    for key in receipts:
        try:
            receipt = decode_receipt(read(key), key)
        except (Malformed, OtherFormat):
            continue
        if receipt.dataset != spec.name:
            message = f"{location} holds {receipt.dataset}, asked for {spec.name}; publish to another place"
            raise StoreMismatch(message)
        return True
    return False
