"""Voxels of lattices in a case: as stored, or resampled from no more than is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctspine_zarr.geometry import Lattice
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.regions import Region, patch_region
from ctspine_zarr.read.sample import Name, Sample
from ctspine_zarr.sampling.resampling import Between, between, linear, nearest


def read_boxes(case: Case, lattices: Sequence[Lattice], fill: float, names: Sequence[Name]) -> list[Sample]:
    """The named arrays at each lattice, (z, y, x); each chunk that any touches is decoded once.

    A lattice of the volume's own voxels gives them in the stored dtypes; another one float32
    between them and the nearest labels. What lies beyond the volume is `fill`, and label 0.

    Raises:
        OutOfBounds: a lattice that shares no voxel with the volume.
        UnknownValue: a `fill` that the image's dtype does not hold.
        NoMask: `segmentation` of a case that has none.
        DamagedStore: the chunks cannot be read.
    """
    if all(is_stored(lattice) for lattice in lattices):
        return case.regions([region_of(case, lattice) for lattice in lattices], fill, names=names)
    along = [between(lattice, case.shape) for lattice in lattices]
    blocks = case.regions([_needed(case, positions) for positions in along], names=names)
    return [
        _resampled(block, positions, lattice, fill)
        for block, positions, lattice in zip(blocks, along, lattices, strict=True)
    ]


def read_slab(case: Case, cut: int, positions: Sequence[int], names: Sequence[Name]) -> list[Sample]:
    """Slices of the named arrays across an axis, one voxel thick, in the stored dtypes, as views of the one
    block they lie in: un-shuffling a chunk once, whole, takes a third less time than slice by slice.

    Raises:
        NoMask: `segmentation` of a case that has none.
        DamagedStore: the chunks cannot be read.
    """
    first, last = min(positions), max(positions)
    z, y, x = (last + 1 - first if axis == cut else n for axis, n in enumerate(case.shape))
    start = [first if axis == cut else 0 for axis in range(3)]
    (block,) = case.regions([patch_region(case.shape, (z, y, x), start=start)], names=names)
    return [_slice(block, cut, position - first) for position in positions]


def _slice(block: Sample, cut: int, at: int) -> Sample:
    """One position along an axis, as views."""
    box = tuple(slice(at, at + 1) if axis == cut else slice(None) for axis in range(3))
    found: Sample = {"image": block["image"][box]}
    if "segmentation" in block:
        found["segmentation"] = block["segmentation"][box]
    return found


def is_stored(lattice: Lattice) -> bool:
    """Whether a lattice is one of the volume's own voxels."""
    return lattice.step == (1, 1, 1)


def region_of(case: Case, lattice: Lattice) -> Region:
    """The box of a lattice of stored voxels."""
    z, y, x = (round(first) for first in lattice.first)
    return patch_region(case.shape, lattice.size, start=(z, y, x))


def _needed(case: Case, along: Sequence[Between]) -> Region:
    z, y, x = (positions.needed for positions in along)
    return patch_region(case.shape, (len(z), len(y), len(x)), start=(z.start, y.start, x.start))


def _resampled(block: Sample, along: Sequence[Between], lattice: Lattice, fill: float) -> Sample:
    inside = tuple(positions.inside for positions in along)
    found: Sample = {"image": np.full(lattice.size, fill, np.float32)}
    found["image"][inside] = linear(block["image"], along)
    if "segmentation" in block:
        found["segmentation"] = np.zeros(lattice.size, np.uint8)
        found["segmentation"][inside] = nearest(block["segmentation"], along)
    return found
