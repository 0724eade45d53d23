"""Names and grids: where each object of a store lies and how arrays are cut into chunks."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from ctspine_zarr.geometry import Shape

FORMAT_VERSION: Final = 2
"""Raised when a store written by this version could be misread by an older reader."""

OWN_KEY: Final = "ctspine_zarr"
"""Attribute key under which everything that is this project's own is kept."""

AXES: Final = ("z", "y", "x")
"""Axis order of every array: z inferior to superior, y posterior to anterior, x left to right."""

DEFAULT_CHUNK: Final[Shape] = (8, 64, 64)
"""(z, y, x) voxels of a chunk where nothing else is asked for."""

ROOT: Final = "zarr.json"
METADATA: Final = "zarr.json"
RECEIPTS: Final = "receipts/"
BUILDS: Final = "builds/"
"""Where those who write to a store say so; nothing is there while nobody does."""
PLAN: Final = f"{BUILDS}plan-"
CLAIM: Final = f"{BUILDS}claim-"
GATE: Final = f"{BUILDS}gate-"
IMAGE: Final = "image"
LABEL_GROUP: Final = "labels"
SHARD: Final = "c/0/0/0"

# Stands in no legal name: the group of a case that took another's place cannot be any case's own.
_TAG: Final = "~"
_CATALOG_DIGITS: Final = 16
_CATALOG: Final = re.compile(r"catalog-[0-9a-f]{16}\.jsonl")
VIEWER: Final = "viewer"
"""The folder of what the page consists of that is published with a store."""
BESIDE: Final = frozenset(
    {
        *("README.md", "LICENSE", "LICENSES.md", "CITATION.cff", "croissant.json", "manifest-sha256.txt"),
        *("index.html", ".gitattributes", VIEWER),
    }
)
"""Names at the top of what goes along with a published store, or a repository has beside it."""
CASES_TABLE: Final = "cases.parquet"
VERTEBRAE_TABLE: Final = "vertebrae.parquet"
TABLES: Final = (CASES_TABLE, VERTEBRAE_TABLE)
TABLE_PATTERN: Final = "[a-z][a-z0-9_]{0,63}\\.parquet"
"""Of the keys of tables, those of later versions included."""
_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]*"
_TAGGED: Final = "(?:~[0-9a-f]{12})?"
_GROUP: Final = f"{_NAME}{_TAGGED}"
_OBJECTS: Final = re.compile(
    r"zarr\.json|image/(zarr\.json|c/0/0/0)|labels/zarr\.json"
    rf"|labels/{_NAME}/(zarr\.json|segmentation{_TAGGED}/(zarr\.json|c/0/0/0))"
)
_RECEIPT: Final = re.compile(rf"{RECEIPTS}{_GROUP}\.json")
_BUILD: Final = re.compile(rf"(?:{PLAN}|{CLAIM}|{GATE})[0-9a-f]{{16}}\.json")
_IN_SPLIT: Final = re.compile(rf"zarr\.json|{_NAME}/(?:zarr\.json|{_GROUP}/(?:{_OBJECTS.pattern}))")


def group_name(case: str, tag: str) -> str:
    """Last part of the path of a case's group.

    Args:
        case: its id.
        tag: empty, or what tells it from the case of that id that it replaced.
    """
    return f"{case}{_TAG}{tag}" if tag else case


def case_path(split: str, source: str, group: str) -> str:
    """Path of a case's group below the store."""
    return f"{split}/{source}/{group}"


def receipt_key(group: str) -> str:
    """Key of the object that is written last for a case."""
    return f"{RECEIPTS}{group}.json"


def case_in(key: str) -> str:
    """The id of the case whose receipt, or own `zarr.json`, lies at a key."""
    group = key.removesuffix(f"/{METADATA}").removesuffix(".json").rpartition("/")[2]
    return group.partition(_TAG)[0]


def mask_group(mask: str) -> str:
    """Path of the label group that holds a case's mask, below the case."""
    return f"{LABEL_GROUP}/{mask}"


def mask_path(mask: str, tag: str = "") -> str:
    """Path of the array of a mask, below the case.

    Args:
        mask: name of its label group.
        tag: empty, or what tells the array from the one that it replaced there.
    """
    return f"{mask_group(mask)}/{mask_array(tag)}"


def mask_array(tag: str) -> str:
    """Last part of the path of a mask's array; see `mask_path`."""
    return group_name("segmentation", tag)


def catalog_key(sha256: str) -> str:
    """Key of the catalog of that digest."""
    return f"catalog-{sha256[:_CATALOG_DIGITS]}.jsonl"


def is_catalog(key: str) -> bool:
    """Whether a key is that of a catalog, of this state of the store or of another."""
    return _CATALOG.fullmatch(key) is not None


def is_table(key: str) -> bool:
    """Whether a key is that of a table at the store's root."""
    return key in TABLES


def is_at_top(name: str) -> bool:
    """Whether a name is, but for case, that of a table, or of what may lie beside a store."""
    return is_table(name.lower()) or name.lower() in {beside.lower() for beside in BESIDE}


def plan_key(seal: str) -> str:
    """Key of the plan of that seal, while its parts are built."""
    return f"{PLAN}{seal[:_CATALOG_DIGITS]}.json"


def claim_key(token: str) -> str:
    """Key by which somebody says that he writes to the store."""
    return f"{CLAIM}{token}.json"


def gate_key(token: str) -> str:
    """Key by which somebody asks to be the only one to change what holds."""
    return f"{GATE}{token}.json"


def is_case_object(key: str) -> bool:
    """Whether a key below a case is one that a case may have."""
    return _OBJECTS.fullmatch(key) is not None


def case_keys(masks: Mapping[str, bool]) -> set[str]:
    """Keys below a case of everything that it consists of.

    Args:
        masks: path of the array of each mask -> whether it has a shard, as one of which every chunk is
            empty has not.
    """
    groups = {path.rpartition("/")[0] for path in masks} | ({LABEL_GROUP} if masks else set())
    shards = (path for path, has_labels in masks.items() if has_labels)
    return {
        METADATA,
        *(f"{path}/{METADATA}" for path in (*groups, IMAGE, *masks)),
        *(f"{path}/{SHARD}" for path in (IMAGE, *shards)),
    }


def is_build(key: str) -> bool:
    """Whether a key is one of those by which builds tell of each other."""
    return _BUILD.fullmatch(key) is not None


def is_written(key: str, splits: Collection[str]) -> bool:
    """Whether a key, other than the root's and a table's, is of the form of those that such stores have."""
    if is_catalog(key) or _RECEIPT.fullmatch(key):
        return True
    split, _, inside = key.partition("/")
    return split in splits and _IN_SPLIT.fullmatch(inside) is not None


def grid(shape: Shape, chunk: Shape) -> Shape:
    """Chunks along each axis of an array; the last one of an axis may be ragged."""
    z, y, x = (-(-size // edge) for size, edge in zip(shape, chunk, strict=True))
    return z, y, x


def shard_shape(shape: Shape, chunk: Shape) -> Shape:
    """The array's shape rounded up to full chunks: one shard holds all of them."""
    z, y, x = (count * edge for count, edge in zip(grid(shape, chunk), chunk, strict=True))
    return z, y, x
