"""Two stores compared by their documents, wherever they lie; no voxel is read."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.errors import require_case
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import Receipt, decode_receipt
from ctspine_zarr.look import markup
from ctspine_zarr.maintain.changes import Change, case_changes, refused_changes, spec_changes
from ctspine_zarr.manifest.state import State, UpdateCheck, load, read_root
from ctspine_zarr.read.proof import proven
from ctspine_zarr.storage import Location, Storage, all_at_once, open_storage

# Receipts that are held at a time, of either store: each may have counts of HU of many labels.
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class CaseDifference:
    """A case that both stores have, and have not the same.

    Attributes:
        case: its id.
        changes: what differs; at least one.
    """

    case: str
    changes: tuple[Change, ...]

    @property
    def is_encoding(self) -> bool:
        """Whether it is the same case, voxel for voxel, and only stored in another way."""
        return not any(change.is_content for change in self.changes)


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two stores.

    Attributes:
        a, b: where they are.
        digest_a, digest_b: their roots' seals, which also cover the time of writing.
        spec: of the datasets' descriptions.
        refused: of the cases that builds refused.
        only_a, only_b: ids of cases that the other store has not.
        cases: that both have, and have not the same.
        equal: how many are the same, every byte.
        seconds: wall time.
    """

    a: str
    b: str
    digest_a: str
    digest_b: str
    spec: tuple[Change, ...]
    refused: tuple[Change, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    cases: tuple[CaseDifference, ...]
    equal: int
    seconds: float = 0

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs but, it may be, when they were written, and by what."""
        return not (self.spec or self.refused or self.only_a or self.only_b or self.cases)

    def _repr_html_(self) -> str:
        rows = [(one.case, change.what, change.a, change.b) for one in self.cases for change in one.changes]
        rows += [("", change.what, change.a, change.b) for change in (*self.spec, *self.refused)]
        facts = [
            f"{self.equal:,} cases are the same, {len(self.cases):,} differ",
            f"{len(self.only_a):,} only in a, {len(self.only_b):,} only in b",
        ]
        title = "the same" if self.is_equal else "different"
        return markup.block(f"Two stores: {title}", facts, [markup.bounded(("case", "what", "a", "b"), rows)])


@dataclass(frozen=True)
class _Opened:
    """A store that is compared.

    Attributes:
        storage: of it.
        state: that it holds.
    """

    storage: Storage
    state: State

    def receipts(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Those of cases, each proven by the catalog."""
        reading = Reading(updated=UpdateCheck(self.storage, self.state.root.seal))

        def read(entry: Entry) -> Receipt:
            key = entry.record.receipt_key
            return proven(self.storage, reading, key, entry.receipt, partial(decode_receipt, key=key))

        return all_at_once(read, entries)


def diff(
    a: Location,
    b: Location,
    *,
    cases: str | Collection[str] = (),
    a_options: Mapping[str, Any] | None = None,
    b_options: Mapping[str, Any] | None = None,
) -> Difference:
    """Compare two stores by root and catalog, and by the receipts of those cases whose lines differ.

    No voxel is read: receipts have the digests of them. What is compared is what the stores say they hold;
    whether they hold it says `verify`.

    Args:
        a, b: of either store, wherever it is.
        cases: ids to compare; all by default.
        a_options, b_options: of either; see `open_store`.

    Raises:
        NotAStore: there is no store at one of the places.
        UnknownCase: an id that neither store has.
        DamagedStore: a root, a catalog or a receipt is missing or altered.
        StoreUpdated: a store was updated meanwhile; compare them again.
        StorageError: one of them cannot be read.
    """
    begun = time.monotonic()
    first = open_storage(a, read_only=True, options=a_options)
    second = open_storage(b, read_only=True, options=b_options)
    chosen = {cases} if isinstance(cases, str) else set(cases)
    one, other = _states(first, second)
    known = one.records.keys() | other.records.keys()
    for case in sorted(chosen):
        require_case(case, known, f"{first.location} and {second.location}")
    found = _compared(_Opened(first, one), _Opened(second, other), chosen)
    return Difference(
        a=first.location,
        b=second.location,
        digest_a=one.root.seal,
        digest_b=other.root.seal,
        spec=spec_changes(one.spec, other.spec),
        refused=refused_changes(one.root.refused, other.root.refused),
        only_a=found.only_a,
        only_b=found.only_b,
        cases=found.cases,
        equal=found.equal,
        seconds=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """What was found of the cases; see `Difference`."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    cases: tuple[CaseDifference, ...]
    equal: int


def _states(a: Storage, b: Storage) -> tuple[State, State]:
    """What two stores hold; a catalog that is the same in both is read once."""
    one = load(a)
    root = read_root(b)
    if root.catalog is not None and root.catalog == one.root.catalog:
        return one, State(root, one.entries)
    return one, load(b)


def _compared(a: _Opened, b: _Opened, chosen: Collection[str]) -> _Compared:
    first, second = (
        {one.record.id: one for one in side.state.entries if not chosen or one.record.id in chosen}
        for side in (a, b)
    )
    # A line of the catalog has the receipt's sha256, and the receipt all that the line has.
    both = [case for case in first if case in second]
    different = [case for case in both if first[case] != second[case]]
    return _Compared(
        only_a=tuple(case for case in first if case not in second),
        only_b=tuple(case for case in second if case not in first),
        cases=tuple(_differences(a, b, [(first[case], second[case]) for case in different])),
        equal=len(both) - len(different),
    )


def _differences(a: _Opened, b: _Opened, pairs: Sequence[tuple[Entry, Entry]]) -> Iterator[CaseDifference]:
    for some in itertools.batched(pairs, _AT_ONCE):
        ours, theirs = zip(*some, strict=True)
        for one, other in zip(a.receipts(ours), b.receipts(theirs), strict=True):
            yield CaseDifference(one.record.id, case_changes(one, other))
