"""A store to be published: what it consists of, as its receipts have it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, StoredObject, decode_receipt
from ctspine_zarr.manifest.inventory import documents_above, left_over, own_keys
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import Storage, all_at_once


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

    @cached_property
    def cases(self) -> tuple[WholeCase, ...]:
        """In the catalog's order.

        Raises:
            DamagedStore: a receipt is missing, or is not the one that the catalog has.
        """
        return tuple(all_at_once(self._case, list(self.store.entries.values())))

    @cached_property
    def top(self) -> Mapping[str, bytes]:
        """The documents above the cases, in the order of writing: the root is the last."""
        return documents_above(self.store.about, self.store.entries.values())

    def left_over(self, keys: Collection[str]) -> list[str]:
        """Keys, among those of another place, of what is there from an earlier state of this store."""
        receipts = [case.receipt for case in self.cases]
        own = own_keys(self.top, self.store.entries.values(), receipts)
        return left_over(keys, own, [self.store.spec])

    def require_place(self, location: str, keys: Collection[str]) -> None:
        """Do nothing where a place holds nothing but what may be an earlier copy of this store.

        Raises:
            StoreMismatch: it holds cases that this store has not, or something else.
        """
        receipts = {key for key in keys if key.startswith(layout.RECEIPTS)}
        ids = {layout.case_in(key) for key in receipts}
        others = sorted(ids - set(self.store.entries))
        if others:
            message = (
                f"{location} has {len(others)} cases that {self.store.location} has not, such as "
                f"{others[0]}; publish to another place"
            )
            raise StoreMismatch(message)
        if layout.ROOT in keys and not receipts:
            message = f"{location} holds a {layout.ROOT} that is not ours; publish to another place"
            raise StoreMismatch(message)

    def _case(self, entry: Entry) -> WholeCase:
        key = entry.record.receipt_key
        data = self.storage.get(key, most=MOST_DOCUMENT_BYTES)
        try:
            receipt = decode_receipt(data, key)
        except (Malformed, OtherFormat) as error:
            message = f"{self.store.location}, case {entry.record.id}: its receipt is damaged ({error}); "
            raise DamagedStore(message + "run verify") from error
        if data is None or sha256(data) != entry.receipt:
            message = (
                f"{self.store.location}, case {entry.record.id}: its receipt was altered: its sha256 is not "
                "that in the catalog; run verify"
            )
            raise DamagedStore(message)
        return WholeCase(receipt, data)


def proven(storage: Storage, key: str, written: StoredObject) -> bytes:
    """An object that is what was written.

    Raises:
        DamagedStore: it is not.
    """
    [found] = storage.ranges(key, [(0, written.bytes + 1)])
    data = bytes(found)
    if sha256(data) != written.sha256:
        size = storage.size(key)
        seen = "is missing" if size is None else f"has {size} bytes of another sha256"
        message = f"{storage.location}: {key} {seen}; {written.bytes} bytes were written; run verify"
        raise DamagedStore(message)
    return data
