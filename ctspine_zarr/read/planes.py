"""Planes of a case, read at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.record import Record
from ctspine_zarr.look.planes import Cut, Plane, plane
from ctspine_zarr.read.regions import Region, patch_region
from ctspine_zarr.read.sample import Name

type Fill = Callable[[Sequence[Region], Mapping[Name, Sequence[NDArray[Any]]]], None]
"""`Case.fill` of a case."""


def read_planes(record: Record, fill: Fill, cuts: Sequence[Cut]) -> list[Plane]:
    """The planes of some cuts; each chunk that any of them touches is decoded once, and no other.

    Args:
        record: of the case.
        fill: of the same case.
        cuts: of its volume.

    Raises:
        DamagedStore: the chunks cannot be read.
    """
    regions = [patch_region(record.shape, size, start=start) for cut in cuts for start, size in cut.boxes]
    images = [np.empty(cut.shape, record.image.dtype) for cut in cuts]
    masks = [np.empty(cut.shape, np.uint8) for cut in cuts]
    targets: dict[Name, Sequence[NDArray[Any]]] = {"image": _parts(cuts, images)}
    if record.has_mask:
        targets["segmentation"] = _parts(cuts, masks)
    fill(regions, targets)
    affine = record.affine_matrix
    return [
        plane(cut, image, mask if record.has_mask else None, affine)
        for cut, image, mask in zip(cuts, images, masks, strict=True)
    ]


def _parts(cuts: Sequence[Cut], planes: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [part for cut, whole in zip(cuts, planes, strict=True) for part in cut.parts(whole)]
