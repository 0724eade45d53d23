"""Volumes, whole or around their labels, at their own spacing or another. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from ctspine_zarr.errors import UnknownValue, number
from ctspine_zarr.format.levels import sound_labels
from ctspine_zarr.format.record import Label, Record, Triple
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.units import Draw, OneByOne, SampleBox, Unit, Usual, require_cases

type Box = tuple[Shape, Shape]
"""Start and size, (z, y, x)."""

# Spacings that differ by less are equal: 0.1 voxel over 10,000.
_SAME_STEP: Final = 1e-5
# Digits of a length, in voxels, that are taken to be meant.
_DIGITS: Final = 6


def spacing_in_mm(asked: float | Sequence[float] | None) -> Triple | None:
    """(z, y, x) mm above 0; a single number is for all three. None stays None.

    Raises:
        UnknownValue: not one or three numbers above 0.
    """
    return None if asked is None else triple_in_mm("spacing", asked, least=math.ulp(0))


def triple_in_mm(name: str, asked: float | Sequence[float], *, least: float = 0) -> Triple:
    """(z, y, x) mm; a single number is for all three.

    Raises:
        UnknownValue: not one or three finite numbers from `least` on.
    """
    three = (asked,) * 3 if np.ndim(asked) == 0 else np.asarray(asked)
    legal = f"mm {'above' if least else 'from'} 0, one number or (z, y, x)"
    if len(three) != 3:
        message = f"{name} {asked!r}; legal: {legal}"
        raise UnknownValue(message)
    z, y, x = (number(name, mm, legal, lambda mm: least <= mm < math.inf) for mm in three)
    return z, y, x


@dataclass(frozen=True)
class Frame:
    """The frame that samples of a case are taken from: a box of its volume, at a spacing.

    Attributes:
        spacing: mm, (z, y, x); None for each case's own.
        margin: mm around the labels, (z, y, x), inside the volume; None for all of the volume.
        labels: their values; None for all that a case has. Strays are none.
    """

    spacing: Triple | None = None
    margin: Triple | None = None
    labels: tuple[int, ...] | None = None

    def lattice(self, record: Record) -> Lattice:
        """The voxels of a case's frame, from the outer edge of the first one, to half a new voxel."""
        return volume_lattice(record, self.spacing, self._box(record))

    def has(self, record: Record) -> bool:
        """Whether a case has labels to put the frame around, where it needs them."""
        return self.margin is None or bool(self._labels(record))

    def _box(self, record: Record) -> Box | None:
        if self.margin is None:
            return None
        labels, around = self._labels(record), zip(self.margin, record.spacing, record.shape, strict=True)
        ends = [
            _extended(
                min(label.start[axis] for label in labels), max(label.stop[axis] for label in labels), *along
            )
            for axis, along in enumerate(around)
        ]
        (start_z, stop_z), (start_y, stop_y), (start_x, stop_x) = ends
        size = (stop_z - start_z, stop_y - start_y, stop_x - start_x)
        return (start_z, start_y, start_x), size

    def _labels(self, record: Record) -> list[Label]:
        found = sound_labels(record)
        return found if self.labels is None else [label for label in found if label.label in self.labels]


WHOLE: Final = Frame()
"""All of each volume, as it is."""


def _extended(start: int, stop: int, margin: float, spacing: float, size: int) -> tuple[int, int]:
    """A run of voxels with a margin in mm around it, whole voxels of which stay in the volume."""
    # 20 mm are 25 voxels of 0.8, not the 26 that 25.000000000000004 would make.
    more = math.ceil(round(margin / spacing, _DIGITS))
    return max(0, start - more), min(size, stop + more)


def volume_lattice(record: Record, spacing: Triple | None, box: Box | None = None) -> Lattice:
    """The lattice of a volume at a spacing in mm, (z, y, x); None for its own, voxel for voxel.

    It covers the same extent, from the outer edge of its first voxel, to half a new voxel.

    Args:
        record: of the case.
        spacing: mm.
        box: start and size, (z, y, x), of a part of the volume; all of it by default.
    """
    start, size = box or ((0, 0, 0), record.shape)
    steps = steps_of(record, spacing)
    z, y, x = (max(1, round(n / step)) for n, step in zip(size, steps, strict=True))
    # The one voxel of a volume thinner than it is in the middle of that volume.
    first_z, first_y, first_x = (
        begin + ((min(step, n) - 1) / 2 if round(n / step) <= 1 else (step - 1) / 2)
        for begin, n, step in zip(start, size, steps, strict=True)
    )
    return Lattice((z, y, x), (first_z, first_y, first_x), steps)


def steps_of(record: Record, spacing: Triple | None) -> Triple:
    """A spacing in mm, (z, y, x), in voxels of a case; 1 where it is the case's own, or None."""
    z, y, x = (
        1.0 if math.isclose(mm, own, rel_tol=_SAME_STEP) else mm / own
        for mm, own in zip(spacing or record.spacing, record.spacing, strict=True)
    )
    return z, y, x


def box_lattice(lattice: Lattice, start: Shape, size: Shape) -> Lattice:
    """The lattice of a box of another one, which may reach beyond it."""
    axes = zip(lattice.first, start, lattice.step, strict=True)
    z, y, x = (first + begin * step for first, begin, step in axes)
    return Lattice(size, (z, y, x), lattice.step)


@dataclass(frozen=True)
class VolumePlan(OneByOne):
    """A plan of volumes: every one of a selection.

    Attributes:
        records: of the selection; left out of the `repr`.
        frame: of each.

    Raises:
        UnknownValue: the selection is empty.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    records: Sequence[Record] = field(repr=False)
    frame: Frame = WHOLE

    def __post_init__(self) -> None:
        require_cases(len(self.records))

    @property
    def usual(self) -> Usual:
        """Two volumes, and one ahead: each is large."""
        return Usual(2, 1)

    def count_of(self, case: int) -> int:  # noqa: ARG002 - all are alike
        """1: a case has one volume."""
        return 1

    def unit(self, number: int, draw: Draw | None = None) -> Unit:  # noqa: ARG002 - nothing is drawn
        """One volume."""
        return Unit(number, (SampleBox(self.frame.lattice(self.records[number])),))

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a volume; nothing is cut."""
        return self.frame.lattice(self.records[case]).size, None
