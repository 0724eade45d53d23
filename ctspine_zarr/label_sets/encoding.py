"""One label set of one case, encoded and measured as a build does it with a mask."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.digest import VoxelDigest
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.shard import slabs
from ctspine_zarr.nifti import Volume
from ctspine_zarr.quality.rules import label_findings
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.read.case import Case
from ctspine_zarr.write.foreground import Found, foreground_meter, histograms_of
from ctspine_zarr.write.grid_findings import label_set_findings
from ctspine_zarr.write.ingest import EncodedMask, encode_mask, labels_of, recipe_of, require_one_grid
from ctspine_zarr.write.label_sets import EncodedSet
from ctspine_zarr.write.values import Survey, convert, require_label_range

# Threads that compress, as a build has them.
_HELPERS: Final = 2


def encode_set(volume: Volume, case: Case) -> EncodedSet:
    """A label set, by the codec and in the chunks of its case's masks.

    Where it has labels, the image is read, for the HU of their voxels.

    Args:
        volume: of labels, on the grid of the case.
        case: of an open store.

    Raises:
        CaseRefused: a value that is no label of the dataset, or another grid.
        UnknownValue: the case has a codec that this version does not write.
        DamagedStore: the image cannot be read.
    """
    recipe = recipe_of(case.spec, case.record)
    with ThreadPoolExecutor(_HELPERS) as helpers:
        mask = encode_mask(volume, recipe, helpers)
    found = _foreground(mask, case)
    labels = labels_of(mask.measured, found, case.spec)
    offset = require_one_grid(case.shape, case.affine, volume.header)
    histograms = histograms_of(found)
    spine = Spine(labels, case.shape, case.spec, histograms)
    findings = *label_set_findings(volume.header, offset), *label_findings(spine)
    return EncodedSet(mask.array, labels, findings, histograms)


def digest_of(volume: Volume, case: Case) -> str:
    """The digest of the voxels that a label set of this volume would have.

    Raises:
        CaseRefused: a value that is no label.
    """
    require_label_range(volume, case.spec.labels)
    digest = VoxelDigest()
    for slab in slabs(volume.header.reorientation.apply(volume.stored), case.record.image.chunk):
        digest.update(convert(volume.header, slab, MASK_DTYPE))
    return digest.hexdigest()


def _foreground(mask: EncodedMask, case: Case) -> Found:
    """Of the HU of each label's voxels: only the box around all labels is read of the image."""
    present = [one.label for one in mask.measured]
    if not present:
        return {}
    start = np.min([one.start for one in mask.measured], axis=0).tolist()
    stop = np.max([one.stop for one in mask.measured], axis=0).tolist()
    box = tuple(slice(*edges) for edges in zip(start, stop, strict=True))
    hu, dtype = case.record.intensity, np.dtype(case.record.image.dtype)
    seen = Survey(hu.min, hu.max, integral=dtype.kind == "i", single=dtype.itemsize <= 4)
    meter = foreground_meter(mask.voxels[box], present, seen, dtype)
    for slab in _rows(case, box):
        meter.add(slab)
    return meter.result()


def _rows(case: Case, box: tuple[slice, ...]) -> Iterator[NDArray[Any]]:
    """A box of the image in parts along z, each of which lies in one row of chunks."""
    along, voxels = box[0], case.voxels("image")
    thickness = voxels.chunk[0]
    for row in range(along.start - along.start % thickness, along.stop, thickness):
        part = slice(max(row, along.start), min(row + thickness, along.stop))
        yield voxels[(part, *box[1:])]
