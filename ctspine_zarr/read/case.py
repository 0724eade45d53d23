"""One case of a store: its voxels, lazily, and what is known of it, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.lazy import Converted
from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.receipt import Facts, NiftiSource, Receipt, decode_facts, decode_receipt
from ctspine_zarr.format.record import Record, Triple
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import CANONICAL, Affine, Lattice, Shape, lattice_affine, oriented
from ctspine_zarr.read.arrays import arrays_of
from ctspine_zarr.read.filling import Filling
from ctspine_zarr.read.filling import fill as fill_arrays
from ctspine_zarr.read.labelled import xarray_of
from ctspine_zarr.read.original import kept_source, original_bytes
from ctspine_zarr.read.proof import proven
from ctspine_zarr.read.regions import Plane, Region, patch_region, patch_regions, patch_size, plane_regions
from ctspine_zarr.read.reuse import reused
from ctspine_zarr.read.sample import AIR, NAMES, Name, Sample, first, mapped, require_array, sample_of
from ctspine_zarr.read.saving import SourceGrid, save_nifti
from ctspine_zarr.scaling import Scaling, Window
from ctspine_zarr.storage import Storage

if TYPE_CHECKING:
    import dask.array
    import nibabel
    import xarray


class Case:
    """A CT volume and its mask, where it has one. Axes are (z, y, x): inferior to superior, posterior
    to anterior, left to right.

    Making one reads nothing. Reading a slice or a patch decodes the chunks it touches and no other.

    Attributes:
        entry: the case's line of the catalog.
        record: what it says of the case.
        spec: the dataset's description.
    """

    def __init__(self, storage: Storage, entry: Entry, spec: Spec, reading: Reading) -> None:
        self._storage = storage
        self._reading = reading
        self.entry = entry
        self.record: Record = entry.record
        self.spec = spec

    def __reduce__(self) -> tuple[type[Case], tuple[Storage, Entry, Spec, Reading]]:
        # Caches are left out of a pickle: reading again is faster than sending.
        return Case, (self._storage, self.entry, self.spec, self._reading)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        spacing = "x".join(f"{mm:.3g}" for mm in self.spacing)
        labels = ", ".join(self.labels) if self.has_mask else "no mask"
        return (
            f"<Case {self.id} ({self.record.split}, {self.record.source}) {size} at {spacing} mm: {labels}>"
        )

    @property
    def id(self) -> str:
        """The case's name: that of its source file, as the dataset names cases."""
        return self.record.id

    @property
    def shape(self) -> Shape:
        """(z, y, x) voxels."""
        return self.record.shape

    @property
    def spacing(self) -> Triple:
        """Voxel size in mm, (z, y, x)."""
        return self.record.spacing

    @property
    def affine(self) -> Affine:
        """(4, 4) float64, canonical (x, y, z) -> RAS+ mm; note the order of the indices."""
        return self.record.affine_matrix

    def affine_of(self, orientation: str) -> Affine:
        """(4, 4) float64, indices of an array in that orientation -> RAS+ mm.

        Args:
            orientation: as for `to_dask`; "RAS" gives `affine` itself.

        Raises:
            UnknownValue: no such orientation.
        """
        return lattice_affine(self.affine, oriented(orientation), Lattice(self.shape))

    @property
    def has_mask(self) -> bool:
        """Whether the case has a mask; those of a test set may have none."""
        return self.record.has_mask

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels present, in order of value."""
        return tuple(label.name for label in self.record.labels)

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

    @cached_property
    def facts(self) -> Facts:
        """What the case's attributes say of its source files; one small read, proven by the catalog.

        Raises:
            DamagedStore: they are missing or altered.
        """
        key = f"{self.record.path}/{layout.METADATA}"
        return proven(self._storage, self._reading, key, self.entry.group, decode_facts)

    @cached_property
    def receipt(self) -> Receipt:
        """The case's receipt: its objects, and counts of HU by label; one read, proven by the catalog.

        Raises:
            DamagedStore: it is missing or altered.
        """
        key = self.record.receipt_key
        parse = partial(decode_receipt, key=key)
        return proven(self._storage, self._reading, key, self.entry.receipt, parse)

    def slice(self, index: int, axis: Plane = "axial") -> Sample:
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

    def slices(self, indices: Iterable[int], axis: Plane = "axial") -> Sample:
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
        `attrs["affine"]` is exact always.

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

    def nifti_source(self, which: Name) -> NiftiSource:
        """What was kept of a source file: name, digests, header, scaling, reorientation.

        Raises:
            DamagedStore: the case's attributes cannot be read.
        """
        require_array(which, self.names, self._place)
        return kept_source(self.facts, which, self.spec.mask, self._place)

    def voxels(self, which: Name) -> Voxels:
        """The stored array as an array-like, without dask.

        Raises:
            UnknownValue: no such array.
            NoMask: the mask of a case that has none.
        """
        require_array(which, self.names, self._place)
        return self._arrays[which]

    @property
    def names(self) -> tuple[Name, ...]:
        """Names of the arrays that the case has."""
        return NAMES if self.has_mask else NAMES[:1]

    @property
    def _place(self) -> str:
        return f"{self._storage.location}: case {self.id}"

    @cached_property
    def _arrays(self) -> dict[Name, Voxels]:
        return arrays_of(self._storage, self.record, self.spec, self._reading)
