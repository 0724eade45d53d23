"""Samples by index: `len(dataset)`, `dataset[number]`, any number at any time."""

from __future__ import annotations

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, SupportsIndex, Unpack

from ctspine_zarr.errors import OutOfBounds
from ctspine_zarr.read.regions import patch_size
from ctspine_zarr.read.sample import AIR
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.patches import PatchPlan
from ctspine_zarr.sampling.slices import SlicePlan
from ctspine_zarr.sampling.units import Unit, reorientation_of
from ctspine_zarr.sampling.volumes import VolumePlan, spacing_in_mm
from ctspine_zarr.sampling.windows import WindowPlan, share_of_edge
from ctspine_zarr.training.form import Form, Options
from ctspine_zarr.training.plans import PatchOptions, SliceOptions, patch_plan, records_of, slice_plan
from ctspine_zarr.training.samples import Plan, Samples


class Dataset[P: Plan](Samples[P], ABC):
    """Samples by index. Each reads the chunks that it touches and no other."""

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: SupportsIndex) -> Any:
        """A sample; a negative number counts from the end.

        Raises:
            OutOfBounds: no such sample.
            DamagedStore: the chunks cannot be read.
        """
        return next(self._each([self._unit(_position("sample", number, len(self)))]))

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    @abstractmethod
    def _unit(self, number: int) -> Unit:
        """The unit of one sample, alone."""


def _position(name: str, number: SupportsIndex, count: int) -> int:
    """The number, from the start.

    Raises:
        OutOfBounds: there are not so many.
    """
    try:
        return range(count)[operator.index(number)]
    except (IndexError, TypeError):
        message = f"{name} {number!r}; legal: {-count} to {count - 1}"
        raise OutOfBounds(message) from None


class VolumeDataset(Dataset[VolumePlan]):
    """Whole volumes, a case a sample.

    Samples have `image` and, but for `segmentation=False`, `segmentation` (z, y, x); `patient_id`;
    `index`, the case's number in the selection; `spacing` in mm along the array's axes; and
    `affine` (4, 4), from the array's indices to RAS+ mm.

    Args:
        store: the selection.
        spacing: mm, one number or (z, y, x), to resample to: the image linearly, the mask by its
            nearest voxel; by default each case's own.
        options: see `Options`.

    Raises:
        UnknownValue: an empty selection, or an argument that is not legal.
    """

    def __init__(
        self, store: Store, *, spacing: float | Sequence[float] | None = None, **options: Unpack[Options]
    ) -> None:
        form = Form.of(options)
        super().__init__(store, VolumePlan(records_of(store, form), spacing_in_mm(spacing)), form)

    def of_case(self, case: int) -> Iterator[Any]:
        """The one sample of a case, by its number in the selection."""
        return self._each([self._plan.unit(_position("case", case, len(self.store)))])

    def _unit(self, number: int) -> Unit:
        return self._plan.unit(number)


class SliceDataset(Dataset[SlicePlan]):
    """2-D slices: every slice of the selection has one number, case after case.

    Samples have `image` and `segmentation` (y, x) for axial, (z, x) for coronal, (z, y) for
    sagittal ones; `slice_index` in the volume; and what volumes have. `spacing` and `affine`
    are those of the box, one voxel thick, that the slice is.

    Args:
        store: the selection.
        axis: `axial`, the default, `coronal` or `sagittal`.
        every: n for every n-th slice of each volume; 1 by default.
        foreground_only: only slices that cross the box of a label, by the catalog; a case without
            a mask then has none. False by default.
        options: see `Options`. With `orientation="hub"` the slices are those of the Hub's
            loader: along the source array's third axis.

    Raises:
        UnknownValue: an empty selection, no slice left, or an argument that is not legal.
    """

    def __init__(self, store: Store, **options: Unpack[SliceOptions]) -> None:
        form = Form.of(options, SliceOptions)
        super().__init__(store, slice_plan(store, form, options), form)

    def of_case(self, case: int) -> Iterator[Any]:
        """A case's slices in order, by its number in the selection; each slab is decoded once."""
        slabs = self._plan.units_of(_position("case", case, len(self.store)))
        return self._each(map(self._plan.unit, slabs))

    def __iter__(self) -> Iterator[Any]:
        if self._is_extended:
            return super().__iter__()
        return itertools.chain.from_iterable(map(self.of_case, range(len(self.store))))

    def __getitems__(self, numbers: Iterable[SupportsIndex]) -> list[Any]:
        """Several samples, as PyTorch asks for batches: those of one slab are read together.

        Raises: as for one.
        """
        if self._is_extended:
            return [self[number] for number in numbers]
        units = [self._unit(_position("sample", number, len(self))) for number in numbers]
        together: dict[tuple[int, int], list[int]] = {}
        for at, unit in enumerate(units):
            together.setdefault(self._plan.slab_of(unit), []).append(at)
        found: dict[int, Any] = {}
        for (case, _), ats in together.items():
            merged = Unit(case, tuple(units[at].boxes[0] for at in ats))
            found |= zip(ats, self._each([merged]), strict=True)
        return [found[at] for at in range(len(units))]

    @property
    def _is_extended(self) -> bool:
        """Whether a subclass makes its samples itself, one by one."""
        return type(self).__getitem__ is not Dataset.__getitem__

    def _unit(self, number: int) -> Unit:
        return self._plan.single(number)


