"""One case of a store: its voxels, lazily, and what is known of it, at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import dask.array
import numpy as np
import xarray
from dask.base import tokenize
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.dataset import CITATION, LICENCE
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, UnknownValue, choose
from ctspine_zarr.format import layout
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.encoding import OWN_ATTRIBUTES, decode
from ctspine_zarr.format.receipt import Facts, NiftiSource
from ctspine_zarr.format.record import Record, Triple
from ctspine_zarr.geometry import Affine, Shape, origin_of
from ctspine_zarr.read.original import inflated_source
from ctspine_zarr.read.regions import Plane, Region, patch_region, plane_index
from ctspine_zarr.read.voxels import Voxels
from ctspine_zarr.storage import Storage

if TYPE_CHECKING:
    import nibabel

type Name = Literal["image", "segmentation"]

# Four rows of chunks: 32 MB of 512 x 512 int16, a common size for a dask block.
_BLOCK_SLICES: Final = 4 * layout.CHUNK[0]

AIR: Final = -1024
"""HU of what lies beyond a volume's edge."""


class Sample(TypedDict):
    """Voxels of one place.

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

    def __init__(self, storage: Storage, record: Record) -> None:
        self._storage = storage
        self.record = record

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

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the vertebrae present, from C1 down."""
        return tuple(vertebra.name for vertebra in self.record.vertebrae)

    @property
    def image(self) -> dask.array.Array:
        """HU, lazy, (z, y, x), in the stored dtype. Slicing it reads only that slice."""
        return self._dask("image")

    @property
    def segmentation(self) -> dask.array.Array:
        """Labels 0-25, lazy, (z, y, x), uint8."""
        return self._dask("segmentation")

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
        selection = plane_index(self.shape, index, axis)
        return {
            "image": self.voxels("image")[selection],
            "segmentation": self.voxels("segmentation")[selection],
        }

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
        region = patch_region(self.shape, size, center=center, start=start)
        return {
            "image": _padded(self.voxels("image"), region, fill),
            "segmentation": _padded(self.voxels("segmentation"), region, 0),
        }

    def to_xarray(self) -> xarray.Dataset:
        """`image` and `segmentation`, lazy, with coordinates in mm along each axis.

        A coordinate is the first voxel's world position plus index times spacing. Where the
        scan is oblique the axes are not those of the world; `attrs["affine"]` is exact always.
        """
        record = self.record
        coordinates = {
            name: (name, first + step * np.arange(size), {"units": "mm"})
            for name, first, step, size in zip(
                layout.AXES, origin_of(self.affine), self.spacing, self.shape, strict=True
            )
        }
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
            "image": (layout.AXES, self.image, {"units": "HU"}),
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
        def voxels(path: str, dtype: np.dtype[Any], stored_bytes: int) -> Voxels:
            return Voxels(self._storage, f"{self.record.path}/{path}", self.shape, dtype, stored_bytes)

        return {
            "image": voxels(layout.IMAGE, np.dtype(self.record.dtype), self.record.image_bytes),
            "segmentation": voxels(layout.SEGMENTATION, MASK_DTYPE, self.record.segmentation_bytes),
        }

    def _dask(self, which: Name) -> dask.array.Array:
        voxels = self.voxels(which)
        _, height, width = self.shape
        array: dask.array.Array = dask.array.from_array(
            voxels,
            chunks=(_BLOCK_SLICES, height, width),
            name=f"{which}-{tokenize(self._storage.location, voxels.path)}",
            meta=np.empty((0, 0, 0), voxels.dtype),
        )
        return array


def _padded(voxels: Voxels, region: Region, fill: float) -> NDArray[Any]:
    if region.is_inside:
        return voxels[region.inside]
    limits = np.finfo(voxels.dtype) if voxels.dtype.kind == "f" else np.iinfo(voxels.dtype)
    if not limits.min <= fill <= limits.max or (voxels.dtype.kind != "f" and fill != int(fill)):
        message = f"fill {fill}; legal: what {voxels.dtype} holds, {limits.min} to {limits.max}"
        raise UnknownValue(message)
    result = np.full(region.size, fill, voxels.dtype)
    result[region.target] = voxels[region.inside]
    return result
