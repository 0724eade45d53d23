"""One case of a store: its voxels, lazily, and what is known of it, at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, TypedDict

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.lazy import CANONICAL, Converted, Window
from ctspine_zarr.arrays.shards import Reading
from ctspine_zarr.arrays.threads import share_out
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.dataset import CITATION, LICENCE
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, UnknownValue, choose
from ctspine_zarr.format import layout
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.encoding import OWN_ATTRIBUTES, decode
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.receipt import Facts, NiftiSource
from ctspine_zarr.format.record import Record, Triple
from ctspine_zarr.geometry import Affine, Lattice, Shape, lattice_affine, oriented, origin_of
from ctspine_zarr.read.original import inflated_source
from ctspine_zarr.read.regions import (
    PLANES,
    Plane,
    Region,
    patch_region,
    patch_size,
    plane_region,
    plane_size,
)
from ctspine_zarr.storage import Storage

if TYPE_CHECKING:
    import dask.array
    import nibabel
    import xarray

type Name = Literal["image", "segmentation"]

NAMES: Final[tuple[Name, Name]] = ("image", "segmentation")
"""The arrays of a case."""

_log = logging.getLogger(__name__)

AIR: Final = -1024
"""HU of what lies beyond a volume's edge."""


class Sample(TypedDict):
    """Voxels of one place, or of several, one after another along a first axis of their own.

    Attributes:
        image: HU in the stored dtype, nearly always int16.
        segmentation: labels 0-25, uint8, of the same shape.
    """

    image: NDArray[Any]
    segmentation: NDArray[np.uint8]


