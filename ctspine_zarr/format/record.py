"""Records: what the catalog says of each case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, Literal

import numpy as np
from msgspec import Meta, Struct

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.encoding import Sha256
from ctspine_zarr.format.findings import Finding
from ctspine_zarr.format.layout import case_keys, case_path, grid, group_name, mask_path, receipt_key
from ctspine_zarr.format.names import is_legal_name, require_legal
from ctspine_zarr.format.series import MOST_SERIES, Series
from ctspine_zarr.format.shard import ENTRY_BYTES, index_size, unpacked_slabs
from ctspine_zarr.format.spec import LabelValue
from ctspine_zarr.geometry import Affine, Rows, Shape, oriented, spacing_of, voxel_volume

type Triple = tuple[float, float, float]
type Count = Annotated[int, Meta(ge=0, le=2**50)]
type Spread = Annotated[float, Meta(ge=0)]
type Size = Annotated[int, Meta(ge=1, le=2**14)]
type Sizes = tuple[Size, Size, Size]
type Cell = str | int | float | bool
type Columns = Annotated[Mapping[Annotated[str, Meta(max_length=128)], Cell], Meta(max_length=256)]
type Packed = Annotated[bytes, Meta(max_length=2**16)]
type Dtype = Literal["int16", "int32", "float32", "float64", "uint8"]

MOST_CELL: Final = 10_000
"""Characters of a cell of a user's table."""

MOST_VOXELS: Final = 2**33
"""Of one array: more than any CT has, and few enough that its grid of chunks fits in memory."""

MOST_CHUNK_VOXELS: Final = 2**24
"""Of a chunk: few enough that it fits in memory many times."""

MOST_CHUNKS: Final = 2**22
"""Of one array: few enough that its index, and a list of its chunks, fit in memory."""

_LEAST_MM, _MOST_MM = 1e-6, 1e6
# A voxel's volume over the product of its spacing, 1 where its axes are at right angles; files have 1e-3.
_LEAST_VOLUME: Final = 1e-4
_TAG_DIGITS: Final = 12


