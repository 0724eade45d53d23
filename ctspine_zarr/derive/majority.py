"""Labels at the voxels of a coarser lattice, by the share of each around a voxel. Pure."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.derive.filtering import Taps

type Slices = tuple[slice, slice, slice]


def majority(
    mask: NDArray[np.uint8], taps: tuple[Taps, Taps, Taps], labels: Collection[int]
) -> NDArray[np.uint8]:
    """The label that has the largest share of each voxel of a lattice, by the filter's weights.

    Background is a label like the others; of two as large the lower value is taken.

    Args:
        mask: (z, y, x), all of the volume.
        taps: of the lattice.
        labels: values that may occur.
    """
    size = tuple(len(along.first) for along in taps)
    found = np.zeros(size, np.uint8)
    shares = np.zeros(size, np.float32)
    labelled = np.zeros(size, np.float32)
    for label in sorted(labels):
        share, box = _share(mask, label, taps)
        if share is None:
            continue
        is_more = share > shares[box]
        found[box][is_more] = label
        np.maximum(shares[box], share, out=shares[box])
        labelled[box] += share
    # What no label has is background's.
    found[shares <= 1 - labelled] = 0
    return found


def _share(
    mask: NDArray[np.uint8], label: int, taps: tuple[Taps, Taps, Taps]
) -> tuple[NDArray[np.float32] | None, Slices]:
    """The share of a label around the voxels of a box of the lattice, outside of which it has none."""
    bears = mask == label
    spans = [np.flatnonzero(bears.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not all(len(span) for span in spans):
        return None, (slice(0, 0),) * 3
    inside = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    share: NDArray[np.float32] = bears[inside].astype(np.float32)
    box = []
    for axis, (along, part) in enumerate(zip(taps, inside, strict=True)):
        positions, within = along.within(part.start, part.stop)
        share = within.along(share, axis)
        box.append(positions)
    z, y, x = box
    return share, (z, y, x)
