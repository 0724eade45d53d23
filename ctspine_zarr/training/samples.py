"""The base of datasets and streams: samples of one kind of a selection of a store, read unit by unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.format.label_map import LabelMap
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.foreground import ct_normalization
from ctspine_zarr.read.sample import Sample, require_fill
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.units import Draw, SampleBox, Unit
from ctspine_zarr.scaling import Normalization
from ctspine_zarr.training.boxes import is_stored, read_boxes, read_slab, region_of
from ctspine_zarr.training.form import Form
from ctspine_zarr.training.kinds import Kind
from ctspine_zarr.training.making import Maker, TrainingSample

type SampleSpec = dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]]
"""Key -> dtype and shape; None for a length that differs between samples."""


class Samples[S]:
    """Samples of a selection. Pickles small: nothing that was read goes along.

    Attributes:
        store: the selection.
        kind: which voxels samples have, and what they look like.
        epoch: what is drawn at random is drawn anew for each.
    """

    def __init__(self, store: Store, kind: Kind, transform: Callable[[TrainingSample], S] | None) -> None:
        records = _records_of(store, kind)
        _require_transform(transform)
        for dtype in {record.image.dtype for record in records}:
            require_fill(kind.fill, np.dtype(dtype))
        self.store = store
        self.kind = kind
        self.epoch = 0
        self._seed = integer("seed", kind.seed, 0)
        self._plan = kind.plan(records, store.spec)
        self._maker = _maker(store, kind)
        self._transform = transform
        self._ids = tuple(store)

    @property
    def label_map(self) -> LabelMap | None:
        """What the labels of masks become; None where they stay."""
        return self._maker.label_map

    @property
    def normalization(self) -> Normalization | None:
        """What all images are normalised by; None where they are not, or each by its own figures."""
        return self._maker.normalization

    def set_epoch(self, epoch: int) -> None:
        """Draw what an epoch has, from 0. `make_loader` counts by itself; in a plain DataLoader, workers
        that outlive an epoch do not see it.
        """
        self.epoch = integer("epoch", epoch, 0)

    def identity(self) -> dict[str, Any]:
        """What a saved place in an epoch must agree with, plain values; not what samples look like."""
        return {
            "catalog": self.store.reading.cases_digest,
            "cases": sha256("\n".join(self._ids).encode()),
            "plan": repr(self._plan),
        }

    def spec(self) -> SampleSpec:
        """Dtype and shape of every value of a sample, without a `transform`.

        Raises:
            UnknownValue: there is a transform, which may change anything.
        """
        if self._transform is not None:
            message = "the spec of samples with a transform is not known; legal: transform=None"
            raise UnknownValue(message)
        records = list(self.store.records.values())
        shapes = {self._maker.shape(record, *self._plan.size_of(case)) for case, record in enumerate(records)}
        shape = tuple(
            lengths.pop() if len(lengths) == 1 else None for lengths in map(set, zip(*shapes, strict=True))
        )
        number, text = np.dtype(np.int64), np.dtype(object)
        return {
            **{name: (dtype, shape) for name, dtype in self._maker.dtypes(records).items()},
            "patient_id": (text, ()),
            "case": (text, ()),
            "index": (number, ()),
            **{key: (number, lengths) for key, lengths in self._plan.keys.items()},
            "spacing": (np.dtype(np.float64), (3,)),
            "affine": (np.dtype(np.float64), (4, 4)),
        }

    @property
    def _draw(self) -> Draw:
        return Draw(self.epoch, self._voxels)

    def _case(self, number: int) -> Case:
        return self.store[self._ids[number]]

    def _record(self, number: int) -> Record:
        return self.store.records[self._ids[number]]

    def _read(self, unit: Unit, items: Iterable[int]) -> list[Sample]:
        """Some of a unit's boxes; they may be views of one block."""
        case, cut = self._case(unit.case), unit.boxes[0].cut
        lattices = [unit.boxes[item].lattice for item in items]
        if cut is None:
            return read_boxes(case, lattices, self.kind.fill, self._maker.names)
        return read_slab(case, cut, [round(lattice.first[cut]) for lattice in lattices], self._maker.names)

    def _each(self, units: Iterable[Unit]) -> Iterator[S]:
        """The samples of units, in order."""
        for unit in units:
            if len(unit.boxes) == 1 and is_stored(unit.boxes[0].lattice):
                yield self._straight(unit.case, unit.boxes[0])
                continue
            reads = self._read(unit, range(len(unit.boxes)))
            for box, read in zip(unit.boxes, reads, strict=True):
                yield self._made(unit, box, read)

    def _straight(self, number: int, box: SampleBox) -> S:
        """The sample of a box of stored voxels, which are read straight into its arrays."""
        case, record = self._case(number), self._record(number)
        blank = self._maker.blank(record, box)
        targets = {name: [target] for name, target in blank.targets.items()}
        case.fill([region_of(case, box.lattice)], targets, self.kind.fill, blank.scaling)
        return self._transformed(self._maker.finished(record, number, box, blank))

    def _made(self, unit: Unit, box: SampleBox, read: Sample) -> S:
        return self._transformed(self._maker.sample(self._record(unit.case), unit.case, box, read))

    def _transformed(self, sample: TrainingSample) -> S:
        # Without a transform, S is what samples are.
        return cast("S", sample) if self._transform is None else self._transform(sample)

    def _voxels(self, case: int, label: Label) -> NDArray[np.int64]:
        """(n, 3) voxels that bear a label, from the mask inside its box."""
        box = tuple(slice(*ends) for ends in zip(label.start, label.stop, strict=True))
        mask = self._case(case).voxels("segmentation")[box]
        return np.argwhere(mask == label.label) + label.start


