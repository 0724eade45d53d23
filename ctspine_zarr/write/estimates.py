"""Estimates: the memory and the bytes on disk that a case takes, from its headers or its size alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ctspine_zarr import nifti
from ctspine_zarr.concurrency.limits import usable_memory
from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.nifti import Header
from ctspine_zarr.sources.source import CaseVolumes, Source
from ctspine_zarr.text import size

# Of a CT that needs int16 and has int32 on disk: more than any of the real ones.
_INFLATES: Final = 4.5
# Of a voxel, where its values are surely counted: see `distribution`.
_COUNTED_BYTES: Final = 2
_WORKER_BASE: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a case takes at the most.

    Attributes:
        working_bytes: of memory, for its files inflated and encoded; 0 where nothing can be said.
        widening: bytes of the image's values per byte on disk, where scaling makes wider ones.
    """

    working_bytes: int
    widening: float = 1


def estimate(case: SourceCase, source: Source) -> Estimate:
    """What a case takes: from its headers, else from its size where its files are elsewhere.

    What a cache has of them makes no difference, so that all machines plan the same. Where a header
    cannot be read nothing is said, for the build will say so.
    """
    paths = [path for file in case.files if (path := source.local(file)) is not None]
    if source.folder is None or len(paths) < len(case.files):
        return of_size(case.image.bytes)
    try:
        return of_files(paths)
    except CaseRefused:
        return Estimate(0)


def require_memory(volumes: CaseVolumes) -> None:
    """Do nothing where a case can be built here by one worker alone.

    Raises:
        CaseRefused: it takes more memory than may be used, or a header cannot be read.
    """
    masks = [volumes.header("segmentation")] if volumes.has_mask else []
    found = of_headers(volumes.header("image"), masks)
    needed, usable = worker_memory([found.working_bytes]), usable_memory()
    if needed > usable:
        message = (
            f"building it takes up to {size(needed)} of memory, {size(usable)} may be used; legal: a "
            "machine, container or job with more"
        )
        raise CaseRefused(message)


def of_files(paths: Sequence[Path]) -> Estimate:
    """What a case takes whose image, and mask if it has one, lie at these paths.

    Raises:
        CaseRefused: a header cannot be read.
    """
    image, *masks = (nifti.read_header(path) for path in paths)
    return of_headers(image, masks)


def of_size(compressed: int) -> Estimate:
    """What a case takes whose image is a `.nii.gz` of so many bytes."""
    # As for int16: inflated, compressed, and a byte a voxel of the mask.
    return Estimate(math.ceil(2.5 * compressed * _INFLATES))


def of_headers(image: Header, masks: Iterable[Header]) -> Estimate:
    """What a case takes that has an image and one mask or none."""
    of_masks = [mask.nbytes + 2 * mask.voxels for mask in masks]
    most = max(_image_bytes(image, has_mask=bool(of_masks)), *of_masks, 0)
    return Estimate(most, _widening(image))


def worker_memory(working_bytes: Iterable[int]) -> int:
    """Upper bound in bytes of the memory of one worker that builds cases which take so much each."""
    return max(working_bytes, default=0) + _WORKER_BASE


def _widening(image: Header) -> float:
    # Of a shifted integer the further bytes are all but constant, which costs nothing once compressed.
    return 1 if image.shifts_integers else max(1, image.decoded_bytes / image.nbytes)


def _image_bytes(image: Header, *, has_mask: bool) -> int:
    """What is there at once at the most: the image inflated and compressed, and the mask's voxels.

    Values that are not int16 may be kept to be sorted, those of labels once more.
    """
    copies = 1 if image.decoded_bytes <= image.voxels * _COUNTED_BYTES else 3
    return image.nbytes + copies * image.decoded_bytes + has_mask * image.voxels
