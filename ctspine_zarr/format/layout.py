"""Names and grids: where each object of a store lies and how arrays are cut into chunks."""

from __future__ import annotations

from typing import Final

from ctspine_zarr.geometry import Shape

FORMAT_VERSION: Final = 1
"""Raised when a store written by this version could be misread by an older reader."""

OWN_KEY: Final = "ctspine_zarr"
"""Attribute key under which everything that is this project's own is kept."""

AXES: Final = ("z", "y", "x")
"""Axis order of every array: z inferior to superior, y posterior to anterior, x left to right."""

CHUNK: Final[Shape] = (16, 64, 64)
"""Voxels of one chunk. An axial slab of 16 slices is one contiguous byte range of its shard."""

ROOT: Final = "zarr.json"
CATALOG: Final = "catalog.jsonl"
RECEIPTS: Final = "receipts/"
IMAGE: Final = "image"
LABEL_GROUP: Final = "labels"
VERTEBRAE_GROUP: Final = "labels/vertebrae"
SEGMENTATION: Final = "labels/vertebrae/segmentation"
METADATA: Final = "zarr.json"
SHARD: Final = "c/0/0/0"
SHARDS: Final = (f"{IMAGE}/{SHARD}", f"{SEGMENTATION}/{SHARD}")
"""Keys below a case of the objects that may be absent: an array of zeros has none."""


def case_path(split: str, source: str, case: str) -> str:
    """Path of a case's group below the store."""
    return f"{split}/{source}/{case}"


def receipt_key(case: str) -> str:
    """Key of the object that is written last for a case."""
    return f"{RECEIPTS}{case}.json"


def grid(shape: Shape) -> Shape:
    """Chunks along each axis; the last one of an axis may be ragged."""
    z, y, x = (-(-size // chunk) for size, chunk in zip(shape, CHUNK, strict=True))
    return z, y, x


def shard_shape(shape: Shape) -> Shape:
    """The array's shape rounded up to whole chunks: one shard holds the whole array."""
    z, y, x = (count * chunk for count, chunk in zip(grid(shape), CHUNK, strict=True))
    return z, y, x