class Case:
    """A CT volume and its vertebra mask. Axes are (z, y, x): inferior to superior, posterior to
    anterior, left to right.

    Making one reads nothing. Reading a slice or a patch decodes the chunks it touches and no
    other.
    """

    def __init__(self, storage: Storage, record: Record, reading: Reading) -> None:
        self._storage = storage
        self._reading = reading
        self.record = record

    def __reduce__(self) -> tuple[type[Case], tuple[Storage, Record, Reading]]:
        # What was read so far stays behind: it is quicker read than sent.
        return Case, (self._storage, self.record, self._reading)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        spacing = "x".join(f"{mm:.3g}" for mm in self.spacing)
        labels = ", ".join(self.labels)
        return (
            f"<Case {self.id} ({self.record.split}, {self.record.source}) {size} at {spacing} mm: {labels}>"
        )

    @property
    def id(self) -> str:
        """File name of the source without `.nii.gz`."""
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
    def labels(self) -> tuple[str, ...]:
        """Names of the vertebrae present, from C1 down."""
        return tuple(vertebra.name for vertebra in self.record.vertebrae)

    @property
    def image(self) -> dask.array.Array:
        """HU, lazy, (z, y, x), in the stored dtype. Slicing it reads only that slice."""
        return self.to_dask("image")

    @property
    def segmentation(self) -> dask.array.Array:
        """Labels 0-25, lazy, (z, y, x), uint8."""
        return self.to_dask("segmentation")

    @cached_property
    def facts(self) -> Facts:
        """What the case's attributes say of its source files; one small read.

        Raises:
            DamagedStore: they are missing, damaged, or another case's.
        """
        key = f"{self.record.path}/{layout.METADATA}"
        try:
            facts = decode(self._storage.get(key), Facts.from_json, OWN_ATTRIBUTES)
        except (Malformed, OtherFormat) as error:
            message = f"{self._storage.location}, case {self.id}: {key} is damaged ({error}); run verify"
            raise DamagedStore(message) from error
        if facts.record != self.record:
            message = f"{self._storage.location}, case {self.id}: {key} is not what the catalog says"
            raise DamagedStore(message)
        return facts

    def slice(self, index: int, axis: Plane = "axial") -> Sample:
        """One 2-D slice.

        Args:
            index: along z, y or x; a negative one counts from the end.
            axis: `axial` gives (y, x), `coronal` (z, x), `sagittal` (z, y).

        Raises:
            OutOfBounds: no such slice.
            UnknownValue: no such axis.
            DamagedStore: the chunks cannot be read.
        """
        return _each(self.slices([index], axis), _first)

    def slices(self, indices: Iterable[int], axis: Plane = "axial") -> Sample:
        """Many 2-D slices; each chunk that any of them touches is decoded once.

        Returns:
            Slices in the order asked for, along a new first axis.

        Raises: as `slice` does.
        """
        size = plane_size(self.shape, axis)
        regions = [plane_region(self.shape, index, axis) for index in _several("indices", indices)]
        # Nothing is padded, so any fill will do.
        return _each(self._read(size, regions, 0), lambda read: read.squeeze(1 + PLANES[axis]))

    def patch(
        self,
        *,
        size: int | Sequence[int],
        center: Sequence[float] | None = None,
        start: Sequence[int] | None = None,
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
        return _each(self._read(region.size, [region], fill), _first)

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
        if centers is not None and starts is None:
            regions = [
                patch_region(self.shape, edges, center=center) for center in _several("centers", centers)
            ]
        elif starts is not None and centers is None:
            regions = [patch_region(self.shape, edges, start=one) for one in _several("starts", starts)]
        else:
            message = "give exactly one of centers and starts"
            raise UnknownValue(message)
        return self._read(edges, regions, fill)

    def regions(self, regions: Sequence[Region], fill: float = AIR) -> list[Sample]:
        """Boxes of any sizes, each in memory of its own; each chunk that any touches is decoded once.

        Args:
            regions: as `patch_region` makes them.
            fill: as for `patch`.

        Raises: as `patch` does.
        """
        images, masks = (
            [np.empty(region.size, self.voxels(which).dtype) for region in regions] for which in NAMES
        )
        self._fill(regions, images, masks, fill)
        return [{"image": image, "segmentation": mask} for image, mask in zip(images, masks, strict=True)]

    def _read(self, size: Shape, regions: Sequence[Region], fill: float) -> Sample:
        """Regions of one size, along a new first axis."""
        image, mask = (np.empty((len(regions), *size), self.voxels(which).dtype) for which in NAMES)
        self._fill(regions, image, mask, fill)
        return {"image": image, "segmentation": mask}

    def _fill(
        self,
        regions: Sequence[Region],
        images: Iterable[NDArray[Any]],
        masks: Iterable[NDArray[np.uint8]],
        fill: float,
    ) -> None:
        reads = []
        for which, targets, padding in zip(NAMES, (images, masks), (fill, 0), strict=True):
            voxels = self.voxels(which)
            require_fill(padding, voxels.dtype)
            requests = []
            for region, target in zip(regions, targets, strict=True):
                if not region.is_inside:
                    target.fill(padding)
                requests.append(Request(region.inside, target[region.target]))
            reads.append((voxels, requests))
        # Where a request is a round trip, that of the mask is under way with that of the image.
        share_out(_fill_each, reads, len(reads) if self._storage.merging.at_once else 1)

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
        """
        return Converted.of(self.voxels(which), dtype, window, orientation).to_dask()

    def to_xarray(self, *, dtype: DTypeLike | None = None, window: Window | None = None) -> xarray.Dataset:
        """`image` and `segmentation`, lazy, with coordinates in mm along each axis.

        A coordinate is the first voxel's world position plus index times spacing. Where the
        scan is oblique the axes are not those of the world; `attrs["affine"]` is exact always.

        Args:
            dtype, window: of the image, as for `to_dask`.

        Raises:
            UnknownValue: a dtype or window that is not legal.
        """
        import xarray

        record = self.record
        coordinates = {
            name: (name, first + step * np.arange(size), {"units": "mm"})
            for name, first, step, size in zip(
                layout.AXES, origin_of(self.affine), self.spacing, self.shape, strict=True
            )
        }
        units = {"units": "HU"} if window is None else {"window": list(window)}
        attributes = {
            "case": self.id,
            "patient_id": record.patient_id,
            "split": record.split,
            "source": record.source,
            "affine": [list(row) for row in record.affine],
            "spacing": list(self.spacing),
            "labels": list(self.labels),
            "licence": LICENCE,
            "citation": CITATION,
        }
        variables = {
            "image": (layout.AXES, self.to_dask("image", dtype=dtype, window=window), units),
            "segmentation": (layout.AXES, self.segmentation, {"long_name": "vertebra label"}),
        }
        return xarray.Dataset(variables, coordinates, attributes)

    def to_nibabel(self, which: Name = "image", *, original: bool = True) -> nibabel.Nifti1Image:
        """The whole volume as a nibabel image.

        Args:
            which: `image` or `segmentation`.
            original: with the source's orientation, affine, dtype and header, extensions
                included; otherwise canonical RAS+ in the stored dtype.

        Raises:
            DamagedStore: the chunks or the attributes cannot be read.
        """
        voxels = self.voxels(which)
        if original:
            return nifti.source_image(b"".join(inflated_source(voxels, self.nifti_source(which))))
        return nifti.canonical_image(voxels[...], self.affine)

    def nifti_source(self, which: Name) -> NiftiSource:
        """What was kept of a source file: name, digests, header, scaling, reorientation.

        Raises:
            DamagedStore: the case's attributes cannot be read.
        """
        kept = self.facts.nifti
        return choose("array", which, {"image": kept.image, "segmentation": kept.segmentation})

    def voxels(self, which: Name) -> Voxels:
        """The stored array as an array-like, without dask."""
        return choose("array", which, self._arrays)

    @cached_property
    def _arrays(self) -> dict[str, Voxels]:
        record, profile = self.record, PROFILES.get(self.record.codec)
        if profile is None:
            reason = "codec %r of the catalog is unknown here; reading through zarr-python"
            _log.debug(f"%s, case %s: {reason}", self._storage.location, self.id, record.codec)

        def voxels(path: str, dtype: np.dtype[Any], stored_bytes: int, codec: Codec | None) -> Voxels:
            path = f"{record.path}/{path}"
            return Voxels(self._storage, path, self.shape, dtype, stored_bytes, codec, self._reading)

        dtype = np.dtype(record.dtype)
        image, mask = (profile.image(dtype), profile.segmentation) if profile else (None, None)
        return {
            "image": voxels(layout.IMAGE, dtype, record.image_bytes, image),
            "segmentation": voxels(layout.SEGMENTATION, MASK_DTYPE, record.segmentation_bytes, mask),
        }


def _each(sample: Sample, work: Callable[[NDArray[Any]], NDArray[Any]]) -> Sample:
    return {"image": work(sample["image"]), "segmentation": work(sample["segmentation"])}


def _fill_each(reads: Iterable[tuple[Voxels, list[Request]]]) -> None:
    for voxels, requests in reads:
        voxels.fill(requests)


def _first(read: NDArray[Any]) -> NDArray[Any]:
    only: NDArray[Any] = read[0]
    return only


def require_fill(fill: float, dtype: np.dtype[Any]) -> None:
    """Do nothing where an image of that dtype can be padded with it.

    Raises:
        UnknownValue: the dtype does not hold it.
    """
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    is_number = isinstance(fill, float | np.number | SupportsIndex) and limits.min <= fill <= limits.max
    if not is_number or (dtype.kind != "f" and fill != int(fill)):
        message = f"fill {fill!r}; legal: what {dtype} holds, {limits.min} to {limits.max}"
        raise UnknownValue(message)


def _several[T](name: str, values: Iterable[T]) -> Iterator[T]:
    try:
        return iter(values)
    except TypeError:
        message = f"{name} {values!r}; legal: several, in a list or array"
        raise UnknownValue(message) from None
