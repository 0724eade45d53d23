"""Differences between two records, receipts or specs, named one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ctspine_zarr.format.catalog import Refused
from ctspine_zarr.format.receipt import Arrays, Receipt, SourceFile
from ctspine_zarr.format.record import Label, LabelSet, Record, StoredArray
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.text import size, some_names

NONE: Final = "none"
"""What stands for what one side has not."""

_LONGEST: Final = 200
_MOST_NAMED: Final = 6
# What follows from other fields, or is told by a name of its own.
_TOLD_RECORD: Final = frozenset(
    {"id", "content", "is_replaced", "image", "segmentation", "labels", "sets", "metadata", "intensity"}
)
_TOLD_RECEIPT: Final = frozenset(
    {
        *("format", "dataset", "record", "files", "voxels", "objects"),
        *("foreground", "foreground_of_sets", "thumbnail", "seal"),
    }
)
_NAMES: Final = {"patient_id": "patient", "source_bytes": "source files' size"}
# What may differ where two programs, or versions of one, have written the same case.
_FORM: Final = frozenset({"writer", "thumbnail"})


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs.

    Attributes:
        what: its name, such as `split` or `image voxels`.
        a, b: as the one and the other store have it, in short.
        is_content: False where it says how a case is stored, and not what it is.
    """

    what: str
    a: str
    b: str
    is_content: bool = True


def spec_changes(a: Spec, b: Spec) -> tuple[Change, ...]:
    """What differs between two datasets' descriptions; of labels, regions and the like their entries."""
    return tuple(_fields(a, b, Spec.__struct_fields__))


def refused_changes(a: Sequence[Refused], b: Sequence[Refused]) -> tuple[Change, ...]:
    """Cases that one build refused and the other did not, or for another reason."""
    first, second = ({one.case: one.reason for one in some} for some in (a, b))
    return tuple(_entries("refused", first, second))


def case_changes(a: Receipt, b: Receipt) -> tuple[Change, ...]:
    """What differs between two cases of one id, of which the receipts are not the same.

    Voxels are compared by the xxh3-128 in the receipts, which is of the stored dtype: where that differs, it
    is told in place of the voxels.
    """
    found = [
        *_record_fields(a.record, b.record),
        *_array_changes("image", _side(a, "image"), _side(b, "image")),
        *_array_changes("mask", _side(a, "mask"), _side(b, "mask")),
        *_labels("labels", a.record.labels, b.record.labels),
        *_sets(a, b),
        *_metadata(a.record, b.record),
        *_files(a.files, b.files),
        *_fields(a, b, [name for name in Receipt.__struct_fields__ if name not in _TOLD_RECEIPT]),
    ]
    return tuple(found or [*_figures(a.record, b.record), *_fields(a, b, ["thumbnail"]), *_documents(a, b)])


@dataclass(frozen=True, slots=True)
class _Side:
    """An array of one store and the digest of its voxels."""

    array: StoredArray
    voxels: str


def _side(receipt: Receipt, name: str) -> _Side | None:
    """The image, the mask or a label set of a case; None where it has none."""
    record, voxels = receipt.record, receipt.voxels
    if name == "image":
        return _Side(record.image, voxels.image)
    if name == "mask":
        if record.segmentation is None or voxels.segmentation is None:
            return None
        return _Side(record.segmentation, voxels.segmentation)
    return _Side(record.sets[name].array, voxels.sets[name]) if name in record.sets else None


def _record_fields(a: Record, b: Record) -> Iterator[Change]:
    names = [name for name in Record.__struct_fields__ if name not in _TOLD_RECORD]
    for change in _fields(a, b, names):
        yield change
        if change.what == "affine" and a.spacing != b.spacing:
            yield Change("spacing", _short(a.spacing), _short(b.spacing))


def _array_changes(name: str, a: _Side | None, b: _Side | None) -> Iterator[Change]:
    if a is None or b is None:
        if a is not b:
            first, second = (NONE if one is None else one.voxels for one in (a, b))
            yield Change(f"{name} voxels", first, second)
        return
    if a.array.dtype != b.array.dtype:
        yield Change(f"{name} dtype", a.array.dtype, b.array.dtype)
    elif a.voxels != b.voxels:
        yield Change(f"{name} voxels", a.voxels, b.voxels)
    # Of equal voxels as many bytes, or others, are a matter of the encoder.
    is_same = a.voxels == b.voxels
    if (a.array.codec, a.array.chunk) != (b.array.codec, b.array.chunk) or (is_same and _differ(a, b)):
        yield Change(f"{name} encoding", _encoding(a.array), _encoding(b.array), is_content=False)


