"""Planes of a case, read at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import PlaneName
from ctspine_zarr.look.line import centre_line
from ctspine_zarr.look.planes import PLANES, Cut, Plane, cut, plane
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


def three_planes(record: Record, spec: Spec, fill: Fill) -> dict[PlaneName, Plane]:
    """The planes of a picture of a case, along its spine.

    Args:
        record: of the case.
        spec: of its dataset.
        fill: of the case.

    Raises: as `read_planes` does.
    """
    line = centre_line(record, spec)
    cuts = [cut(view, record.shape, line) for view in PLANES]
    return dict(zip(PLANES, read_planes(record, fill, cuts), strict=True))


def sagittal(record: Record, spec: Spec, fill: Fill) -> Plane:
    """The sagittal plane of a case along its spine.

    Args:
        record, spec, fill: as for `three_planes`.

    Raises: as `read_planes` does.
    """
    [plane] = read_planes(record, fill, [cut("sagittal", record.shape, centre_line(record, spec))])
    return plane


def _parts(cuts: Sequence[Cut], planes: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [part for cut, whole in zip(cuts, planes, strict=True) for part in cut.parts(whole)]
