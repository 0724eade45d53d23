"""Samples by index: `len(dataset)`, `dataset[number]`, any number at any time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, SupportsIndex, Unpack

from ctspine_zarr.errors import OutOfBounds
from ctspine_zarr.read.case import AIR
from ctspine_zarr.read.regions import patch_size
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.patches import PatchPlan
from ctspine_zarr.sampling.pieces import Unit
from ctspine_zarr.sampling.slices import SlicePlan
from ctspine_zarr.sampling.strategies import Strategy, Uniform
from ctspine_zarr.sampling.volumes import VolumePlan, spacing_in_mm
from ctspine_zarr.sampling.windows import WindowPlan
from ctspine_zarr.training.form import Form, Options
from ctspine_zarr.training.samples import Samples, records_of


class Dataset(Samples):
    """Samples by index. Each reads the chunks that it touches and no other."""

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: SupportsIndex) -> Any:
        """A sample; a negative number counts from the end.

        Raises:
            OutOfBounds: no such sample.
            DamagedStore: the chunks cannot be read.
        """
        try:
            unit = self._unit(range(len(self))[number])
        except (IndexError, TypeError):
            message = f"sample {number!r}; legal: {-len(self)} to {len(self) - 1}"
            raise OutOfBounds(message) from None
        return next(self._each([unit]))

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    @abstractmethod
    def _unit(self, number: int) -> Unit:
        """The one piece of a sample."""


class VolumeDataset(Dataset):
    """Whole volumes, a case a sample.

    Samples have `image` and `segmentation` (z, y, x), `patient_id`, `index` (the case's number
    in the selection), `spacing` in mm along the array's axes, and `affine` (4, 4), from the
    array's indices to RAS+ mm.

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
        self._volumes = VolumePlan(records_of(store), None if spacing is None else spacing_in_mm(spacing))
        super().__init__(store, self._volumes, Form.of(options))

    def of_case(self, case: int) -> Iterator[Any]:
        """The one sample of a case, by its number in the selection."""
        return self._each([self._volumes.unit(case)])

    def _unit(self, number: int) -> Unit:
        return self._volumes.unit(number)


class SliceDataset(Dataset):
    """2-D slices: every slice of the selection has one number, case after case.

    Samples have `image` and `segmentation` (y, x) for axial, (z, x) for coronal, (z, y) for
    sagittal ones; `slice_index` in the volume; and what volumes have. `spacing` and `affine`
    are those of the box, one voxel thick, that the slice is.

    Args:
        store: the selection.
        axis: `axial`, `coronal` or `sagittal`.
        every: n for every n-th slice of each volume.
        foreground_only: only slices that cross the box of a vertebra, by the catalog.
        options: see `Options`. With `orientation="hub"` the slices are those of the Hub's
            loader: along the source array's third axis.

    Raises:
        UnknownValue: an empty selection, no slice left, or an argument that is not legal.
    """

    _where: ClassVar[dict[str, tuple[int, ...]]] = {"slice_index": ()}

    def __init__(
        self,
        store: Store,
        *,
        axis: str = "axial",
        every: int = 1,
        foreground_only: bool = False,
        **options: Unpack[Options],
    ) -> None:
        form = Form.of(options)
        self._slices = SlicePlan(records_of(store), axis, every, foreground_only, form.orientation)
        super().__init__(store, self._slices, form)

    def of_case(self, case: int) -> Iterator[Any]:
        """A case's slices in order, by its number in the selection; each slab is decoded once."""
        return self._each(self._slices.unit(slab) for slab in self._slices.units_of(case))

    def _unit(self, number: int) -> Unit:
        return self._slices.single(number)


class PatchDataset(Dataset):
    """Patches of one size, drawn anew each epoch: sample i of an epoch is always the same.

    Samples have `start`, the patch's first voxel (z, y, x), and what volumes have. A patch lies
    inside its volume; along an axis where the volume is smaller it is in the middle, padded
    with `fill` and label 0.

    Args:
        store: the selection.
        size: (z, y, x) voxels, or one edge of a cube.
        samples_per_volume: an epoch has this many times the cases.
        strategy: `Uniform`, `Foreground` or `Balanced`.
        spacing: mm, one number or (z, y, x): patches are cut from the volume as it were at this
            spacing, and only what they need is read; `start` counts its voxels.
        fill: HU beyond the volume.
        seed: with the epoch, all that chance depends on.
        options: see `Options`.

    Raises:
        UnknownValue: an empty selection, one without what the strategy draws, or an argument that
            is not legal.
    """

    _where: ClassVar[dict[str, tuple[int, ...]]] = {"start": (3,)}

    def __init__(
        self,
        store: Store,
        size: int | Sequence[int],
        *,
        samples_per_volume: int = 4,
        strategy: Strategy | None = None,
        spacing: float | Sequence[float] | None = None,
        fill: float = AIR,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self._patches = PatchPlan(
            records_of(store),
            patch_size(size),
            samples_per_volume,
            strategy or Uniform(),
            spacing=None if spacing is None else spacing_in_mm(spacing),
            seed=seed,
        )
        super().__init__(store, self._patches, Form.of(options), fill)

    def _unit(self, number: int) -> Unit:
        return self._patches.unit(number, self.epoch, self._voxels)


class GridDataset(Dataset):
    """Windows that cover every volume, for inference: case after case, overlapping.

    Samples are as those of `PatchDataset`. `assemble` makes a volume of what a model says of
    `windows_of(case)`.

    Args:
        store: the selection.
        size: (z, y, x) voxels, or one edge of a cube.
        overlap: least share of a window's edge that it has in common with its neighbour.
        spacing, fill, options: as for `PatchDataset`.

    Raises:
        UnknownValue: an empty selection, or an argument that is not legal.
    """

    _where: ClassVar[dict[str, tuple[int, ...]]] = {"start": (3,)}

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
        in_mm = None if spacing is None else spacing_in_mm(spacing)
        self._windows = WindowPlan(records_of(store), patch_size(size), overlap, in_mm)
        super().__init__(store, self._windows, Form.of(options), fill)

    def windows_of(self, case: int) -> range:
        """Numbers of the samples of a case, by its number in the selection."""
        return self._windows.windows_of(range(len(self.store))[case])

    def shape_of(self, case: int) -> tuple[int, int, int]:
        """(z, y, x) voxels of the volume that a case's windows cover, at the dataset's spacing."""
        return self._windows.shape_of(range(len(self.store))[case])

    def _unit(self, number: int) -> Unit:
        return self._windows.unit(number)
