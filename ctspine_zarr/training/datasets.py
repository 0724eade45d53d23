"""Samples by index: `len(dataset)`, `dataset[number]`, any number at any time."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, SupportsIndex, overload

from ctspine_zarr.errors import OutOfBounds
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.patches import PatchPlan
from ctspine_zarr.sampling.units import Unit, reorientation_of
from ctspine_zarr.training.kinds import Kind
from ctspine_zarr.training.making import TrainingSample
from ctspine_zarr.training.samples import Samples


class Dataset[S](Samples[S]):
    """Samples of one kind by index. Each reads the chunks that it touches and no other.

    Args:
        store: the selection.
        kind: `Slices(...)`, `Patches(...)`, `Volumes(...)`, `Windows(...)` or `Vertebrae(...)`.
        transform: called with each finished sample; what it returns is the sample.

    Raises:
        UnknownValue: an empty selection, one without what the kind is of, cases without a mask where
            masks are wanted, or an argument that is not legal.
    """

    @overload
    def __init__(
        self: Dataset[TrainingSample], store: Store, kind: Kind, *, transform: None = None
    ) -> None: ...
    @overload
    def __init__(self, store: Store, kind: Kind, *, transform: Callable[[TrainingSample], S]) -> None: ...
    def __init__(
        self, store: Store, kind: Kind, *, transform: Callable[[TrainingSample], Any] | None = None
    ) -> None:
        super().__init__(store, kind, transform)

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: SupportsIndex) -> S:
        """A sample; a negative number counts from the end.

        Raises:
            OutOfBounds: no such sample.
            DamagedStore: the chunks cannot be read.
        """
        return next(self._each([self._unit(number)]))

    def __iter__(self) -> Iterator[S]:
        """All samples, in order; slices of one slab are read together."""
        if self._is_extended or isinstance(self._plan, PatchPlan):
            return (self[number] for number in range(len(self)))
        return itertools.chain.from_iterable(map(self.of_case, range(len(self.store))))

    def __getitems__(self, numbers: Iterable[SupportsIndex]) -> list[S]:
        """Several samples, as PyTorch asks for batches: slices of one slab are read together.

        Raises: as for one.
        """
        if self._is_extended:
            return [self[number] for number in numbers]
        units = [self._unit(number) for number in numbers]
        together: dict[object, list[int]] = {}
        for at, unit in enumerate(units):
            row = self._plan.row_of(unit)
            together.setdefault(at if row is None else row, []).append(at)
        found: dict[int, S] = {}
        for ats in together.values():
            merged = Unit(units[ats[0]].case, tuple(units[at].boxes[0] for at in ats))
            found |= zip(ats, self._each([merged]), strict=True)
        return [found[at] for at in range(len(units))]

    def of_case(self, case: SupportsIndex) -> Iterator[S]:
        """A case's samples in order, by its number in the selection.

        Raises:
            OutOfBounds: no such case.
            UnknownValue: patches, which are drawn.
        """
        units = self._plan.units_of(_position("case", case, len(self.store)))
        return self._each(self._plan.unit(number, self._draw) for number in units)

    def numbers_of(self, case: SupportsIndex) -> range:
        """Numbers of a case's samples, by its number in the selection; raises as `of_case` does."""
        return self._plan.numbers_of(_position("case", case, len(self.store)))

    def shape_of(self, case: SupportsIndex) -> Shape:
        """Voxels of the volume, or crop, that a case's volume or windows cover, along the axes of its
        orientation.

        Raises:
            OutOfBounds: no such case.
            UnknownValue: samples of another kind.
        """
        number = _position("case", case, len(self.store))
        reorientation = reorientation_of(self._record(number), self.kind.orientation)
        return reorientation.shape(self.kind.covered(self._record(number), self.store.spec))

    @property
    def _is_extended(self) -> bool:
        """Whether a subclass makes its samples itself, one by one."""
        return type(self).__getitem__ is not Dataset.__getitem__

    def _unit(self, number: SupportsIndex) -> Unit:
        """The unit of one sample, alone."""
        return self._plan.single(_position("sample", number, len(self)), self._draw)


def _position(name: str, number: SupportsIndex, count: int) -> int:
    """The number, from the start.

    Raises:
        OutOfBounds: there are not so many.
    """
    try:
        return range(count)[operator.index(number)]
    except (IndexError, TypeError):
        message = f"{name} {number!r}; legal: {-count} to {count - 1}"
        raise OutOfBounds(message) from None
