"""What is read at once, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.record import Code, Record, Vertebra
from ctspine_zarr.geometry import Lattice, Reorientation, Shape, oriented

HUB: Final = "hub"
"""The orientation of the Hub's loader: the source array's axes, (i, j, k), as (k, i, j)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The voxels of one sample.

    Attributes:
        lattice: where they lie in their volume.
        index: of a slice, along the axis it is cut across, as the sample has it.
        start: of a patch, (z, y, x), in the volume at the patch's spacing.
        volume: (z, y, x) voxels of that volume.
        cut: the canonical axis (0, 1 or 2) that a slice does not have.
    """

    lattice: Lattice
    index: int | None = None
    start: Shape | None = None
    volume: Shape | None = None
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Pieces of one case that lie together: reading them decodes each chunk once.

    Attributes:
        case: number of the case in the selection.
        pieces: one or more.
    """

    case: int
    pieces: tuple[Piece, ...]


def reorientation_of(record: Record, orientation: str) -> Reorientation:
    """How a case's canonical voxels become those of a sample.

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


def sound_vertebrae(record: Record) -> list[Vertebra]:
    """A case's vertebrae, without the labels that its findings call strays."""
    strays = {label for found in record.findings if found.code == Code.STRAY_LABEL for label in found.labels}
    return [vertebra for vertebra in record.vertebrae if vertebra.label not in strays]


def require_cases(count: int) -> None:
    """Do nothing where there is a case to sample from.

    Raises:
        UnknownValue: there is none.
    """
    if not count:
        message = "the selection has no case; legal: 1 or more to sample from"
        raise UnknownValue(message)