class StoredArray(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One array as it is stored.

    Attributes:
        dtype: of its voxels.
        bytes: of its shard; 0 for a mask without any label, which has none.
        index_crc32c: what ends the shard's index, so that another array's shard in its
            place shows; 0 where there is no shard.
        chunk: (z, y, x) voxels of a chunk.
        codec: name of the codec of its chunks.
        tag: of a label set that replaced another of its name: what tells the one array from the other.
        slabs: bytes of each slab of chunks in the shard, in order of z, as little-endian uint32, so that a
            first read finds its slab before it knows the index; empty where nobody says, as of shards
            that are read whole.
    """

    dtype: Dtype
    bytes: Count
    index_crc32c: Annotated[int, Meta(ge=0, lt=2**32)]
    chunk: Sizes
    codec: Annotated[str, Meta(max_length=64)]
    tag: Annotated[str, Meta(pattern=r"^([0-9a-f]{12})?\Z")] = ""
    slabs: Packed = b""

    def __post_init__(self) -> None:
        if math.prod(self.chunk) > MOST_CHUNK_VOXELS:
            message = f"chunk {self.chunk}; legal: at most {MOST_CHUNK_VOXELS} voxels"
            raise ValueError(message)


class Padding(Struct, frozen=True):
    """What a scanner writes where it has measured nothing.

    Attributes:
        value: HU; the image's least, below that of air.
        voxels: that have it.
    """

    value: float
    voxels: Count


class Intensity(Struct, frozen=True, kw_only=True):
    """How a case's HU are distributed.

    Attributes:
        min, max: over every voxel.
        mean, std, p00_5, p05, p50, p95, p99_5: over every voxel that is not padding; `pNN` is the
            smallest value that NN percent of those voxels do not exceed.
        padding: None where the image has none.
    """

    min: float
    max: float
    mean: float
    std: Spread
    p00_5: float
    p05: float
    p50: float
    p95: float
    p99_5: float
    padding: Padding | None


class LabelIntensity(Struct, frozen=True, kw_only=True):
    """How the HU of the voxels that bear one label are distributed; percentiles as in `Intensity`."""

    mean: float
    std: Spread
    p00_5: float
    p05: float
    p50: float
    p95: float
    p99_5: float


class Label(Struct, frozen=True, kw_only=True):
    """One label of one mask, such as a vertebra. Positions are canonical voxel indices, (z, y, x).

    Attributes:
        label, name: value and name, as the store's spec has them.
        voxels: how many voxels bear the label.
        start, stop: its bounding box, half open.
        centroid: mean position.
        pieces: components connected by faces, edges or corners.
        largest: voxels of the largest piece.
        hu: HU of its voxels.
    """

    label: LabelValue
    name: Annotated[str, Meta(max_length=128)]
    voxels: Annotated[int, Meta(ge=1, le=MOST_VOXELS)]
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    centroid: Triple
    pieces: Annotated[int, Meta(ge=1, le=MOST_VOXELS)]
    largest: Annotated[int, Meta(ge=1, le=MOST_VOXELS)]
    hu: LabelIntensity

    def __post_init__(self) -> None:
        # Written out, for a catalog has many of these.
        (z, y, x), (mid_z, mid_y, mid_x), (end_z, end_y, end_x) = self.start, self.centroid, self.stop
        along_z, along_y = 0 <= z <= mid_z <= end_z - 1, 0 <= y <= mid_y <= end_y - 1
        if not (along_z and along_y and 0 <= x <= mid_x <= end_x - 1):
            seen = f"label {self.label} from {self.start} to {self.stop} around {self.centroid}"
            message = f"{seen}; legal: a box of one voxel or more, its centroid inside"
            raise ValueError(message)

    def touches_edge(self, shape: Shape) -> bool:
        """Whether its box reaches the first or last slice along an axis, beyond which it may go on.

        Args:
            shape: (z, y, x) voxels of the volume.
        """
        at_end = any(stop == size for stop, size in zip(self.stop, shape, strict=True))
        return at_end or 0 in self.start


class LabelSet(Struct, frozen=True, kw_only=True):
    """One more mask of a case, beside its own, such as a prediction.

    Attributes:
        array: the mask.
        labels: as in `Record`.
        findings: about the labels and their file.
    """

    array: StoredArray
    labels: tuple[Label, ...]
    findings: tuple[Finding, ...]


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One case as the catalog has it.

    Attributes:
        id: the case's name.
        patient_id: of the patient; the case's own id where the dataset does not tell patients apart.
        split, source: names, as the store's spec has them.
        content: sha256 of all that the case holds, but for its series, label sets and metadata.
        is_replaced: whether the case took the place of another of that id, and so lies in a group
            of its own beside it, named with the beginning of `content`.
        shape: (z, y, x) voxels.
        affine: rows of the (4, 4) matrix, canonical (x, y, z) -> RAS+ mm.
        orientation: of the source image, (i, j, k): for each axis the side of the body it
            increases towards, as nibabel's `aff2axcodes` has them.
        image, segmentation: the arrays; no `segmentation` where the case has no mask.
        source_bytes: size of the source's files together.
        intensity: HU distribution.
        labels: one entry a label present, in order of value; none where there is no mask.
        transitional: kind of transitional vertebra, such as `lumbarization`, where the dataset says so.
        findings: see `Finding`.
        spreadsheet: rows of the dataset's spreadsheet for this patient, column -> value.
        series: lines of a list of series that are of this case; several where nothing says which one it was
            made from; not written where there is none.
        sets: name -> label set, in order of name; not written where there is none.
        metadata: name of a user's file -> column -> value, in order of name; not written where there is none.
    """

    id: str
    patient_id: Annotated[str, Meta(max_length=128)]
    split: str
    source: str
    content: Sha256
    is_replaced: bool
    shape: Sizes
    affine: Rows
    orientation: str
    image: StoredArray
    segmentation: StoredArray | None
    source_bytes: Count
    intensity: Intensity
    labels: tuple[Label, ...]
    transitional: Annotated[str, Meta(max_length=128)] | None
    findings: tuple[Finding, ...]
    spreadsheet: tuple[Mapping[str, Cell], ...]
    series: Annotated[tuple[Series, ...], Meta(max_length=MOST_SERIES)] = ()
    sets: Mapping[str, LabelSet] = {}
    metadata: Mapping[Annotated[str, Meta(max_length=128)], Columns] = {}

    def __post_init__(self) -> None:
        for what, name in (("case", self.id), ("split", self.split), ("source", self.source)):
            if not is_legal_name(name):
                require_legal(what, [name])
        _require_affine(self.affine)
        _require_orientation(self.orientation)
        _require_grid(self.shape, self.image, self.segmentation)
        _require_labels(self.labels, self.shape, has_mask=self.segmentation is not None)
        if self.sets:
            _require_sets(self)

    @property
    def tag(self) -> str:
        """What tells the case's group from that of the case it replaced; empty for a first one."""
        return self.content[:_TAG_DIGITS] if self.is_replaced else ""

    @property
    def path(self) -> str:
        """Of the case's group below the store."""
        return case_path(self.split, self.source, group_name(self.id, self.tag))

    @property
    def receipt_key(self) -> str:
        """Key of the case's receipt."""
        return receipt_key(group_name(self.id, self.tag))

    @property
    def has_mask(self) -> bool:
        """Whether the case has a mask; one without any label is a mask."""
        return self.segmentation is not None

    @property
    def affine_matrix(self) -> Affine:
        """(4, 4) float64, canonical (x, y, z) -> RAS+ mm."""
        return np.array(self.affine)

    @property
    def spacing(self) -> Triple:
        """Voxel size in mm, (z, y, x)."""
        return _spacing(self.affine)

    @property
    def stored_bytes(self) -> int:
        """Size of the shards."""
        masks = () if self.segmentation is None else (self.segmentation,)
        return sum(array.bytes for array in (self.image, *masks, *(one.array for one in self.sets.values())))

    def masks(self, mask: str) -> dict[str, StoredArray]:
        """Name of a label group -> the array in it, of the case's own mask and of each label set.

        Args:
            mask: name of the group of its own mask.
        """
        own = {} if self.segmentation is None else {mask: self.segmentation}
        return own | {name: one.array for name, one in self.sets.items()}

    def keys(self, mask: str) -> set[str]:
        """Keys below the case's group of every object of the case; see `masks`."""
        masks = self.masks(mask).items()
        return case_keys({mask_path(name, array.tag): array.bytes > 0 for name, array in masks})


# Kept, for each sample asks for it.
@lru_cache(4096)
def _spacing(affine: Rows) -> Triple:
    return spacing_of(np.array(affine))


def rows_of(affine: Affine) -> Rows:
    """The rows of a (4, 4) matrix, as records have them."""
    first, second, third, fourth = (tuple(row) for row in affine.tolist())
    return first, second, third, fourth


def _require_affine(rows: Rows) -> None:
    x, y, z = (math.hypot(*(row[axis] for row in rows[:3])) for axis in range(3))
    is_affine = list(rows[3]) == [0, 0, 0, 1] and all(math.isfinite(row[3]) for row in rows)
    is_affine = is_affine and all(_LEAST_MM < mm < _MOST_MM for mm in (x, y, z))
    # Nearer to a plane than that, it has no inverse in floats, or one that says nothing.
    if not (is_affine and voxel_volume(rows) > _LEAST_VOLUME * x * y * z):
        message = f"affine {rows}; legal: finite, invertible, its last row 0 0 0 1, spacings in mm"
        raise ValueError(message)


def _require_orientation(codes: str) -> None:
    try:
        oriented(codes)
    except UnknownValue as error:
        raise ValueError(str(error)) from error


def _require_grid(shape: Shape, image: StoredArray, mask: StoredArray | None) -> None:
    if math.prod(shape) > MOST_VOXELS:
        message = f"shape {shape}; legal: at most {MOST_VOXELS} voxels"
        raise ValueError(message)
    for array in (image,) if mask is None else (image, mask):
        chunks = math.prod(grid(shape, array.chunk))
        if chunks > MOST_CHUNKS:
            message = f"{chunks} chunks {array.chunk} of shape {shape}; legal: at most {MOST_CHUNKS}"
            raise ValueError(message)
        # Every chunk of an image is stored: so the bytes bound the chunks, and with them the index.
        least = chunks * ENTRY_BYTES
        if array.bytes <= least and (array is image or array.bytes):
            message = f"{array.bytes} bytes of an array of shape {shape}; legal: more than {least}"
            raise ValueError(message)
        if array.slabs:
            _require_slabs(shape, array)
    if image.dtype == "uint8" or (mask is not None and mask.dtype != "uint8"):
        message = f"an image of {image.dtype}, or a mask of other than uint8; legal: uint8 for masks alone"
        raise ValueError(message)


def _require_slabs(shape: Shape, array: StoredArray) -> None:
    slabs, body = unpacked_slabs(array.slabs), array.bytes - index_size(shape, array.chunk)
    count = grid(shape, array.chunk)[0]
    if (len(slabs), sum(slabs)) != (count, body):
        seen = f"{len(slabs)} slabs of {sum(slabs)} bytes in an array of shape {shape}"
        message = f"{seen}; legal: {count} of {body}, which its chunks have"
        raise ValueError(message)


def _require_labels(labels: tuple[Label, ...], shape: Shape, *, has_mask: bool) -> None:
    values = [label.label for label in labels]
    z, y, x = shape
    inside = all(stop[0] <= z and stop[1] <= y and stop[2] <= x for stop in [one.stop for one in labels])
    if values != sorted(set(values)) or not inside or (values and not has_mask):
        message = f"labels {values}; legal: each once, in order, inside the volume, of a mask"
        raise ValueError(message)


def _require_sets(record: Record) -> None:
    require_legal("label set", record.sets)
    for one in record.sets.values():
        _require_grid(record.shape, record.image, one.array)
        _require_labels(one.labels, record.shape, has_mask=True)
