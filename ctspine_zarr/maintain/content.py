"""What of a case is exported: all of it as it is, or a box around its labels, with its labels renumbered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import looked_up
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.label_map import LabelMap
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Affine, Lattice, lattice_affine, oriented
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.regions import patch_region
from ctspine_zarr.read.sample import Name
from ctspine_zarr.sampling.volumes import WHOLE, Box, Frame


@dataclass(frozen=True)
class Cut:
    """Voxels that are exported.

    Attributes:
        arrays: canonical, (z, y, x), in the stored dtype.
        affine: (4, 4), their indices (x, y, z) -> RAS+ mm.
    """

    arrays: Mapping[Name, NDArray[Any]]
    affine: Affine


@dataclass(frozen=True)
class Content:
    """What is exported of each case.

    Attributes:
        frame: the box, at each case's own spacing.
        label_map: what labels become; None for themselves.
    """

    frame: Frame = WHOLE
    label_map: LabelMap | None = None

    @property
    def is_source(self) -> bool:
        """Whether it is all of each case, as it is."""
        return self.frame == WHOLE and self.label_map is None

    @property
    def no_label(self) -> frozenset[int]:
        """Values of a mask that are no label."""
        ignore = None if self.label_map is None else self.label_map.ignore
        return frozenset({0} if ignore is None else {0, ignore})

    def require(self, record: Record) -> None:
        """Do nothing where a case has the labels to put the box around.

        Raises:
            UnknownValue: it has none.
        """
        if not self.frame.has(record):
            message = f"case {record.id} has no label to crop to; legal: a case that has, or no crop"
            raise UnknownValue(message)

    def box(self, record: Record) -> Box:
        """Start and size of the voxels of a case, (z, y, x).

        Raises: as `require`.
        """
        self.require(record)
        lattice = self.frame.lattice(record)
        z, y, x = map(round, lattice.first)
        return (z, y, x), lattice.size

    def read(self, case: Case, box: Box | None = None) -> Cut:
        """The voxels of a case, or of a part of them.

        Args:
            case: from an open store.
            box: start and size, (z, y, x), in the volume; all by default.

        Raises:
            UnknownValue: as `require`.
            DamagedStore: the chunks cannot be read.
        """
        start, size = box or self.box(case.record)
        region = patch_region(case.shape, size, start=start)
        [sample] = case.regions([region])
        arrays: dict[Name, NDArray[Any]] = {"image": sample["image"]}
        if "segmentation" in sample:
            arrays["segmentation"] = self._mapped(sample["segmentation"])
        affine = lattice_affine(case.affine, oriented("RAS"), Lattice(size, start))
        return Cut(arrays, affine)

    def _mapped(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.label_map is None:
            return labels
        return looked_up(labels, self.label_map.table)
