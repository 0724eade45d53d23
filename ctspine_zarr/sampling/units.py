"""Units of reading, the boxes of voxels that samples are made of, and what plans of them have. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.geometry import Lattice, Reorientation, Shape, oriented

HUB: Final = "hub"
"""The orientation of the Hub's loader: the source array's axes, (i, j, k), as (k, i, j)."""


type Voxels = Callable[[int, Label], NDArray[np.int64]]
"""From a case's number and one of its labels to the (n, 3) voxels that bear it."""


@dataclass(frozen=True, slots=True)
class SampleBox:
    """The box of voxels of one sample: a slice, patch, window, vertebra or volume.

    Attributes:
        lattice: where its voxels lie in the volume.
        index: of a slice, along the axis it is cut across, as the sample has it.
        start: of a patch, (z, y, x), in the volume at the patch's spacing.
        volume: (z, y, x) voxels of that volume.
        cut: the canonical axis (0, 1 or 2) that a slice does not have.
        label: of a vertebra, its value in the mask.
    """

    lattice: Lattice
    index: int | None = None
    start: Shape | None = None
    volume: Shape | None = None
    cut: int | None = None
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of reading, such as a slab of slices or a region of patches: boxes of one case that
    lie together, so that reading them at once decodes each chunk once.

    Attributes:
        case: number of the case in the selection.
        boxes: one or more.
    """

    case: int
    boxes: tuple[SampleBox, ...]


class Draw(NamedTuple):
    """What random samples are drawn by, besides their seed.

    Attributes:
        epoch: from 0.
        voxels: asked where voxels that bear a label are wanted.
    """

    epoch: int
    voxels: Voxels


class Usual(NamedTuple):
    """What a stream does where it is not told.

    Attributes:
        buffer: units that samples are drawn from at a time.
        ahead: units that are read ahead where a read is a round trip.
    """

    buffer: int
    ahead: int


class Plan(Protocol):
    """A plan of which voxels samples have. Its `repr` says all but the selection.

    Attributes:
        keys: what samples have of their place in the volume -> its shape.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]]

    def __len__(self) -> int: ...

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each unit."""

    @property
    def usual(self) -> Usual:
        """What a stream of them does where it is not told."""

    def unit(self, number: int, draw: Draw) -> Unit:
        """Samples that are read at once, by the unit's number."""

    def single(self, number: int, draw: Draw) -> Unit:
        """One sample of the selection by its number, as a unit of its own."""

    def units_of(self, case: int) -> range:
        """Numbers of a case's units.

        Raises:
            UnknownValue: samples are drawn, so that no case has some of its own.
        """

    def numbers_of(self, case: int) -> range:
        """Numbers of a case's samples; raises as `units_of` does."""

    def row_of(self, single: Unit) -> tuple[int, int] | None:
        """What two samples share that are read together; None where each is read by itself."""

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a case's samples, and the axis that slices are cut across."""


class OneByOne(ABC):
    """A plan of samples that are read one by one, some of each case, case after case.

    Attributes:
        records: of the selection.
    """

    records: Sequence[Record]

    @abstractmethod
    def count_of(self, case: int) -> int:
        """Samples of a case."""

    @abstractmethod
    def unit(self, number: int, draw: Draw) -> Unit:
        """One sample."""

    def single(self, number: int, draw: Draw) -> Unit:
        """The same: see `Plan`."""
        return self.unit(number, draw)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """1 for each: see `Plan`."""
        return np.ones(len(self), np.int64)

    def units_of(self, case: int) -> range:
        """Numbers of a case's samples."""
        stop = int(self._ends[case])
        return range(stop - self.count_of(case), stop)

    def numbers_of(self, case: int) -> range:
        """Numbers of a case's samples."""
        return self.units_of(case)

    def place_of(self, number: int) -> tuple[int, int]:
        """Case of a sample, and the sample's place among those of its case."""
        case = int(np.searchsorted(self._ends, number, "right"))
        return case, number - self.units_of(case).start

    def row_of(self, single: Unit) -> None:  # noqa: B027 - None is the answer
        """See `Plan`."""

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([self.count_of(case) for case in range(len(self.records))])


def reorientation_of(record: Record, orientation: str) -> Reorientation:
    """The permutation and flips that make a case's canonical voxels those of a sample.

    Args:
        record: of the case.
        orientation: codes as for `oriented`, or "hub".

    Raises:
        UnknownValue: no such orientation.
    """
    if orientation == HUB:
        codes = record.orientation
        orientation = codes[2] + codes[:2]
    return oriented(orientation)


def require_cases(count: int) -> None:
    """Do nothing where there is a case to sample from.

    Raises:
        UnknownValue: there is none.
    """
    if not count:
        message = "the selection has no case; legal: 1 or more to sample from"
        raise UnknownValue(message)
