"""Kinds of samples: which voxels of a case each has. What they look like is common to all: see `Form`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctspine_zarr.errors import UnknownValue, integer, require_known
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.regions import patch_size
from ctspine_zarr.read.sample import AIR
from ctspine_zarr.sampling.patches import PatchPlan
from ctspine_zarr.sampling.slices import SlicePlan
from ctspine_zarr.sampling.strategies import Strategy, strategy_of
from ctspine_zarr.sampling.units import Plan
from ctspine_zarr.sampling.vertebrae import VertebraPlan
from ctspine_zarr.sampling.volumes import Frame, VolumePlan, spacing_in_mm, triple_in_mm
from ctspine_zarr.sampling.windows import WindowPlan, share_of_edge
from ctspine_zarr.training.form import Form

type Size = int | Sequence[int]
type Millimetres = float | Sequence[float]
type Crop = Literal["spine", "labels"]


@dataclass(frozen=True, kw_only=True)
class Kind(Form, ABC):
    """A kind of samples of a selection.

    Attributes:
        seed: with the epoch, all that chance depends on: what is drawn, and the order of a stream.
    """

    seed: int = 0

    @abstractmethod
    def plan(self, records: Sequence[Record], spec: Spec) -> Plan:
        """The plan of samples of a selection.

        Raises:
            UnknownValue: an empty selection, one that has no such sample, or an argument that is not legal.
        """

    def covered(self, record: Record, spec: Spec) -> Shape:  # noqa: ARG002 - of kinds that cover one
        """(z, y, x) voxels of the volume, or crop, that a case's samples cover.

        Raises:
            UnknownValue: samples of this kind cover none.
        """
        message = f"what {type(self).__name__} cover of a volume; legal: of Volumes, Patches or Windows"
        raise UnknownValue(message)

    @property
    def fill(self) -> float:
        """HU beyond the volume, for kinds that reach there."""
        return AIR


@dataclass(frozen=True)
class Slices(Kind):
    """2-D slices: every slice of the selection has one number, case after case.

    Samples have `image` and `segmentation` (y, x) for axial, (z, x) for coronal, (z, y) for
    sagittal ones, and `slice_index` in the volume. `spacing` and `affine` are those of the box,
    one voxel thick, that the slice is.

    Attributes:
        axis: `axial`, `coronal` or `sagittal`.
        every: n for every n-th slice of each volume.
        foreground_only: only slices that cross the box of a label, by the catalog; a case without a
            mask then has none.

    With `orientation="hub"` the slices are those of the Hub's loader: along the source array's third
    axis.
    """

    axis: str = "axial"
    every: int = 1
    foreground_only: bool = False

    def plan(self, records: Sequence[Record], spec: Spec) -> SlicePlan:  # noqa: ARG002 - any will do
        """See `Kind`."""
        every = integer("every", self.every, 1)
        return SlicePlan(records, self.axis, every, self.foreground_only, self.orientation)


@dataclass(frozen=True, kw_only=True)
class Framed(Kind):
    """Samples that are taken from a box of each volume, at a spacing.

    Attributes:
        spacing: mm, one number or (z, y, x), to resample to: the image linearly, the mask by its nearest
            voxel, and only what a sample needs is read; by default each case's own.
        crop: `spine`, the box around all labels that are levels of the spine, or `labels`, around all;
            by default nothing is cropped. Strays are no labels here. `start` then counts from the box.
        margin_mm: around the labels, one number or (z, y, x), as far as the volume goes.
    """

    spacing: Millimetres | None = None
    crop: Crop | None = None
    margin_mm: Millimetres = 20.0

    def covered(self, record: Record, spec: Spec) -> Shape:
        """See `Kind`."""
        return self.frame([record], spec).lattice(record).size

    def frame(self, records: Sequence[Record], spec: Spec) -> Frame:
        """The frame, checked.

        Raises:
            UnknownValue: an argument that is not legal, or a case without the labels to crop to.
        """
        spacing = spacing_in_mm(self.spacing)
        if self.crop is None:
            return Frame(spacing)
        require_known("crop", [self.crop], ("spine", "labels"))
        margin = triple_in_mm("margin_mm", self.margin_mm)
        frame = Frame(spacing, margin, spec.levels if self.crop == "spine" else None)
        _require_labels(records, frame, self.crop)
        return frame


@dataclass(frozen=True)
class Volumes(Framed):
    """Volumes, a case a sample: (z, y, x)."""

    def plan(self, records: Sequence[Record], spec: Spec) -> VolumePlan:
        """See `Kind`."""
        return VolumePlan(records, self.frame(records, spec))


@dataclass(frozen=True)
class Patches(Framed):
    """Patches of one size, drawn anew each epoch: sample i of an epoch is always the same.

    Samples have `start`, the patch's first voxel in the volume at its spacing and along its axes as
    the sample has them, (z, y, x) by default. A patch lies inside its volume; along an axis where
    the volume is smaller it is in the middle, padded with `fill` and label 0. Where a crop is
    smaller, what lies around it is read.

    A stream reads several at once: the first patch of a region is drawn by the strategy; the others
    have the same aim and lie in the chunks that the first one touches. Each patch alone is
    distributed as the first, but those of one region are alike; drawing from several regions at a
    time keeps them apart.

    Attributes:
        size: (z, y, x) voxels, or one edge of a cube.
        samples_per_volume: an epoch has this many times the cases.
        strategy: `Uniform()`, the default, `Foreground(...)` or `Balanced(...)`.
        patches_per_region: how many share a read of a stream; 1 for independent patches.
        fill: HU beyond the volume; -1024, air, by default.
    """

    size: Size
    samples_per_volume: int = 4
    strategy: Strategy | None = None
    patches_per_region: int = 4
    fill: float = AIR

    def plan(self, records: Sequence[Record], spec: Spec) -> PatchPlan:
        """See `Kind`."""
        return PatchPlan(
            records,
            spec,
            patch_size(self.size),
            integer("samples_per_volume", self.samples_per_volume, 1),
            strategy_of(self.strategy),
            integer("patches_per_region", self.patches_per_region, 1),
            self.frame(records, spec),
            integer("seed", self.seed, 0),
        )


@dataclass(frozen=True)
class Windows(Framed):
    """Windows that cover every volume, for inference: case after case, overlapping.

    Samples are as those of `Patches`. `assemble` makes a volume of `Dataset.shape_of(case)` of what a
    model says of `Dataset.numbers_of(case)`, in the samples' orientation and spacing.

    Attributes:
        size: (z, y, x) voxels, or one edge of a cube.
        overlap: least share of a window's edge that it has in common with its neighbour.
        fill: HU beyond the volume; -1024, air, by default.
    """

    size: Size
    overlap: float = 0.5
    fill: float = AIR

    def plan(self, records: Sequence[Record], spec: Spec) -> WindowPlan:
        """See `Kind`."""
        overlap = share_of_edge(self.overlap)
        return WindowPlan(records, patch_size(self.size), overlap, self.frame(records, spec))


@dataclass(frozen=True)
class Vertebrae(Kind):
    """Vertebrae: a box around the centroid of every label of every case, with its neighbours' labels.

    Samples have `label`, the value of that vertebra in the sample's own mask: `segmentation == label`
    is it alone. Strays are none, and a case without a mask has none.

    Attributes:
        size_mm: of the box, one edge of a cube or (z, y, x).
        spacing: mm, one number or (z, y, x), to resample to, so that all boxes have one shape; None for
            each case's own voxels, as stored.
        labels: names or values of those that are wanted; all by default.
        fill: HU beyond the volume; -1024, air, by default.
    """

    size_mm: Millimetres
    spacing: Millimetres | None = 1.0
    labels: Sequence[str | int] | None = None
    fill: float = AIR

    def plan(self, records: Sequence[Record], spec: Spec) -> VertebraPlan:
        """See `Kind`."""
        wanted = None if self.labels is None else [spec.require_label(label) for label in self.labels]
        size = triple_in_mm("size_mm", self.size_mm, least=math.ulp(0))
        return VertebraPlan(records, size, spacing_in_mm(self.spacing), wanted)


def _require_labels(records: Sequence[Record], frame: Frame, crop: str) -> None:
    without = [record.id for record in records if not frame.has(record)]
    if without:
        message = (
            f"crop {crop!r} of {len(without)} of {len(records)} cases that have no such label, such as "
            f'{without[0]}; legal: select(has_mask=True, without_finding="no_label"), or crop=None'
        )
        raise UnknownValue(message)
