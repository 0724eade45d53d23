"""A store copied to another place, every object compared with its receipt on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from ctspine_zarr.errors import DamagedStore, Malformed, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, StoredObject
from ctspine_zarr.manifest.inventory import case_folders
from ctspine_zarr.publishing.whole import WholeCase, WholeStore
from ctspine_zarr.read.proof import proven_object, require_object
from ctspine_zarr.storage import Storage, all_at_once


def copy_cases(whole: WholeStore, target: Storage) -> Iterator[tuple[WholeCase, bool]]:
    """Copy what is not there yet, case by case, in the build's own order: the receipt last.

    A case is proven here before anything is touched there. A store that is there already is read as
    it was meanwhile; but where it has another case in the place of one of these, its root goes first.

    Yields:
        Each case as it is there, and whether it had to be copied; else its receipt was there, and
        objects of the right sizes.

    Raises:
        StoreMismatch: the place holds something else, or cases that the store has not.
        DamagedStore: an object is not what its receipt says, here or, read back, there.
        StoreUpdated: it is not, since the store here was updated.
        StorageError: either side fails, or is the other.
    """
    _require_apart(whole.storage, target)
    sizes = target.sizes()
    whole.require_place(target.location, sizes.keys(), partial(target.get, most=MOST_DOCUMENT_BYTES))
    receipts = target.get_each([case.receipt.key for case in whole.cases])
    for case, receipt in zip(whole.cases, receipts, strict=True):
        is_there = receipt == case.data and _has(sizes, case)
        if not is_there:
            _copy(case, whole, target, in_place=receipt is not None and receipt != case.data)
        yield case, not is_there


def copy_top(whole: WholeStore, target: Storage) -> None:
    """Copy what makes it a store: the groups, the catalog, and the root that makes them hold.

    What earlier states and interrupted runs left there goes last.

    Raises: as `copy_cases`.
    """
    for key, data in whole.top.items():
        target.put(key, data)
        if target.get(key, most=len(data)) != data:
            message = f"{target.location}: {key}, read back, is not what was written; run it again"
            raise DamagedStore(message)
    for key in whole.left_over(target.sizes().keys()):
        target.remove(key)
    target.clean(case_folders(whole.store.spec.splits))


def _has(sizes: Mapping[str, int], case: WholeCase) -> bool:
    return all(sizes.get(key) == one.bytes for key, one in case.written.items())


def _copy(case: WholeCase, whole: WholeStore, target: Storage, *, in_place: bool) -> None:
    def read(key: str) -> bytes:
        return bytes(whole.proven(proven_object, key, case.objects[key]))

    data = all_at_once(read, list(case.objects))
    if in_place:
        # A root may name the case that is there; no root, no receipt, no claim.
        target.remove(layout.ROOT)
        target.remove(case.receipt.key)
    send = partial(_send, target)
    all_at_once(lambda item: send(*item), list(zip(case.objects, data, case.objects.values(), strict=True)))
    target.put(case.receipt.key, case.data)


def _send(target: Storage, key: str, data: bytes, written: StoredObject) -> None:
    target.put(key, data)
    try:
        require_object(target, key, written)
    except Malformed as error:
        message = f"{target.location}: {key} {error}; run verify"
        raise DamagedStore(message) from error


def _require_apart(here: Storage, target: Storage) -> None:
    own, other = here.path, target.path
    is_same = here.location == target.location
    if own is not None and other is not None:
        own, other = own.resolve(), other.resolve()
        is_same |= own.is_relative_to(other) or other.is_relative_to(own)
    if is_same:
        message = f"cannot publish {here.location} to {target.location}; legal: a place apart from it"
        raise StorageError(message)
