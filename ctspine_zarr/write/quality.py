"""What is odd about a case, found by the store itself: none of the known faults ships with the data.

Findings never refuse a case; `format.records.Code` says what each means.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from ctspine_zarr.dataset import VERTEBRAE
from ctspine_zarr.format.record import Code, Finding, Vertebra
from ctspine_zarr.geometry import grid_offset
from ctspine_zarr.nifti import Header

MOST_OFFSET: Final = 0.5
"""Voxels by which image and mask may lie apart: below it, they share every voxel."""

_NOTED_OFFSET: Final = 0.01
# Of the median vertebra's voxels: what is smaller, and apart, is a stray.
_STRAY_SHARE: Final = 0.05
_WHOLE_SHARE: Final = 0.9


def label_findings(vertebrae: Sequence[Vertebra]) -> Iterator[Finding]:
    """What is odd about the labels of one mask, given in order of label."""
    if not vertebrae:
        yield Finding(Code.NO_LABEL, "the mask holds no vertebra")
        return
    strays = _strays(vertebrae)
    if strays:
        yield Finding(Code.STRAY_LABEL, f"few voxels, apart from the others: {_names(strays)}", strays)
    spine = [v for v in vertebrae if v.label not in strays]
    missing = _missing([v.label for v in spine])
    if missing:
        yield Finding(Code.MISSING_LEVEL, f"absent between present ones: {_names(missing)}", missing)
    split = tuple(v.label for v in spine if v.largest < _WHOLE_SHARE * v.voxels)
    if split:
        yield Finding(Code.SPLIT_VERTEBRA, f"in pieces: {_names(split)}", split)
    for upper, lower in itertools.pairwise(spine):
        if upper.centroid[0] <= lower.centroid[0]:
            yield Finding(Code.ORDER, f"{upper.name} is not above {lower.name}", (upper.label, lower.label))


def geometry_findings(image: Header, mask: Header, offset: float) -> Iterator[Finding]:
    """What is odd about the grids of a case; `offset` is that of the mask, in voxels."""
    if offset > _NOTED_OFFSET:
        yield Finding(Code.MASK_OFFSET, f"image and mask lie {offset:.3f} voxel apart")
    if image.qform_code > 0 and image.qform is None:
        yield Finding(Code.SFORM_QFORM, "the qform of the image is unusable; its sform is used")
    elif image.sform is not None and image.qform is not None:
        apart = grid_offset(image.sform, image.qform, image.shape)
        if apart > MOST_OFFSET:
            yield Finding(Code.SFORM_QFORM, f"sform and qform of the image lie {apart:.3g} voxels apart")
    for name, header in (("image", image), ("mask", mask)):
        if header.sform is None and header.qform is None:
            yield Finding(Code.NO_ORIENTATION, f"the {name} has neither sform nor qform")
        if header.disk_shape != header.shape:
            message = f"the {name} has shape {header.disk_shape}, read as {header.shape}"
            yield Finding(Code.TRAILING_AXIS, message)


def _strays(vertebrae: Sequence[Vertebra]) -> tuple[int, ...]:
    """Labels outside the run of consecutive labels that holds most voxels, and small beside it."""
    runs = _runs(vertebrae)
    main = max(runs, key=lambda run: sum(v.voxels for v in run))
    least = _STRAY_SHARE * statistics.median(v.voxels for v in main)
    return tuple(v.label for run in runs if run is not main for v in run if v.voxels < least)


def _runs(vertebrae: Sequence[Vertebra]) -> list[list[Vertebra]]:
    runs: list[list[Vertebra]] = []
    for vertebra in vertebrae:
        if not runs or vertebra.label != runs[-1][-1].label + 1:
            runs.append([])
        runs[-1].append(vertebra)
    return runs


def _missing(labels: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(range(labels[0], labels[-1])) - set(labels))) if labels else ()


def _names(labels: Sequence[int]) -> str:
    return ", ".join(VERTEBRAE[label] for label in labels)
