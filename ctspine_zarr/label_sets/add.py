"""Label sets added to a store."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.errors import CaseRefused, DamagedStore, UnknownCase, UnknownValue, require_case
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.label_map import AnyMap
from ctspine_zarr.format.label_sets import require_set_name
from ctspine_zarr.format.names import printable
from ctspine_zarr.label_sets.encoding import digest_of, encode_set
from ctspine_zarr.label_sets.volumes import Labels, volume_of
from ctspine_zarr.label_sets.writing import AT_ONCE, put_voxels, read_case
from ctspine_zarr.manifest.claims import Claim, claimed
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.label_maps import label_map_of
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.changes import Change, make_hold, tidy
from ctspine_zarr.write.label_sets import WrittenCase

type Given = Mapping[str, Labels] | Iterable[tuple[str, Labels]]

_TAG_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class LabelsAdded:
    """The result of adding a label set.

    Attributes:
        name: of the set.
        added: ids of the cases that have got these labels, in the order in which they were given.
        skipped: of those that had them, voxel by voxel.
        refused: cases whose labels were not taken, and why.
        seconds: wall time.
    """

    name: str
    added: tuple[str, ...]
    skipped: tuple[str, ...]
    refused: tuple[Refusal, ...]
    seconds: float


def add_labels(
    location: Location,
    name: str,
    labels: Given,
    *,
    label_map: AnyMap | Path | None = None,
    replace: bool = False,
    take_over: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> LabelsAdded:
    """Write labels of cases as a label set of a store, beside their masks, such as a prediction.

    A case whose labels cannot be taken is refused, and the others are added. Cases come to hold 32 at a time.
    Interrupted at any moment, the store opens, and its voxels are read as before; run again, cases that have
    these labels are skipped, and what was begun is completed. Whoever has opened the store before reads on,
    or one error says: updated, open again.

    Args:
        location: of the store.
        name: of the label set.
        labels: case id -> labels, or pairs of the two, which are taken one after another, so that not all
            need be in memory. Labels are an array, canonical (z, y, x), of the case's shape, or the path of a
            `.nii.gz` on its grid, whose axes may lie anyhow. Values are labels of the dataset, or 0.
        label_map: by which a model numbered them, as for `Store.label_map`: values are taken back to labels.
        replace: put them in the place of other labels that a case has in the set.
        take_over: see `build_store`.
        storage_options: see `open_store`.

    Raises:
        UnknownValue: a name that is not legal, or a map that is not, or gives two labels one value.
        UnknownCase: a mapping has an id that the store does not have; nothing was written.
        NotAStore, DamagedStore: there is no store, or its root or catalog is damaged.
        StoreMismatch: its first build has not ended.
        StoreInUse: another process writes to the store.
        StorageError: the store cannot be read or written.
    """
    storage = open_storage(location, options=storage_options)
    return added_to(storage, name, labels, label_map, replace=replace, take_over=take_over)


def added_to(
    storage: Storage,
    name: str,
    labels: Given,
    label_map: AnyMap | Path | None,
    *,
    replace: bool,
    take_over: bool,
) -> LabelsAdded:
    """As `add_labels`, of a store by its storage, which can be written."""
    begun = time.monotonic()
    state = load(storage)
    _require_fitting(state, name, labels, storage.location)
    back = None if label_map is None else label_map_of(label_map, state.spec).inverse
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    claim = Claim.own(secrets.token_hex(32), f"to add the label set {name!r}")
    with claimed(storage, claim, take_over=take_over) as held:
        adding = _Adding(held.storage, load(storage), name, back, replace)
        for some in itertools.batched(pairs, AT_ONCE):
            changes = list(adding.changes(some))
            if changes:
                make_hold(changes, held)
                adding.added.extend(change.entry.record.id for change in changes)
        tidy(held)
    return adding.result(time.monotonic() - begun)


def _require_fitting(state: State, name: str, labels: Given, location: str) -> None:
    state.require_ended(location)
    require_set_name(name, state.spec)
    names = {other for record in state.records.values() for other in record.sets}
    if other := next((other for other in names if other.lower() == name.lower() and other != name), None):
        message = f"label set {name!r} beside {other!r}; legal: names that differ by more than case"
        raise UnknownValue(message)
    for case in labels if isinstance(labels, Mapping) else ():
        require_case(case, state.records.keys(), location)


@dataclass(frozen=True)
class _Adding:
    """A label set that is being added.

    Attributes:
        storage: of the store, claimed.
        state: that held when it was claimed.
        name: of the label set.
        back: value that is given -> label; None where labels are given.
        is_replacing: whether other labels in the set are replaced.
        added, skipped, refused: cases so far.
        seen: ids so far.
    """

    storage: Storage
    state: State
    name: str
    back: Mapping[int, int] | None
    is_replacing: bool
    added: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def result(self, seconds: float) -> LabelsAdded:
        """What became of all cases."""
        return LabelsAdded(self.name, tuple(self.added), tuple(self.skipped), tuple(self.refused), seconds)

    def changes(self, pairs: Iterable[tuple[str, Labels]]) -> Iterator[Change]:
        """The changes to cases that get other labels; the voxels are written."""
        for case, labels in pairs:
            try:
                change = self._change(self._entry(case), labels)
            except (CaseRefused, DamagedStore, UnknownCase, UnknownValue) as error:
                self.refused.append(Refusal(printable(str(case)), printable(str(error))))
                continue
            if change is None:
                self.skipped.append(case)
            else:
                yield change

    @cached_property
    def _entries(self) -> Mapping[str, Entry]:
        return {entry.record.id: entry for entry in self.state.entries}

    def _entry(self, case: str) -> Entry:
        require_case(case, self._entries.keys(), self.storage.location)
        if case in self.seen:
            message = f"case {case} is given twice; legal: once"
            raise CaseRefused(message)
        self.seen.add(case)
        return self._entries[case]

    def _change(self, entry: Entry, labels: Labels) -> Change | None:
        """The change to a case; None where it has these labels."""
        spec, path = self.state.spec, entry.record.path
        written = read_case(self.storage, entry, spec, self.name)
        case = Case(self.storage, entry, spec, Reading())
        volume = volume_of(labels, entry.record, self.back)
        tag = ""
        if self.name in entry.record.sets:
            digest = digest_of(volume, case)
            is_equal = written.facts.voxels.sets[self.name] == digest
            if is_equal and not written.is_ahead(entry, self.name) and self._is_there(written):
                return None
            if not is_equal:
                self._require_replacing(case.id)
            tag = digest[:_TAG_DIGITS]
        encoded = encode_set(volume, case).tagged(tag)
        put_voxels(self.storage, path, self.name, encoded)
        return Change.to(written.with_set(self.name, encoded, spec), spec)

    def _is_there(self, written: WrittenCase) -> bool:
        """Whether the objects of the label set have their sizes; bytes are compared by `verify`."""
        group = f"{written.facts.record.path}/{layout.mask_group(self.name)}/"
        own = {key: one.bytes for key, one in written.receipt.keys.items() if key.startswith(group)}
        return all(self.storage.size(key) == size for key, size in own.items())

    def _require_replacing(self, case: str) -> None:
        if not self.is_replacing:
            message = (
                f"case {case} has other labels in the set {self.name!r}; legal: the same, or replace=True "
                "(--replace)"
            )
            raise CaseRefused(message)
