"""Centroids of labels as VerSe and TPTBox have them: a list that JSON takes.

Its first entry, `{"direction": ["L", "P", "S"]}`, has for each axis of the mask file the side of the body
that its indices increase towards; the others, `{"label": 20, "X": 87.2, "Y": 64.9, "Z": 203.6}`, have mean
positions in voxels along these axes, the first voxel's centre being 0. As in `load_centroids` and
`calc_centroids` of https://github.com/anjany/verse; VerSe's own are rounded to a tenth of a voxel, these to
a thousandth, as the catalog has them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import disk_codes
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.label_sums import LabelSums

_DIGITS: Final = 3

type Centroids = list[dict[str, Any]]


def centroids_of_record(case: Case) -> Centroids:
    """The centroids that the catalog has of a case, along the axes of its mask's source file.

    Raises:
        NoMask: the case has none.
        DamagedStore: the case's attributes cannot be read.
    """
    reorientation = case.nifti_source("segmentation").reorientation
    i, j, k = (case.shape[reorientation.axes.index(axis)] for axis in range(3))
    to_disk = reorientation.old_indices((i, j, k))
    found = {label.label: to_disk[:3] @ [*label.centroid, 1] for label in case.record.labels}
    return _listed(disk_codes(reorientation), found)


def centroids_of_mask(mask: NDArray[np.uint8], no_label: Collection[int]) -> Centroids:
    """The centroids of the labels of a canonical mask, (z, y, x), along x, y and z.

    Args:
        mask: of a file whose axes are x, y and z.
        no_label: values that are none.
    """
    sums = LabelSums()
    sums.add(mask, 0)
    found = {label: middle[::-1] for label, middle in sums.middles().items() if label not in no_label}
    return _listed("RAS", found)


def _listed(codes: str, found: dict[int, NDArray[np.float64]]) -> Centroids:
    labels = [
        {"label": label, **dict(zip("XYZ", np.round(place, _DIGITS).tolist(), strict=True))}
        for label, place in found.items()
    ]
    return [{"direction": list(codes)}, *labels]
