"""The state that a store should hold, where its root or catalog is lost or altered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import (
    CaseRefused,
    DamagedStore,
    Malformed,
    NotAStore,
    NotMendable,
    OtherFormat,
    StorageError,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import (
    MOST_CATALOG_BYTES,
    Entry,
    Refused,
    Root,
    decode_catalog,
    decode_root,
    encode_catalog,
    require_dataset,
)
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.mending import FromSource, FromStore, Supply
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.arrivals import fetched
from ctspine_zarr.write.ingest import Recipe, made, recipe_of
from ctspine_zarr.write.state import documents_of, own_provenance

type _Catalog = dict[str, Entry]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A case whose files are wanted."""

    case: SourceCase


def intended_state(storage: Storage, supply: Supply, seal: str | None = None) -> State:
    """The state of a store; where it cannot be read, the one that it held before.

    Args:
        storage: of the store.
        supply: what it is mended from.
        seal: of the root, as somebody kept it: one of another, here or in the other store, is not taken.

    Raises:
        NotAStore: there is none, or one of another format.
        NotMendable: which state it was cannot be proven, or it is of another seal.
        StorageError: the location cannot be read.
    """
    try:
        state = load(storage)
    except (DamagedStore, NotAStore, StorageError) as error:
        if isinstance(error, StorageError):
            require_here(storage, error)
        seen = error
    else:
        _require_seal(state.root, storage, seal)
        return state
    root = _root(storage, seen)
    receipts = read_receipts(storage, to_write=False)
    if root is None:
        if not receipts:
            raise seen
        return _with_root(storage, supply, receipts, seal)
    _require_seal(root, storage, seal)
    entries = _proven_entries(root, receipts, supply)
    if entries is None:
        message = (
            f"the catalog that {layout.ROOT} names is lost or altered, and the receipts that hold do not "
            "make it; legal: another store that has it, or the build again"
        )
        raise NotMendable(message)
    return State(root, entries)


def _root(storage: Storage, seen: Exception) -> Root | None:
    """What the root says; None where it is lost or altered."""
    try:
        return decode_root(storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES))
    except Malformed:
        return None
    except OtherFormat:
        raise seen from None
    except StorageError as error:
        require_here(storage, error)
        return None


def _proven_entries(root: Root, receipts: Sequence[KeptReceipt], supply: Supply) -> tuple[Entry, ...] | None:
    """The cases of the catalog that the root names; None where nothing gives them."""
    for found in chain(_catalogs(root.dataset, receipts, supply), _completed(root, receipts, supply)):
        data = encode_catalog(root.dataset, found.values())
        if root.catalog is not None and sha256(data) == root.catalog.sha256:
            return tuple(decode_catalog(data, root.dataset))
    return None


def _catalogs(spec: Spec, receipts: Sequence[KeptReceipt], supply: Supply) -> Iterator[_Catalog]:
    """What the catalog may have been: of two receipts of a case, which one counts only the root can say."""
    ours = [kept.entry for kept in receipts if _is_of(kept, spec)]
    for order in (ours, ours[::-1]):
        yield {entry.record.id: entry for entry in order}
    if isinstance(supply, FromStore) and supply.state.spec == spec:
        yield {entry.record.id: entry for entry in supply.state.entries}


def _completed(root: Root, receipts: Sequence[KeptReceipt], supply: Supply) -> Iterator[_Catalog]:
    """The cases whose receipts hold, and those whose receipts are lost made again from their files."""
    found = {kept.receipt.record.id: kept.entry for kept in receipts if _is_of(kept, root.dataset)}
    if root.catalog is None or not found or not isinstance(supply, FromSource):
        return
    known = found.keys() | {one.case for one in root.refused}
    lost = [case for case in supply.described.listing.cases if case.id not in known]
    # Where the source has other cases as well, nothing says which ones were built.
    if len(lost) == root.catalog.cases - len(found):
        recipe = recipe_of(root.dataset, next(iter(found.values())).record)
        yield found | {case.id: entry for case in lost for entry in _entries_of(case, supply, recipe)}


