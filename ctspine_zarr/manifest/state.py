"""The state of a store: what its root names, and by it every case.

The put of a root is the one switch from a state to the next. Whoever reads the root, then the
catalog that it names, sees one whole state, whatever is written meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import (
    CtspineError,
    DamagedStore,
    Malformed,
    NotAStore,
    OtherFormat,
    StoreMismatch,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import CatalogFile, Entry, Root, decode_catalog, decode_root, require_dataset
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.manifest.signs import gates, is_live
from ctspine_zarr.storage import Storage

# Updates that may meet one opening, each between its two reads.
_TRIES: Final = 8


@dataclass(frozen=True)
class State:
    """What a store holds, at one moment.

    Attributes:
        root: what it says of itself.
        entries: its cases, in the catalog's order; while the first build goes on, those that are whole.
    """

    root: Root
    entries: tuple[Entry, ...]

    @property
    def spec(self) -> Spec:
        """The dataset's description."""
        return self.root.dataset

    @property
    def is_partial(self) -> bool:
        """Whether the first build has not ended."""
        return self.root.is_partial

    def require_ended(self, location: str) -> None:
        """Do nothing where the first build has ended.

        Raises:
            StoreMismatch: it has not.
        """
        if self.is_partial:
            message = f"{location} is partial: its first build has not ended; run it to the end"
            raise StoreMismatch(message)

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """Case id -> record."""
        return {entry.record.id: entry.record for entry in self.entries}

    @cached_property
    def cases_digest(self) -> str:
        """What tells the cases from those of any other state."""
        if self.root.catalog is not None:
            return self.root.catalog.sha256
        return sha256("".join(entry.receipt for entry in self.entries).encode())


@dataclass(frozen=True)
class UpdateCheck:
    """A check whether a store has another root than when it was opened, or is just getting one.

    Pickles as its storage does.

    Attributes:
        storage: of the store.
        seal: of the root when the store was opened.
    """

    storage: Storage
    seal: str

    def __call__(self) -> bool:
        """Whether the store has another root by now, or a writer is behind the gate, who may change it."""
        try:
            data = self.storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES)
            return decode_root(data).seal != self.seal or self._is_being_switched()
        except CtspineError:
            return False

    def _is_being_switched(self) -> bool:
        if not self.storage.is_listable:
            return False
        return any(sign is not None and is_live(key, sign) for key, sign in gates(self.storage).items())


def load(storage: Storage, receipts: Collection[KeptReceipt] | None = None) -> State:
    """The state of a store: two reads, of the root and of the catalog that it names.

    While the first build goes on there is no catalog, and every receipt is read instead.

    Args:
        storage: of the store.
        receipts: all that are there, where they have just been read.

    Raises:
        NotAStore: there is none, or one of another format.
        DamagedStore: the root is altered, or the catalog missing or altered.
        StorageError: the location cannot be read.
    """
    seal = None
    for _ in range(_TRIES):
        root = read_root(storage)
        if root.catalog is None:
            return State(root, _whole_cases(storage, root, receipts))
        data = _catalog_bytes(storage, root.catalog)
        if data is not None:
            return State(root, _entries(storage, root, root.catalog, data))
        if root.seal == seal:
            break
        # The store was updated between the two reads: the new root names a catalog that is there.
        seal = root.seal
    key = "" if root.catalog is None else root.catalog.key
    message = f"{storage.location}: {key} is missing, which {layout.ROOT} names; run the build again"
    raise DamagedStore(message)


def read_root(storage: Storage) -> Root:
    """What a store's root says.

    Raises:
        NotAStore: there is none, or one of another format.
        DamagedStore: it is altered.
    """
    data = storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES)
    if data is None:
        raise _absence(storage)
    try:
        return decode_root(data)
    except OtherFormat as error:
        message = (
            f"{storage.location} is a store of another version ({error}); read it with the version that "
            "wrote it, or build it anew in another place"
        )
        raise NotAStore(message) from error
    except Malformed as error:
        if layout.OWN_KEY.encode() not in data and not _has_receipts(storage):
            message = f"{storage.location} is no ctspine_zarr store: its {layout.ROOT} is another's"
            raise NotAStore(message) from error
        message = f"{storage.location}: {layout.ROOT} is damaged ({error}); run the build again"
        raise DamagedStore(message) from error


def kept_root(storage: Storage, root: Root) -> bytes | None:
    """The bytes of a root as whichever version wrote them; None where another one lies there, or none.

    Its seal is that of its bytes: where it is the same, they are.

    Args:
        storage: of the store.
        root: of the state.

    Raises:
        StorageError: it cannot be read.
    """
    data = storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES)
    try:
        return data if decode_root(data).seal == root.seal else None
    except (Malformed, OtherFormat):
        return None


def _absence(storage: Storage) -> NotAStore:
    if _has_receipts(storage):
        message = (
            f"{storage.location} has receipts but no {layout.ROOT}: it was not published to its end, or the "
            f"{layout.ROOT} was lost; publish, or run its build, again to the end"
        )
        return NotAStore(message)
    return NotAStore(f"{storage.location} is no ctspine_zarr store: it has no {layout.ROOT}")


def _has_receipts(storage: Storage) -> bool:
    return storage.is_listable and bool(storage.sizes(layout.RECEIPTS))


def _catalog_bytes(storage: Storage, catalog: CatalogFile) -> bytes | None:
    """The catalog, and no more than a byte too many of whatever is there in its place."""
    if not catalog.bytes:
        return b""
    [data] = storage.ranges(catalog.key, [(0, catalog.bytes + 1)])
    return bytes(data) or None


def _entries(storage: Storage, root: Root, catalog: CatalogFile, data: bytes) -> tuple[Entry, ...]:
    if sha256(data) != catalog.sha256:
        message = (
            f"{storage.location}: {catalog.key} was altered: its sha256 is not that in {layout.ROOT}; "
            "run its build again"
        )
        raise DamagedStore(message)
    try:
        return tuple(decode_catalog(data, root.dataset))
    except (Malformed, OtherFormat) as error:
        message = f"{storage.location}: {catalog.key} cannot be read ({error}); run its build again"
        raise DamagedStore(message) from error


def _whole_cases(storage: Storage, root: Root, receipts: Collection[KeptReceipt] | None) -> tuple[Entry, ...]:
    if not storage.is_listable:
        message = (
            f"{storage.location}: its first build has not ended, and what is whole cannot be listed here; "
            "run its build to the end"
        )
        raise NotAStore(message)
    found: dict[str, Entry] = {}
    for kept in read_receipts(storage, to_write=False) if receipts is None else receipts:
        try:
            require_dataset(kept.receipt, root.dataset)
        except Malformed as error:
            message = f"{storage.location}: {kept.receipt.key}: {error}; run its build again"
            raise DamagedStore(message) from error
        found.setdefault(kept.receipt.record.id, kept.entry)
    return tuple(found.values())
