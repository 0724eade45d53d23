"""The base of datasets and streams: samples of a selection of a store, read unit by unit."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.sample import AIR, Sample, require_fill
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.units import SampleBox, Unit
from ctspine_zarr.training.boxes import is_stored, read_boxes, read_slab, region_of
from ctspine_zarr.training.form import Form

type SampleSpec = dict[str, tuple[np.dtype[Any], tuple[int | None, ...]]]
"""Key -> dtype and shape; None for a length that differs between samples."""


class Plan(Protocol):
    """A plan of which voxels samples have. Its `repr` says all but the selection.

    Attributes:
        keys: what samples have of their place in the volume -> its shape.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]]

    def __len__(self) -> int: ...

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a case's samples, and the axis that slices are cut across."""


class Samples[P: Plan](ABC):  # noqa: B024 - datasets and streams have what is abstract
    """Samples of a selection. Pickles small: nothing that was read goes along.

    Attributes:
        store: the selection.
        form: what samples look like.
        epoch: what is drawn at random is drawn anew for each.
    """

    def __init__(self, store: Store, plan: P, form: Form, fill: float = AIR) -> None:
        for dtype in {record.image.dtype for record in store.records.values()}:
            require_fill(fill, np.dtype(dtype))
        self.store = store
        self.form = form
        self.epoch = 0
        self._fill = fill
        self._plan = plan
        self._ids = tuple(store)

    def set_epoch(self, epoch: int) -> None:
        """Draw what an epoch has, from 0. `make_loader` counts by itself; in a plain DataLoader, workers
        that outlive an epoch do not see it.
        """
        self.epoch = integer("epoch", epoch, 0)

    def identity(self) -> dict[str, Any]:
        """What a saved place in an epoch must agree with; plain values."""
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
        if self.form.transform is not None:
            message = "the spec of samples with a transform is not known; legal: transform=None"
            raise UnknownValue(message)
        records = list(self.store.records.values())
        shapes = {self.form.shape(record, *self._plan.size_of(case)) for case, record in enumerate(records)}
        shape = tuple(
            lengths.pop() if len(lengths) == 1 else None for lengths in map(set, zip(*shapes, strict=True))
        )
        number = np.dtype(np.int64)
        return {
            **{name: (dtype, shape) for name, dtype in self.form.dtypes(records).items()},
            "patient_id": (np.dtype(object), ()),
            "index": (number, ()),
            **{key: (number, lengths) for key, lengths in self._plan.keys.items()},
            "spacing": (np.dtype(np.float64), (3,)),
            "affine": (np.dtype(np.float64), (4, 4)),
        }

    def _case(self, number: int) -> Case:
        return self.store[self._ids[number]]

    def _record(self, number: int) -> Record:
        return self.store.records[self._ids[number]]

    def _read(self, unit: Unit, items: Iterable[int]) -> list[Sample]:
        """Some of a unit's boxes; they may be views of one block."""
        case, cut = self._case(unit.case), unit.boxes[0].cut
        lattices = [unit.boxes[item].lattice for item in items]
        if cut is None:
            return read_boxes(case, lattices, self._fill, self.form.names)
        return read_slab(case, cut, [round(lattice.first[cut]) for lattice in lattices], self.form.names)

    def _each(self, units: Iterable[Unit]) -> Iterator[Any]:
        """The samples of units, in order."""
        for unit in units:
            if len(unit.boxes) == 1 and is_stored(unit.boxes[0].lattice):
                yield self._straight(unit.case, unit.boxes[0])
                continue
            reads = self._read(unit, range(len(unit.boxes)))
            for box, read in zip(unit.boxes, reads, strict=True):
                yield self._finished(unit, box, read)

    def _straight(self, number: int, box: SampleBox) -> Any:
        """The sample of a box of stored voxels, which are read straight into its arrays."""
        case, record = self._case(number), self._record(number)
        blank = self.form.blank(record, box)
        targets = {name: [target] for name, target in blank.targets.items()}
        case.fill([region_of(case, box.lattice)], targets, self._fill, blank.scaling)
        return self.form.finished(record, number, box, blank)

    def _finished(self, unit: Unit, box: SampleBox, read: Sample) -> Any:
        return self.form.sample(self._record(unit.case), unit.case, box, read)

    def _voxels(self, case: int, label: Label) -> NDArray[np.int64]:
        """(n, 3) voxels that bear a label, from the mask inside its box."""
        box = tuple(slice(*ends) for ends in zip(label.start, label.stop, strict=True))
        mask = self._case(case).voxels("segmentation")[box]
        return np.argwhere(mask == label.label) + label.start


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
