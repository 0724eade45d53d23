"""What a store consists of, as its receipts have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat
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
        objects: key below the store -> size and sha256, the receipt not included.
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
    def bytes(self) -> int:
        """Of all objects."""
        return sum(one.bytes for one in self.objects.values()) + len(self.receipt)


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

    def top(self) -> Iterator[tuple[str, bytes]]:
        """The documents above the cases, in the order of writing: the root is the last.

        Raises:
            DamagedStore: one is missing.
        """
        groups = sorted(f"{path}/{layout.METADATA}" for path in groups_above(self.store.records.values()))
        keys = [*groups, layout.CATALOG, layout.ROOT]
        for key, data in zip(keys, self.storage.get_each(keys), strict=True):
            if data is None:
                message = f"{self.store.location}: {key} is missing; run verify"
                raise DamagedStore(message)
            yield key, data

    def object(self, key: str, written: StoredObject) -> bytes:
        """An object of a case, proven to be what was written.

        Raises:
            DamagedStore: it is not.
        """
        data = self.storage.get(key)
        require_written(self.store.location, key, data, written)
        return data or b""

    def _case(self, case: str, data: bytes | None) -> WholeCase:
        try:
            receipt = decode(data, Receipt.from_json)
        except (Malformed, OtherFormat) as error:
            message = f"{self.store.location}, case {case}: its receipt is damaged ({error}); run verify"
            raise DamagedStore(message) from error
        path = receipt.record.path
        objects = {f"{path}/{key}": written for key, written in receipt.objects.items()}
        return WholeCase(case, path, objects, data or b"")


def require_written(location: str, key: str, data: bytes | None, written: StoredObject) -> None:
    """Do nothing where an object is what its receipt says.

    Raises:
        DamagedStore: it is not.
    """
    if data is None or sha256(data) != written.sha256:
        seen = "is missing" if data is None else f"has {len(data)} bytes of another sha256"
        message = f"{location}: {key} {seen}; {written.bytes} bytes were written; run verify"
        raise DamagedStore(message)
