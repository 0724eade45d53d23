"""One case of a store: its voxels, lazily, and what is known of it, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.lazy import Converted
from ctspine_zarr.errors import CtspineError
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.geometry import CANONICAL, PlaneName, Shape
from ctspine_zarr.memory.reuse import reused
from ctspine_zarr.read.filling import Filling
from ctspine_zarr.read.filling import fill as fill_arrays
from ctspine_zarr.read.known import KnownCase
from ctspine_zarr.read.labelled import xarray_of
from ctspine_zarr.read.original import original_bytes
from ctspine_zarr.read.planes import three_planes
from ctspine_zarr.read.regions import Region, patch_region, patch_regions, patch_size, plane_regions
from ctspine_zarr.read.sample import AIR, Name, Sample, first, mapped, sample_of
from ctspine_zarr.read.saving import SourceGrid, save_nifti
from ctspine_zarr.scaling import Scaling, Window, require_window

if TYPE_CHECKING:
    import dask.array
    import nibabel
    import xarray

    from ctspine_zarr.look.canvas import Picture
    from ctspine_zarr.look.plots import Plot


class Case(KnownCase):
    """A CT volume and its mask, where it has one. Axes are (z, y, x): inferior to superior, posterior
    to anterior, left to right.

    Making one reads nothing. Reading a slice or a patch decodes the chunks it touches and no other.

    Attributes:
        entry: the case's line of the catalog.
        record: what it says of the case.
        spec: the dataset's description.
    """

    @property
    def image(self) -> dask.array.Array:
        """HU, lazy, (z, y, x), in the stored dtype. Slicing it reads only that slice."""
        return self.to_dask("image")

    @property
    def segmentation(self) -> dask.array.Array:
        """Labels, 0 for background, lazy, (z, y, x), uint8.

        Raises:
            NoMask: the case has none.
        """
        return self.to_dask("segmentation")

    def slice(self, index: int, axis: PlaneName = "axial") -> Sample:
        """One 2-D slice, of the image and, where the case has one, of the mask.

        Args:
            index: along z, y or x; a negative one counts from the end.
            axis: `axial` gives (y, x), `coronal` (z, x), `sagittal` (z, y).

        Raises:
            OutOfBounds: no such slice.
            UnknownValue: no such axis.
            DamagedStore: the chunks cannot be read.
        """
        return mapped(self.slices([index], axis), first)

    def slices(self, indices: Iterable[int], axis: PlaneName = "axial") -> Sample:
        """Many 2-D slices; each chunk that any of them touches is decoded once.

        Returns:
            Slices in the order asked for, along a new first axis.

        Raises: as `slice` does.
        """
        cut, size, regions = plane_regions(self.shape, indices, axis)
        # Nothing is padded, so any fill will do.
        return mapped(self._read(size, regions, 0), lambda read: read.squeeze(1 + cut))

    def patch(
        self,
        *,
        size: int | Sequence[int],
        center: Sequence[float] | None = None,
        start: Sequence[int] | NDArray[Any] | None = None,
        fill: float = AIR,
    ) -> Sample:
        """A 3-D box of exactly `size` voxels; beyond the volume's edge it is padded.

        Args:
            size: (z, y, x), or one edge of a cube.
            center: the voxel that lands at index `size // 2`, (z, y, x), rounded to the nearest,
                so that a vertebra's centroid will do; or
            start: the first voxel, (z, y, x), which may be negative.
            fill: HU of the padding; labels are padded with 0.

        Raises:
            OutOfBounds: the box shares no voxel with the volume.
            UnknownValue: not exactly one of `center` and `start`, a size below 1, or a `fill`
                that the image's dtype does not hold.
            DamagedStore: the chunks cannot be read.
        """
        region = patch_region(self.shape, patch_size(size), center=center, start=start)
        return mapped(self._read(region.size, [region], fill), first)

    def patches(
        self,
        *,
        size: int | Sequence[int],
        centers: Iterable[Sequence[float]] | None = None,
        starts: Iterable[Sequence[int]] | None = None,
        fill: float = AIR,
    ) -> Sample:
        """Many 3-D boxes of one size; each chunk that any of them touches is decoded once.

        Args:
            size, fill: as for `patch`.
            centers, starts: as `center` and `start` of `patch`, one for each box.

        Returns:
            Boxes in the order asked for, along a new first axis.

        Raises: as `patch` does.
        """
        edges = patch_size(size)
        regions = patch_regions(self.shape, edges, centers, starts)
        return self._read(edges, regions, fill)

    def regions(
        self, regions: Sequence[Region], fill: float = AIR, *, names: Sequence[Name] | None = None
    ) -> list[Sample]:
        """Boxes of any sizes, each in memory of its own; each chunk that any touches is decoded once.

        Args:
            regions: as `patch_region` makes them.
            fill: as for `patch`.
            names: arrays to read; by default those that the case has.

        Raises:
            NoMask: the mask of a case that has none.
            Others: as `patch` does.
        """
        targets = {
            name: [reused(region.size, self.voxels(name).dtype) for region in regions]
            for name in names or self.names
        }
        self.fill(regions, targets, fill)
        return [sample_of({name: targets[name][at] for name in targets}) for at in range(len(regions))]

    def _read(self, size: Shape, regions: Sequence[Region], fill: float) -> Sample:
        """Regions of one size, along a new first axis."""
        targets = {name: np.empty((len(regions), *size), self.voxels(name).dtype) for name in self.names}
        self.fill(regions, targets, fill)
        return sample_of(targets)

    def fill(
        self,
        regions: Sequence[Region],
        targets: Mapping[Name, Iterable[NDArray[Any]]],
        fill: float = AIR,
        scaling: Scaling | None = None,
    ) -> None:
        """Boxes into arrays of the caller's, (z, y, x), one for each region, in whose dtype they come.

        Args:
            regions, fill: as for `regions`.
            targets: of each array that is read; no two overlap.
            scaling: of the image, for targets of floats.

        Raises: as `regions` does; targets are then filled in part.
        """
        forms = {"image": (fill, scaling), "segmentation": (0, None)}
        fillings = [Filling(self.voxels(name), arrays, *forms[name]) for name, arrays in targets.items()]
        fill_arrays(regions, fillings, at_once=self._storage.merging.at_once)

    def preview(self, *, height: int = 720, window: Window = WINDOW) -> Picture:
        """A picture of the case: three planes at one scale, labels outlined in their colours and named.

        Sagittal and coronal plane follow the line through the vertebrae, so that a bent spine is seen whole;
        the axial one is of the middle vertebra. Without vertebrae the planes are flat. As radiologists look:
        the patient's right on the left, the face to the left, in the proportions of the body.
        Only the chunks on these planes are read.

        Args:
            height: of the picture in pixels, 160 to 8192.
            window: HU that become black and white; by default for bone.

        Raises:
            UnknownValue: a height or window that is not legal.
            DamagedStore: the chunks cannot be read.
        """
        from ctspine_zarr.read.pictures import picture

        return picture(self.record, self.spec, self.fill, height=height, window=window)

    def plot(self, *, window: Window = WINDOW) -> Plot:
        """A matplotlib figure: the planes of `preview`, and of each label HU, height and volume.

        HU are the mean and the standard deviation of a label's voxels, heights those of its box along z in
        mm, volumes in cm3; all from the record. Notebooks show the figure; `savefig` saves it. Nothing
        of pyplot is touched.

        Args:
            window: HU that become black and white.

        Raises: as `preview`, of matplotlib.
        """
        from ctspine_zarr.look.plots import of_case

        window = require_window(window)
        planes = three_planes(self.record, self.spec, self.fill)
        return of_case(planes, self.record, self.spec, window)

    def _repr_html_(self) -> str:
        from ctspine_zarr.look.markup import of_case

        return of_case(self.record, self.spec, self._thumbnail())

    def _thumbnail(self) -> bytes | None:
        """A PNG file; None of a store that is not on this machine, and of what cannot be read at once."""
        if self._storage.path is None:
            return None
        try:
            from ctspine_zarr.read.pictures import small_picture

            return small_picture(self.record, self.spec, self.fill)
        except CtspineError:
            return None

    def to_dask(
        self,
        which: Name = "image",
        *,
        dtype: DTypeLike | None = None,
        window: Window | None = None,
        orientation: str = CANONICAL,
    ) -> dask.array.Array:
        """A lazy array, converted as it is read: slicing it reads and converts only that slice.

        That holds for integers and slices. A list of positions reads the blocks of 64 slices
        they lie in; `slices` decodes the chunks they touch and no other.

        Args:
            which: `image` or `segmentation`.
            dtype: float32, float64 or one that holds every value of the stored one; by default
                the stored one, or float32 with a `window`.
            window: HU (low, high): values become `(value - low) / (high - low)`, clipped to 0..1.
            orientation: for each axis in turn the side of the body it increases towards, as in
                nibabel: "SAR", the default, is the stored (z, y, x); "RAS" is (x, y, z).

        Raises:
            UnknownValue: no such array or orientation, or a dtype or window that is not legal.
            NoMask: the mask of a case that has none.
        """
        return Converted.of(self.voxels(which), dtype, window, orientation).to_dask()

    def to_xarray(
        self, *, dtype: DTypeLike | None = None, window: Window | None = None, world: bool = False
    ) -> xarray.Dataset:
        """`image` and, where the case has one, `segmentation`, lazy, with coordinates in mm.

        A coordinate along an axis is the first voxel's world position plus index times spacing. Where
        the scan is oblique or sheared that is off by at most `attrs["coordinate_error_mm"]`;
        `attrs["affine"]`, the 16 numbers of `affine` row by row, is exact always.

        Args:
            dtype, window: of the image, as for `to_dask`.
            world: also give the coordinates `right`, `anterior` and `superior`, (z, y, x): the exact
                world position of every voxel, RAS+ mm, computed as they are asked for.

        Raises:
            UnknownValue: a dtype or window that is not legal.
        """
        arrays = {"image": self.to_dask("image", dtype=dtype, window=window)}
        if self.has_mask:
            arrays["segmentation"] = self.segmentation
        return xarray_of(self.record, self.spec, arrays, window, world=world)

    def to_nibabel(self, which: Name = "image", *, original: bool = True) -> nibabel.Nifti1Image:
        """The volume as a nibabel image.

        Args:
            which: `image` or `segmentation`.
            original: with the source's orientation, affine, dtype and header, extensions
                included; otherwise canonical RAS+ in the stored dtype.

        Raises:
            DamagedStore: the chunks or the attributes cannot be read, or do not give the source's bytes.
            NoMask: the mask of a case that has none.
        """
        voxels = self.voxels(which)
        if original:
            return nifti.source_image(original_bytes(voxels, self.nifti_source(which), self.record, which))
        return nifti.canonical_image(voxels[...], self.affine)

    def save_nifti(
        self,
        array: NDArray[Any],
        path: str | Path,
        like: Name = "image",
        *,
        affine: ArrayLike | None = None,
        fill: float = 0,
        overwrite: bool = False,
    ) -> Path:
        """The path of a new `.nii.gz`, or `.nii`, that has an array on the grid of a source file.

        Its header is the source's, but that voxels are of the array's smallest exact dtype and mean
        themselves. Where the array has the source's voxels, in any order of axes, it gives them exactly;
        of another grid, integers give the nearest voxel and floats are linear between voxels.

        Args:
            array: (z, y, x), canonical, of the case's shape; or with `affine` any three axes.
            path: its folder is made where it does not exist.
            like: the source file, `image` or `segmentation`.
            affine: (4, 4), indices of the array, in the order of its axes -> RAS+ mm, as samples have it.
            fill: where the array does not reach.
            overwrite: replace a file that is there.

        Raises:
            UnknownValue: an argument that is not legal, or an array that shares no voxel with the case.
            NoMask: `segmentation` of a case that has none.
            StorageError: the file exists, or cannot be written; it is never there in part.
            DamagedStore: the case's attributes cannot be read.
        """
        grid = SourceGrid.of(self.nifti_source(like), self.record, like)
        return save_nifti(array, path, grid, affine=affine, fill=fill, overwrite=overwrite)
