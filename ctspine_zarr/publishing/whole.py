"""What a store consists of, as its receipts have it, and what of a place is not of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from ctspine_zarr.dataset import SPLIT_NAMES
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import groups_above
from ctspine_zarr.format.encoding import decode
from ctspine_zarr.format.receipt import Receipt, StoredObject
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import Storage


@dataclass(frozen=True)
class WholeCase:
    """A case's objects as they were written.

    Attributes:
        id, path: of the case.
        objects: key below its path -> size and sha256, the receipt not included.
        receipt: its bytes.
    """

    id: str
    path: str
    objects: Mapping[str, StoredObject]
    receipt: bytes

    @property
    def receipt_key(self) -> str:
        """Key of the receipt."""
        return layout.receipt_key(self.id)

    @property
    def written(self) -> dict[str, StoredObject]:
        """Key below the store -> size and sha256 of every object, the receipt included, as the last."""
        objects = {f"{self.path}/{key}": one for key, one in self.objects.items()}
        return objects | {self.receipt_key: StoredObject(len(self.receipt), sha256(self.receipt))}

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(one.bytes for one in self.written.values())


@dataclass(frozen=True)
class WholeStore:
    """A store with the documents that say what belongs to it."""

    store: Store

    @property
    def storage(self) -> Storage:
        """Where it is."""
        return self.store.storage

    @cached_property
    def cases(self) -> tuple[WholeCase, ...]:
        """In the catalog's order.

        Raises:
            DamagedStore: a receipt is missing or damaged.
        """
        keys = [layout.receipt_key(case) for case in self.store]
        found = zip(self.store, self.storage.get_each(keys), strict=True)
        return tuple(self._case(case, data) for case, data in found)

    @cached_property
    def top(self) -> Mapping[str, bytes]:
        """The documents above the cases, in the order of writing: the root is the last.

        Raises:
            DamagedStore: one is missing.
        """
        groups = sorted(f"{path}/{layout.METADATA}" for path in groups_above(self.store.records.values()))
        keys = [*groups, layout.CATALOG, layout.ROOT]
        return {
            key: self._there(key, data) for key, data in zip(keys, self.storage.get_each(keys), strict=True)
        }

    def strangers(self, keys: Collection[str]) -> list[str]:
        """Keys, among those where cases, receipts and their groups lie, of what is not of the store."""
        own = {key for case in self.cases for key in case.written} | set(self.top)
        ours = (layout.RECEIPTS, *(f"{split}/" for split in SPLIT_NAMES))
        return sorted(key for key in keys if key.startswith(ours) and key not in own)

    def require_place(self, location: str, keys: Collection[str]) -> None:
        """Do nothing where a place holds nothing but what may be an earlier copy of this store.

        Raises:
            StoreMismatch: it holds cases that this store has not, or something else.
        """
        receipts = {key for key in keys if key.startswith(layout.RECEIPTS)}
        others = sorted(receipts - {case.receipt_key for case in self.cases})
        if others:
            message = (
                f"{location} has {len(others)} cases that {self.store.location} has not, such as "
                f"{others[0].removeprefix(layout.RECEIPTS).removesuffix('.json')}; publish to another place"
            )
            raise StoreMismatch(message)
        if layout.ROOT in keys and not receipts:
            message = f"{location} holds a {layout.ROOT} that is not ours; publish to another place"
            raise StoreMismatch(message)

    def _case(self, case: str, data: bytes | None) -> WholeCase:
        data = self._there(layout.receipt_key(case), data)
        try:
            receipt = decode(data, Receipt.from_json)
        except (Malformed, OtherFormat) as error:
            message = f"{self.store.location}, case {case}: its receipt is damaged ({error}); run verify"
            raise DamagedStore(message) from error
        return WholeCase(case, receipt.record.path, receipt.objects, data)

    def _there(self, key: str, data: bytes | None) -> bytes:
        if data is None:
            message = f"{self.store.location}: {key} is missing; run verify"
            raise DamagedStore(message)
        return data


def proven(storage: Storage, key: str, written: StoredObject) -> bytes:
    """An object that is what was written.

    Raises:
        DamagedStore: it is not.
    """
    data = storage.get(key)
    if data is None or sha256(data) != written.sha256:
        seen = "is missing" if data is None else f"has {len(data)} bytes of another sha256"
        message = f"{storage.location}: {key} {seen}; {written.bytes} bytes were written; run verify"
        raise DamagedStore(message)
    return data
