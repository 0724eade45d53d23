"""Plans of slices: every one of a selection, and the slabs they are read in. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue, choose
from ctspine_zarr.format.levels import sound_labels
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.read.regions import PLANES, plane_size
from ctspine_zarr.sampling.units import (
    HUB,
    Draw,
    SampleBox,
    Unit,
    Usual,
    reorientation_of,
    require_cases,
)

_OPEN_SLICES: Final = 128
_SLICES_AHEAD: Final = 64


@dataclass(frozen=True)
class SlicePlan:
    """A plan of slices of one plane.

    Attributes:
        records: of the selection; left out of the `repr`.
        axis: `axial`, `coronal` or `sagittal`.
        every: n for every n-th slice of each volume.
        foreground: only slices that cross the box of a label, by the catalog; strays are none, and a
            case without a mask has none.
        orientation: as for `reorientation_of`. A slice's number counts along the cut axis as
            this orientation has it; "hub" cuts the source array's third axis, whichever plane
            that gives, and takes no other `axis` than `axial`.

    Raises:
        UnknownValue: an argument is not legal, or no slice is left.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {"slice_index": ()}

    records: Sequence[Record] = field(repr=False)
    axis: str = "axial"
    every: int = 1
    foreground: bool = False
    orientation: str = "SAR"

    def __post_init__(self) -> None:
        choose("axis", self.axis, PLANES)
        require_cases(len(self.records))
        if self.orientation == HUB and self.axis != "axial":
            message = f'axis {self.axis!r} with orientation "hub"; legal: axial, the slices that the Hub has'
            raise UnknownValue(message)
        if not len(self):
            message = "no slice of the selection crosses a label; legal: foreground_only=False"
            raise UnknownValue(message)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def usual(self) -> Usual:
        """Slabs that have 128 slices, and 3 at least; read ahead those of 64, and 4 at least."""
        return Usual(max(3, _OPEN_SLICES // self.thickest), max(4, _SLICES_AHEAD // self.thickest))

    def single(self, number: int, draw: Draw | None = None) -> Unit:  # noqa: ARG002 - nothing is drawn
        """One slice of the selection, by its number, as a unit of its own."""
        case = int(np.searchsorted(self._ends, number, "right"))
        stored = self._positions(case)
        return self._unit(case, stored[[number - int(self._ends[case])]])

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Slices of each slab: those that lie in one row of the image's chunks across the cut axis."""
        return np.array([size for sizes in self._slab_sizes for size in sizes])

    def unit(self, number: int, draw: Draw | None = None) -> Unit:  # noqa: ARG002 - nothing is drawn
        """One slab."""
        case = int(np.searchsorted(self._slab_ends, number, "right"))
        sizes, slab = self._slab_sizes[case], number - self.units_of(case).start
        start = sum(sizes[:slab])
        return self._unit(case, self._positions(case)[start : start + sizes[slab]])

    def units_of(self, case: int) -> range:
        """Numbers of a case's slabs."""
        stop = int(self._slab_ends[case])
        return range(stop - len(self._slab_sizes[case]), stop)

    def numbers_of(self, case: int) -> range:
        """Numbers of a case's slices."""
        stop = int(self._ends[case])
        return range(stop - sum(self._slab_sizes[case]), stop)

    def row_of(self, single: Unit) -> tuple[int, int]:
        """Case and row of chunks of one slice."""
        axis, _ = self.cut(single.case)
        return single.case, round(single.boxes[0].lattice.first[axis]) // self._thickness(single.case)

    @property
    def thickest(self) -> int:
        """Voxels across the thickest slabs of the selection."""
        return max(map(self._thickness, range(len(self.records))))

    def cut(self, case: int) -> tuple[int, bool]:
        """The canonical axis that the slices of a case do not have, and whether they are counted
        from its end.
        """
        reorientation = reorientation_of(self.records[case], self.orientation)
        axis = reorientation.axes[0] if self.orientation == HUB else PLANES[self.axis]
        return axis, reorientation.flips[reorientation.axes.index(axis)]

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a case's slices, and the axis that they are cut across."""
        axis, _ = self.cut(case)
        return plane_size(self.records[case].shape, tuple(PLANES)[axis]), axis

    def _unit(self, case: int, stored: NDArray[np.int64]) -> Unit:
        axis, flip = self.cut(case)
        size, _ = self.size_of(case)
        last = self.records[case].shape[axis] - 1
        boxes = []
        for position in stored.tolist():
            z, y, x = (position if i == axis else 0 for i in range(3))
            index = last - position if flip else position
            boxes.append(SampleBox(Lattice(size, (z, y, x)), index=index, cut=axis))
        return Unit(case, tuple(boxes))

    def _positions(self, case: int) -> NDArray[np.int64]:
        """Canonical positions of a case's slices, in the order of their slice index."""
        record = self.records[case]
        axis, flip = self.cut(case)
        index = np.arange(0, record.shape[axis], self.every)
        stored = record.shape[axis] - 1 - index if flip else index
        if not self.foreground:
            return stored
        labelled = np.zeros(record.shape[axis], bool)
        for label in sound_labels(record):
            labelled[label.start[axis] : label.stop[axis]] = True
        return stored[labelled[stored]]

    def _thickness(self, case: int) -> int:
        """Voxels of the image's chunks across the cut axis."""
        axis, _ = self.cut(case)
        return self.records[case].image.chunk[axis]

    @cached_property
    def _slab_sizes(self) -> list[list[int]]:
        """For each case how many slices lie in each row of chunks, in the order of their slice index."""
        rows = (self._positions(case) // self._thickness(case) for case in range(len(self.records)))
        return [[len(list(slab)) for _, slab in itertools.groupby(of_case.tolist())] for of_case in rows]

    @cached_property
    def _slab_ends(self) -> NDArray[np.int64]:
        return np.cumsum([len(sizes) for sizes in self._slab_sizes])

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([sum(sizes) for sizes in self._slab_sizes])
