"""Whole volumes, at their own spacing or another. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from ctspine_zarr.errors import UnknownValue, number
from ctspine_zarr.format.record import Record, Triple
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.units import SampleBox, Unit, require_cases

# Spacings that differ by less are equal: 0.1 voxel over 10,000.
_SAME_STEP: Final = 1e-5


def spacing_in_mm(asked: float | Sequence[float] | None) -> Triple | None:
    """(z, y, x) mm; a single number is for all three. None stays None.

    Raises:
        UnknownValue: not one or three numbers above 0.
    """
    if asked is None:
        return None
    three = (asked,) * 3 if np.ndim(asked) == 0 else np.asarray(asked)
    legal = "mm above 0, one number or (z, y, x)"
    if len(three) != 3:
        message = f"spacing {asked!r}; legal: {legal}"
        raise UnknownValue(message)
    z, y, x = (number("spacing", mm, legal, lambda mm: 0 < mm < math.inf) for mm in three)
    return z, y, x


def volume_lattice(record: Record, spacing: Triple | None) -> Lattice:
    """The lattice of a volume at a spacing in mm, (z, y, x); None for its own, voxel for voxel.

    It covers the same extent, from the outer edge of its first voxel, to half a new voxel.
    """
    if spacing is None:
        return Lattice(record.shape)
    steps = [
        1.0 if math.isclose(mm, own, rel_tol=_SAME_STEP) else mm / own
        for mm, own in zip(spacing, record.spacing, strict=True)
    ]
    z, y, x = (max(1, round(n / step)) for n, step in zip(record.shape, steps, strict=True))
    # The one voxel of a volume thinner than it is in the middle of that volume.
    first_z, first_y, first_x = (
        (min(step, n) - 1) / 2 if round(n / step) <= 1 else (step - 1) / 2
        for n, step in zip(record.shape, steps, strict=True)
    )
    step_z, step_y, step_x = steps
    return Lattice((z, y, x), (first_z, first_y, first_x), (step_z, step_y, step_x))


def box_lattice(lattice: Lattice, start: Shape, size: Shape) -> Lattice:
    """The lattice of a box of another one, which may reach beyond it."""
    axes = zip(lattice.first, start, lattice.step, strict=True)
    z, y, x = (first + begin * step for first, begin, step in axes)
    return Lattice(size, (z, y, x), lattice.step)


@dataclass(frozen=True)
class VolumePlan:
    """A plan of volumes: every one of a selection.

    Attributes:
        records: of the selection; left out of the `repr`.
        spacing: mm, (z, y, x); None for each case's own.

    Raises:
        UnknownValue: the selection is empty.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {}

    records: Sequence[Record] = field(repr=False)
    spacing: Triple | None = None

    def __post_init__(self) -> None:
        require_cases(len(self.records))

    def __len__(self) -> int:
        return len(self.records)

    def unit(self, number: int) -> Unit:
        """One volume."""
        return Unit(number, (SampleBox(volume_lattice(self.records[number], self.spacing)),))

    def size_of(self, case: int) -> tuple[Shape, int | None]:
        """(z, y, x) voxels of a volume; nothing is cut."""
        return volume_lattice(self.records[case], self.spacing).size, None