class PatchDataset(Dataset[PatchPlan]):
    """Patches of one size, drawn anew each epoch: sample i of an epoch is always the same.

    Samples have `start`, the patch's first voxel in the volume at its spacing and along its axes
    as the sample has them, (z, y, x) by default; and what volumes have. A patch lies
    inside its volume; along an axis where the volume is smaller it is in the middle, padded
    with `fill` and label 0.

    Args:
        store: the selection.
        size: (z, y, x) voxels, or one edge of a cube.
        samples_per_volume: an epoch has this many times the cases; 4 by default.
        strategy: `Uniform()`, the default, `Foreground(...)` or `Balanced(...)`.
        spacing: mm, one number or (z, y, x): patches are cut from the volume as it were at this
            spacing, and only what they need is read; by default each case's own.
        fill: HU beyond the volume; -1024, air, by default.
        seed: with the epoch, all that chance depends on; 0 by default.
        options: see `Options`.

    Raises:
        UnknownValue: an empty selection, one without what the strategy draws, or an argument that
            is not legal.
    """

    def __init__(self, store: Store, size: int | Sequence[int], **options: Unpack[PatchOptions]) -> None:
        form = Form.of(options, PatchOptions)
        super().__init__(store, patch_plan(store, size, form, options), form, options.get("fill", AIR))

    def _unit(self, number: int) -> Unit:
        return self._plan.unit(number, self.epoch, self._voxels)


class GridDataset(Dataset[WindowPlan]):
    """Windows that cover every volume, for inference: case after case, overlapping.

    Samples are as those of `PatchDataset`. `assemble` makes a volume of `shape_of(case)` of what a
    model says of `windows_of(case)`, in the samples' orientation and spacing.

    Args:
        store: the selection.
        size: (z, y, x) voxels, or one edge of a cube.
        overlap: least share of a window's edge that it has in common with its neighbour.
        spacing, fill, options: as for `PatchDataset`.

    Raises:
        UnknownValue: an empty selection, or an argument that is not legal.
    """

    def __init__(
        self,
        store: Store,
        size: int | Sequence[int],
        *,
        overlap: float = 0.5,
        spacing: float | Sequence[float] | None = None,
        fill: float = AIR,
        **options: Unpack[Options],
    ) -> None:
        form = Form.of(options)
        records = records_of(store, form)
        plan = WindowPlan(records, patch_size(size), share_of_edge(overlap), spacing_in_mm(spacing))
        super().__init__(store, plan, form, fill)

    def windows_of(self, case: int) -> range:
        """Numbers of the samples of a case, by its number in the selection."""
        return self._plan.windows_of(_position("case", case, len(self.store)))

    def shape_of(self, case: int) -> tuple[int, int, int]:
        """Voxels of the volume that a case's windows cover, at the dataset's spacing, along the axes
        of its orientation.
        """
        number = _position("case", case, len(self.store))
        reorientation = reorientation_of(self._record(number), self.form.orientation)
        return reorientation.shape(self._plan.shape_of(number))

    def _unit(self, number: int) -> Unit:
        return self._plan.unit(number)
