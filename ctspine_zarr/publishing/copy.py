"""A store copied to another place, every object compared with its receipt on both sides."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, takewhile

from ctspine_zarr.concurrency.runners import DIED, Finished, Runner
from ctspine_zarr.errors import CtspineError, DamagedStore, Malformed, NoWorkers, OtherFormat, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, StoredObject, decode_receipt
from ctspine_zarr.manifest.inventory import case_folders
from ctspine_zarr.publishing.beside import There, changes_beside
from ctspine_zarr.publishing.whole import WholeCase, WholeObjects, WholeStore
from ctspine_zarr.read.proof import proven_object, require_object
from ctspine_zarr.storage import Storage, all_at_once, require_shared


def copy_cases(whole: WholeStore, target: Storage, runner: Runner) -> Generator[tuple[WholeCase, int]]:
    """Copy what is not there yet, case by case, each in the build's own order: the receipt last.

    A case is proven here before anything is touched there. A store that is there already is read as
    it was meanwhile; but where it has another case in the place of one of these, its root goes first.

    After a fault no other case is taken up, and those under way are ended: nobody touches the place
    any more when it is told.

    Yields:
        Each case as it is there, and how many bytes had to be copied: none where its receipt was there,
        and objects of the right sizes. Those that were there come first.

    Raises:
        UnknownValue: the runner's processes do not see both sides.
        NoWorkers: there are none, or a case's died of it, each time.
        StoreMismatch: the place holds something else, or cases that the store has not.
        DamagedStore: an object is not what its receipt says, here or, read back, there.
        StoreUpdated: it is not, since the store here was updated.
        StorageError: either side fails, or is the other.
    """
    for storage in (whole.storage, target):
        require_shared(storage, runner)
    _require_apart(whole.storage, target)
    sizes = target.sizes()
    whole.require_place(target.location, sizes.keys(), partial(target.get, most=MOST_DOCUMENT_BYTES))
    receipts = target.get_each([case.receipt.key for case in whole.cases])
    pending = []
    for case, receipt in zip(whole.cases, receipts, strict=True):
        if receipt == case.data and _has(sizes, case):
            yield case, 0
        else:
            pending.append(_pending(case, receipt, sizes))
    faults: list[CtspineError] = []
    for step in runner.run(_Task(whole.objects, target), takewhile(lambda _: not faults, pending)):
        if isinstance(step, Finished):
            outcome = step.result or _Outcome(_died(step.item.case, target))
            if outcome.fault is None:
                yield step.item.case, step.item.bytes
            else:
                faults.append(outcome.fault)
    if faults:
        raise faults[0]


def copy_top(whole: WholeStore, target: Storage) -> tuple[str, ...]:
    """Copy what makes it a store: the groups, the catalog, and the root that makes them hold.

    Then what goes along with it is written. What earlier states and interrupted runs left there goes last.
    What is there already is not written again.

    Returns:
        Keys of documents beside it that somebody changed there, and that were left as they are.

    Raises: as `copy_cases`, but for its runner's.
    """
    there = There(
        target.sizes(),
        target.get,
        lambda key, data: target.get(key, len(data)) == data,
        frozenset(key for key, _ in target.irregular()),
    )
    beside = changes_beside(whole, target.location, there)
    missing = ((key, data) for key, data in whole.top.items() if not there.has(key, data))
    for key, data in chain(missing, beside.steps):
        if data is None:
            target.remove(key)
        else:
            _put(target, key, data)
    for key in whole.left_over(target.sizes().keys()):
        target.remove(key)
    target.clean(case_folders(whole.store.spec.splits))
    return beside.kept


def _put(target: Storage, key: str, data: bytes) -> None:
    """Put a document, and read it back."""
    target.put(key, data)
    if target.get(key, most=len(data)) != data:
        message = f"{target.location}: {key}, read back, is not what was written; run it again"
        raise DamagedStore(message)


def _has(sizes: Mapping[str, int], case: WholeCase) -> bool:
    return all(sizes.get(key) == one.bytes for key, one in case.written.items())


@dataclass(frozen=True, slots=True)
class _Pending:
    """A case to copy.

    Attributes:
        case: as it is here.
        is_in_place: whether another case, or another state of it, is there in its place.
        there: keys of the objects that are the same there.
    """

    case: WholeCase
    is_in_place: bool
    there: frozenset[str]

    @property
    def bytes(self) -> int:
        """Of all that is not there, the receipt included."""
        return sum(one.bytes for key, one in self.case.written.items() if key not in self.there)


def _pending(case: WholeCase, receipt: bytes | None, sizes: Mapping[str, int]) -> _Pending:
    """A case to copy to a place.

    What a receipt there says of an object is believed where the object has that size.

    Args:
        case: as it is here.
        receipt: what lies there at its receipt's key; None where nothing does.
        sizes: key -> bytes of what is there.
    """
    try:
        earlier = decode_receipt(receipt, case.receipt.key).keys if receipt else {}
    except (Malformed, OtherFormat):
        earlier = {}
    same = (key for key, one in case.objects.items() if earlier.get(key) == one)
    there = frozenset(key for key in same if sizes.get(key) == case.objects[key].bytes)
    return _Pending(case, receipt is not None and receipt != case.data, there)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a worker sends back: None where the case is there, or a fault of either side."""

    fault: CtspineError | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """The copy of one case.

    Attributes:
        here: the objects of the store.
        target: the place.
    """

    here: WholeObjects
    target: Storage

    def __call__(self, pending: _Pending) -> _Outcome:
        try:
            self._copy(pending)
        except CtspineError as error:
            return _Outcome(error)
        except MemoryError:
            message = f"cannot publish {pending.case.id}: out of memory; use fewer --workers"
            return _Outcome(StorageError(message))
        return _Outcome()

    def _copy(self, pending: _Pending) -> None:
        case = pending.case
        written = {key: one for key, one in case.objects.items() if key not in pending.there}

        def read(key: str) -> bytes:
            return bytes(self.here.proven(proven_object, key, written[key]))

        data = all_at_once(read, list(written))
        if pending.is_in_place:
            # A root may name the case that is there; no root, no receipt, no claim.
            self.target.remove(layout.ROOT)
            self.target.remove(case.receipt.key)
        send = partial(_send, self.target)
        all_at_once(lambda one: send(*one), list(zip(written, data, written.values(), strict=True)))
        self.target.put(case.receipt.key, case.data)


def _died(case: WholeCase, target: Storage) -> NoWorkers:
    message = (
        f"cannot publish {case.id} to {target.location}: {DIED}, perhaps out of "
        "memory; use fewer --workers, and run it again: whole cases are kept"
    )
    return NoWorkers(message)


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
