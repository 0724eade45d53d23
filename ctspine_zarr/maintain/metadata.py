"""Zarr metadata of a case's arrays, compared with the case's record."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.encoding import Document, parse
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.sample import Name
from ctspine_zarr.storage import Storage

# How hard a codec tried is of no matter to who reads.
_FREE: Final = frozenset({"level", "clevel"})


class _Inline(Struct):
    metadata: dict[str, Document]


class _Group(Struct):
    consolidated_metadata: _Inline


def differences(case: Case, name: Name, storage: Storage) -> Iterator[str]:
    """Lines on what documents say of an array of a case otherwise than its record; each of one field.

    These are its own `zarr.json` and its copy in the consolidated metadata of the groups above. Nothing is
    said of an array whose codec this version does not know.

    Raises:
        StorageError: a document cannot be read.
    """
    voxels = case.voxels(name)
    if voxels.codec is None:
        return
    expected = documents.array(voxels.shape, voxels.dtype, voxels.codec)
    path = voxels.array.path.removeprefix(f"{case.record.path}/")
    groups = ("", f"{layout.mask_group(case.spec.mask)}/") if name == "segmentation" else ("",)
    for group, member in [(f"{path}/", ""), *((group, path.removeprefix(group)) for group in groups)]:
        key = f"{group}{layout.METADATA}"
        for difference in _of_document(storage, f"{case.record.path}/{key}", member, expected):
            yield f"{key} is not as the record has the {name}: {difference}"


def _of_document(storage: Storage, key: str, member: str, expected: Document) -> Iterator[str]:
    try:
        found = _described(storage.get(key, most=MOST_DOCUMENT_BYTES), member)
    except Malformed as error:
        yield str(error)
        return
    for field, value in expected.items():
        yield from _differing(found.get(field), value, field)


def _described(data: bytes | None, member: str) -> Document:
    """What a document says of an array: of its own, or of a member of its group."""
    if data is None:
        message = "it is missing"
        raise Malformed(message)
    if not member:
        return parse(data, dict[str, Any])
    return parse(data, _Group).consolidated_metadata.metadata.get(member, {})


def _differing(found: Any, expected: Any, place: str) -> Iterator[str]:
    """The innermost values that differ, where both have the same keys or lengths, else the whole."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key in expected:
            if key not in _FREE:
                yield from _differing(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for number, value in enumerate(expected):
            yield from _differing(found[number], value, f"{place}[{number}]")
    elif found != expected or isinstance(found, bool) != isinstance(expected, bool):
        yield f"{place} is {reprlib.repr(found)}; legal: {reprlib.repr(expected)}"
