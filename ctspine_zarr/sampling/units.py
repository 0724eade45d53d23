"""Units of reading, and the boxes of voxels that samples are made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.record import Code, Label, Record
from ctspine_zarr.geometry import Lattice, Reorientation, Shape, oriented

HUB: Final = "hub"
"""The orientation of the Hub's loader: the source array's axes, (i, j, k), as (k, i, j)."""


@dataclass(frozen=True, slots=True)
class SampleBox:
    """The box of voxels of one sample: a slice, patch, window or volume.

    Attributes:
        lattice: where its voxels lie in the volume.
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
    """A unit of reading, such as a slab of slices or a region of patches: boxes of one case that
    lie together, so that reading them at once decodes each chunk once.

    Attributes:
        case: number of the case in the selection.
        boxes: one or more.
    """

    case: int
    boxes: tuple[SampleBox, ...]


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


def sound_labels(record: Record) -> list[Label]:
    """A case's labels, without those that its findings call strays; none where it has no mask."""
    strays = {label for found in record.findings if found.code == Code.STRAY_LABEL for label in found.labels}
    return [label for label in record.labels if label.label not in strays]


def require_cases(count: int) -> None:
    """Do nothing where there is a case to sample from.

    Raises:
        UnknownValue: there is none.
    """
    if not count:
        message = "the selection has no case; legal: 1 or more to sample from"
        raise UnknownValue(message)