def _records_of(store: object, form: object) -> tuple[Record, ...]:
    """The records of a selection.

    Raises:
        UnknownValue: it is no store, or a case has no mask and the form asks for masks: what is
            unknown is never given as zeros.
    """
    if not isinstance(store, Store):
        message = f"{store!r} instead of a store; legal: what open_store(...) or its select(...) gives"
        raise UnknownValue(message)
    if not isinstance(form, Kind):
        message = f"{form!r} instead of a kind of samples; legal: Slices(), Patches(96), Volumes(), ..."
        raise UnknownValue(message)
    without = [case for case, record in store.records.items() if not record.has_mask]
    if without and form.segmentation:
        message = (
            f"{len(without)} of {len(store)} cases of the selection have no mask, such as {without[0]}; "
            "legal: select(has_mask=True), or segmentation=False"
        )
        raise UnknownValue(message)
    return tuple(store.records.values())


def _require_transform(asked: object) -> None:
    if not (asked is None or callable(asked)):
        message = f"transform {asked!r}; legal: a callable that takes a sample"
        raise UnknownValue(message)


def _maker(store: Store, form: Form) -> Maker:
    """What makes samples of a selection; `ct` is measured here."""
    label_map = None if form.label_map is None else store.label_map(form.label_map)
    if isinstance(form.normalize, Normalization):
        return Maker(form, label_map, form.normalize)
    return Maker(form, label_map, ct_normalization(store) if form.normalize == "ct" else None)


def require_same(own: Mapping[str, Any], state: object) -> None:
    """Do nothing where a saved state is one of the same samples and settings.

    Raises:
        UnknownValue: it is not; the message names the first difference.
    """
    if not isinstance(state, Mapping):
        message = f"state {state!r}; legal: what state_dict() gave"
        raise UnknownValue(message)
    for key, value in own.items():
        if state.get(key) != value:
            message = f"a state with {key} {state.get(key)!r} cannot go on here; legal: {value!r}"
            raise UnknownValue(message)


def place_of(state: Mapping[str, Any], key: str, count: int) -> tuple[int, int]:
    """Epoch and place of a saved state; after the last of `count`, the beginning of the next epoch.

    Raises:
        UnknownValue: there is no such place.
    """
    epoch, place = integer("epoch", state.get("epoch"), 0), integer(key, state.get(key), 0)
    if place > count:
        message = f"{key} {place}; legal: 0 to {count}"
        raise UnknownValue(message)
    return (epoch, place) if place < count else (epoch + 1, 0)