def _entries_of(case: SourceCase, supply: FromSource, recipe: Recipe) -> Iterator[Entry]:
    """The line of the catalog that a case's files make; none where they make no case."""
    arrival = fetched(supply.source, _Wanted(case))
    if arrival.files is None:
        return
    try:
        _, receipt = made(arrival.files, recipe, None)
    except CaseRefused:
        return
    finally:
        supply.source.release(arrival.files)
    yield Entry.of(receipt)


def _is_of(kept: KeptReceipt, spec: Spec) -> bool:
    try:
        require_dataset(kept.receipt, spec)
    except Malformed:
        return False
    return True


def _with_root(storage: Storage, supply: Supply, receipts: Sequence[KeptReceipt], seal: str | None) -> State:
    """The state of a store whose root is lost, by the other store's root, or by the source's spec."""
    catalogs = list(_catalogs_here(storage))
    if isinstance(supply, FromStore):
        _require_seal(supply.state.root, supply.storage, seal)
        return _others_state(supply, catalogs, receipts, storage)
    if not isinstance(supply, FromSource):
        message = f"{layout.ROOT} is lost or altered, and nothing says what it was"
        raise NotMendable(message)
    if seal is not None:
        message = (
            f"{layout.ROOT} is lost or altered, and one that is made anew has another digest than {seal}; "
            "legal: another store that has it, or no digest"
        )
        raise NotMendable(message)
    spec = supply.described.spec
    fitting = [entries for data in catalogs if (entries := _decoded(data, spec, receipts)) is not None]
    if len(fitting) != 1:
        message = (
            f"{layout.ROOT} is lost or altered, and {len(fitting)} catalogs are there that the receipts fit; "
            "legal: one, or another store that has the root, or the build again"
        )
        raise NotMendable(message)
    return State(_root_of(fitting[0], supply), fitting[0])


def _root_of(entries: tuple[Entry, ...], supply: FromSource) -> Root:
    """A root as a build would write it now, without tables, which are made once the cases are mended.

    Of refusals it has those that the source makes on sight.
    """
    by_id = {entry.record.id: entry for entry in entries}
    refusals = supply.described.listing.refused
    refused = [Refused(one.case, one.reason) for one in refusals if one.case not in by_id]
    documents = documents_of(by_id, refused, supply.described.spec, own_provenance(), {})
    return decode_root(documents[layout.ROOT])


def _require_seal(root: Root, storage: Storage, seal: str | None) -> None:
    """Do nothing where a root of any seal will do, or it has this one."""
    if seal not in {None, root.seal}:
        message = (
            f"the digest of {storage.location} is {root.seal}; asked for {seal}; legal: a store of this "
            f"digest, or to remove {layout.ROOT} here and to have it from such a store"
        )
        raise NotMendable(message)


def _others_state(
    supply: FromStore, catalogs: Sequence[bytes], receipts: Sequence[KeptReceipt], storage: Storage
) -> State:
    """The other store's state, where it is that of the cases here."""
    catalog = encode_catalog(supply.state.spec, supply.state.entries)
    here, theirs = {kept.sha256 for kept in receipts}, {entry.receipt for entry in supply.state.entries}
    # Without a catalog: no receipt that they have not, and no more than half of theirs lost.
    is_same = here <= theirs and 2 * len(here) >= len(theirs)
    if list(catalogs) == [catalog] or (not catalogs and is_same):
        return supply.state
    message = (
        f"{layout.ROOT} is lost or altered, and {supply.storage.location} has another catalog than the cases "
        f"of {storage.location}; legal: a store of the same state, its source, or the build again"
    )
    raise NotMendable(message)


def _catalogs_here(storage: Storage) -> Iterator[bytes]:
    """Every catalog that is what its key says."""
    for key in storage.sizes():
        if layout.is_catalog(key):
            data = storage.get(key, most=MOST_CATALOG_BYTES)
            if data is not None and layout.catalog_key(sha256(data)) == key:
                yield data


def _decoded(data: bytes, spec: Spec, receipts: Sequence[KeptReceipt]) -> tuple[Entry, ...] | None:
    """The cases of a catalog that a spec fits, most of whose receipts are here; None of any other."""
    try:
        entries = tuple(decode_catalog(data, spec))
    except (Malformed, OtherFormat):
        return None
    here = {kept.sha256 for kept in receipts}
    return entries if 2 * sum(entry.receipt in here for entry in entries) >= len(entries) else None
