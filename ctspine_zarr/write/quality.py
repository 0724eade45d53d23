"""What is odd about a case, found by the store itself: none of the known faults ships with the data.

Findings never refuse a case. Their codes:

    missing_level    a label between the first and the last one is absent
    stray_label      a label apart from the main run of labels and far smaller
    split_vertebra   a label in pieces, the largest below 90 % of it
    order            two neighbouring labels whose centroids do not descend
    no_label         the mask is empty
    mask_offset      the grids of image and mask differ by over 0.01 voxel (below 0.5, or refused)
    sform_qform      the two affines of the image's header differ by over 0.5 voxel
    no_orientation   neither affine of a file is coded: its left and right are the format's guess
    trailing_axis    axes of length 1 were dropped
    not_restorable   values are exact, but the source file's bytes cannot be rebuilt from them
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from ctspine_zarr.dataset import VERTEBRAE
from ctspine_zarr.format.records import Finding, Vertebra
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
        yield Finding("no_label", "the mask holds no vertebra")
        return
    strays = _strays(vertebrae)
    if strays:
        yield Finding("stray_label", f"few voxels, apart from the others: {_names(strays)}", strays)
    spine = [v for v in vertebrae if v.label not in strays]
    missing = _missing([v.label for v in spine])
    if missing:
        yield Finding("missing_level", f"absent between present ones: {_names(missing)}", missing)
    split = tuple(v.label for v in spine if v.largest < _WHOLE_SHARE * v.voxels)
    if split:
        yield Finding("split_vertebra", f"in pieces: {_names(split)}", split)
    for upper, lower in itertools.pairwise(spine):
        if upper.centroid[0] <= lower.centroid[0]:
            yield Finding("order", f"{upper.name} is not above {lower.name}", (upper.label, lower.label))


def geometry_findings(image: Header, mask: Header, offset: float) -> Iterator[Finding]:
    """What is odd about the grids of a case; `offset` is that of the mask, in voxels."""
    if offset > _NOTED_OFFSET:
        yield Finding("mask_offset", f"image and mask lie {offset:.3f} voxel apart")
    if image.sform is not None and image.qform is not None:
        apart = grid_offset(image.sform, image.qform, image.shape)
        if apart > MOST_OFFSET:
            yield Finding("sform_qform", f"sform and qform of the image lie {apart:.3g} voxels apart")
    for name, header in (("image", image), ("mask", mask)):
        if header.sform is None and header.qform is None:
            yield Finding("no_orientation", f"the {name} has neither sform nor qform")
        if header.disk_shape != header.shape:
            yield Finding(
                "trailing_axis", f"the {name} has shape {header.disk_shape}, read as {header.shape}"
            )


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
