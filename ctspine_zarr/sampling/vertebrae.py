"""Vertebrae: a box around each, of one size in mm. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.levels import sound_labels
from ctspine_zarr.format.record import Label, Record, Triple
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.units import Draw, OneByOne, SampleBox, Unit, Usual, require_cases
from ctspine_zarr.sampling.volumes import steps_of


@dataclass(frozen=True)
class VertebraPlan(OneByOne):
    """A plan of vertebrae: a box around the centroid of every label of every case, in order of value.

    Attributes:
        records: of the selection; left out of the `repr`.
        extent: of the boxes, in mm, (z, y, x).
        spacing: mm, (z, y, x); None for each case's own, whose voxels are taken as they are.
        labels: values that are wanted; None for all. Strays are none.

    Raises:
        UnknownValue: the selection is empty, or no case has such a label.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {"label": ()}

    records: Sequence[Record] = field(repr=False)
    extent: Triple
    spacing: Triple | None = None
    labels: Collection[int] | None = None

    def __post_init__(self) -> None:
        require_cases(len(self.records))
        if not len(self):
            message = "no case of the selection has such a label; legal: labels that one has"
            raise UnknownValue(message)

    @property
    def usual(self) -> Usual:
        """8 vertebrae, and 8 ahead."""
        return Usual(8, 8)

    def count_of(self, case: int) -> int:
        """Vertebrae of a case."""
        return len(self._wanted(case))

    def unit(self, number: int, draw: Draw | None = None) -> Unit:  # noqa: ARG002 - nothing is drawn
        """One vertebra."""
        case, place = self.place_of(number)
        label = self._wanted(case)[place]
        return Unit(case, (SampleBox(self._lattice(case, label), label=label.label),))

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a box; nothing is cut."""
        spacing = self.spacing or self.records[case].spacing
        z, y, x = (max(1, round(mm / step)) for mm, step in zip(self.extent, spacing, strict=True))
        return (z, y, x), None

    def _lattice(self, case: int, label: Label) -> Lattice:
        size, _ = self.size_of(case)
        step = steps_of(self.records[case], self.spacing)
        along = zip(label.centroid, size, step, strict=True)
        first = [middle - (n - 1) / 2 * by for middle, n, by in along]
        # Voxels as they are stored: the nearest box of them.
        z, y, x = map(round, first) if step == (1, 1, 1) else first
        return Lattice(size, (z, y, x), step)

    def _wanted(self, case: int) -> list[Label]:
        return [
            label
            for label in sound_labels(self.records[case])
            if self.labels is None or label.label in self.labels
        ]