def _differ(a: _Side, b: _Side) -> bool:
    return (a.array.bytes, a.array.index_crc32c) != (b.array.bytes, b.array.index_crc32c)


def _encoding(array: StoredArray) -> str:
    return f"{array.codec} in chunks {array.chunk}, {size(array.bytes)}"


def _labels(name: str, a: Sequence[Label], b: Sequence[Label]) -> Iterator[Change]:
    """Labels of which one side has none, or other voxels; their HU follow from the image."""
    first, second = ({one.label: one for one in some} for some in (a, b))
    values = [
        value
        for value in sorted(first.keys() | second.keys())
        if _place(first.get(value)) != _place(second.get(value))
    ]
    if values:
        yield Change(name, _named(first, values), _named(second, values))


def _place(label: Label | None) -> tuple[object, ...] | None:
    if label is None:
        return None
    return (label.name, label.voxels, label.start, label.stop, label.pieces)


def _named(labels: Mapping[int, Label], values: Sequence[int]) -> str:
    found = [f"{one.name} of {one.voxels} voxels" for value in values if (one := labels.get(value))]
    return some_names(found, _MOST_NAMED) or NONE


def _sets(a: Receipt, b: Receipt) -> Iterator[Change]:
    for name in sorted(a.record.sets.keys() | b.record.sets.keys()):
        title = f"label set {name}"
        yield from _array_changes(title, _side(a, name), _side(b, name))
        first, second = (_labels_of(one.record.sets.get(name)) for one in (a, b))
        yield from _labels(f"{title} labels", first, second)


def _labels_of(found: LabelSet | None) -> Sequence[Label]:
    return () if found is None else found.labels


def _metadata(a: Record, b: Record) -> Iterator[Change]:
    for name in sorted(a.metadata.keys() | b.metadata.keys()):
        yield from _entries(f"metadata {name}", a.metadata.get(name, {}), b.metadata.get(name, {}))


def _files(a: Arrays[SourceFile], b: Arrays[SourceFile]) -> Iterator[Change]:
    pairs = [("image file", a.image, b.image), ("mask file", a.segmentation, b.segmentation)]
    pairs += [
        (f"label set {name} file", a.sets.get(name), b.sets.get(name)) for name in sorted({*a.sets, *b.sets})
    ]
    for what, one, other in pairs:
        if one != other:
            yield Change(what, _file(one), _file(other))


def _file(file: SourceFile | None) -> str:
    return NONE if file is None else f"{file.name} of {file.bytes} bytes, sha256 {file.sha256}"


def _figures(a: Record, b: Record) -> Iterator[Change]:
    """What was measured, where all that it was measured of is the same."""
    for name in ("intensity", "labels", "sets"):
        if getattr(a, name) != getattr(b, name):
            first, second = map(_short, _first_pair(getattr(a, name), getattr(b, name)))
            yield Change(f"figures of {name}", first, second)


def _first_pair(a: object, b: object) -> tuple[object, object]:
    """Of two sequences of the same length the first items that differ; else the two themselves."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return next((pair for pair in zip(a, b, strict=True) if pair[0] != pair[1]), (a, b))
    return a, b


def _documents(a: Receipt, b: Receipt) -> Iterator[Change]:
    """Objects of other bytes that nothing else accounts for, such as a header that is kept."""
    keys = sorted(a.objects.keys() | b.objects.keys())
    different = [key for key in keys if a.objects.get(key) != b.objects.get(key)]
    if different:
        first, second = (
            some_names([f"{key} {one.sha256[:12]}" for key in different if (one := side.objects.get(key))], 3)
            for side in (a, b)
        )
        yield Change("documents", first, second)


def _fields(a: object, b: object, names: Sequence[str]) -> Iterator[Change]:
    for name in names:
        first, second = getattr(a, name), getattr(b, name)
        if first == second:
            continue
        title = _NAMES.get(name, name)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from _entries(title, first, second)
        else:
            yield Change(title, _short(first), _short(second), name not in _FORM)


def _entries[Key](title: str, a: Mapping[Key, object], b: Mapping[Key, object]) -> Iterator[Change]:
    """The entries of two mappings that differ, each by its key."""
    for key in [*a, *(key for key in b if key not in a)]:
        first, second = (_short(one[key]) if key in one else NONE for one in (a, b))
        if (key in a, a.get(key)) != (key in b, b.get(key)):
            yield Change(f"{title} {key}", first, second)


def _short(value: object) -> str:
    """A value as text of a bounded length."""
    text = f"{len(value)} bytes" if isinstance(value, bytes) else NONE if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
