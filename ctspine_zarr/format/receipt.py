"""Receipts and facts: what proves a case whole and gives back its source.

A receipt is written last for a case; a case exists when its receipt does. The facts are kept in
the attributes of the case's group.
"""

from __future__ import annotations

from collections.abc import Buffer, Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct, structs, to_builtins

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import UNSEALED, Document, Sha256, decode, encode, sealed
from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.format.record import Count, Record
from ctspine_zarr.format.spec import LabelValue, Name
from ctspine_zarr.geometry import Reorientation, Rows

type Digest128 = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
type Axis = Annotated[int, Meta(ge=0, le=2)]

MOST_THUMBNAIL_BYTES: Final = 40_000
"""Of the picture in a receipt: a table of 1,005 cases that has each takes 30 MB."""

MOST_DOCUMENT_BYTES: Final = 1 << 26
"""Of a receipt, a case's attributes or a root: a header and a trailer of 16 MB each fit, in base64."""


class StoredObject(Struct, frozen=True):
    """Size and sha256 of one object, as written."""

    bytes: Count
    sha256: Sha256

    @classmethod
    def of(cls, data: Buffer) -> StoredObject:
        """The size and sha256 of these bytes."""
        return cls(memoryview(data).nbytes, sha256(data))


class SourceFile(Struct, frozen=True):
    """One `.nii.gz`, as read.

    Attributes:
        name: without its folder.
        bytes, sha256: of the whole file.
        ending: its last eight bytes, hex: the CRC-32 and length of what gzip holds, which tell
            at once whether a file of the same size is still the one that was read.
    """

    name: Annotated[str, Meta(max_length=1024)]
    bytes: Count
    sha256: Sha256
    ending: Annotated[str, Meta(max_length=16)]


class Arrays[T](Struct, frozen=True, omit_defaults=True):
    """Something of each of a case's arrays; of the mask None where the case has none.

    `sets` has it by name of each label set; it is not written where there is none.
    """

    image: T
    segmentation: T | None
    sets: Mapping[str, T] = {}

    def mask(self, name: str) -> T | None:
        """That of the label set of a name; of any other name, that of the case's own mask."""
        return self.sets.get(name, self.segmentation)


class Receipt(Struct, frozen=True, kw_only=True):
    """The proof that a case is whole, written after everything it names.

    Attributes:
        format: of the store.
        dataset: name of the dataset that the case is of.
        record: the case's line of the catalog.
        writer: name and version of the software that wrote it.
        files: the source files.
        voxels: xxh3-128 of the canonical voxels, (z, y, x) in C order, little-endian, in the
            stored dtype.
        objects: key below the case's group -> what was written there.
        foreground: value of a label -> counts of the HU of its voxels, which can be summed over cases.
        foreground_of_sets: the same by name of each label set; not written where there is none.
        thumbnail: a JPEG of the spine from the side with the labels of the case's own mask; not written,
            and empty, where the volume has more voxels there than any CT.
        seal: see `encoding`.
    """

    format: int = FORMAT_VERSION
    dataset: Name
    record: Record
    writer: str
    files: Arrays[SourceFile]
    voxels: Arrays[Digest128]
    objects: Mapping[str, StoredObject]
    foreground: Mapping[LabelValue, Histogram]
    foreground_of_sets: Mapping[str, Mapping[LabelValue, Histogram]] = {}
    thumbnail: Annotated[bytes, Meta(max_length=MOST_THUMBNAIL_BYTES)] = b""
    seal: Sha256 = UNSEALED

    def __post_init__(self) -> None:
        keys = set(self.objects)
        needed = {layout.METADATA, f"{layout.IMAGE}/{layout.METADATA}", f"{layout.IMAGE}/{layout.SHARD}"}
        if not needed <= keys or not all(map(layout.is_case_object, keys)):
            message = f"objects {sorted(keys)}; legal: those of a case, {sorted(needed)} among them"
            raise ValueError(message)
        files, voxels = self.files.segmentation is not None, self.voxels.segmentation is not None
        if not self.record.has_mask == files == voxels:
            seen = f"a mask in record: {self.record.has_mask}, files: {files}, voxels: {voxels}"
            message = f"{seen}; legal: in all of them or in none"
            raise ValueError(message)
        sets = [set(one) for one in (self.record.sets, self.files.sets, self.voxels.sets)]
        if not sets[0] == sets[1] == sets[2]:
            message = f"label sets {sets} in record, files and voxels; legal: the same in all of them"
            raise ValueError(message)

    def foreground_of(self, mask: str) -> Mapping[int, Histogram]:
        """`foreground` of the label set of a name; of any other name, of the case's own mask."""
        return self.foreground_of_sets.get(mask, self.foreground)

    @property
    def key(self) -> str:
        """Of the receipt below the store."""
        return self.record.receipt_key

    @property
    def group(self) -> StoredObject:
        """The case's own `zarr.json`, which holds its facts."""
        return self.objects[layout.METADATA]

    @property
    def keys(self) -> dict[str, StoredObject]:
        """Key below the store -> object, for every object of the case but the receipt."""
        return {f"{self.record.path}/{key}": one for key, one in self.objects.items()}


class NiftiSource(Struct, frozen=True, kw_only=True):
    """All that gives back a source file's inflated bytes from its stored voxels.

    Attributes:
        file: the `.nii.gz`.
        inflated_sha256: of the `.nii` in it.
        dtype: of its voxels, as numpy writes it, byte order first.
        shape: on disk, axes (i, j, k) and any trailing ones.
        affine: rows of the (4, 4) matrix, (i, j, k) -> RAS+ mm, as nibabel chooses it.
        sform_code, qform_code, slope, inter: as in the header.
        axes, flips: see `geometry.Reorientation`.
        prefix, trailer: every byte before and after the voxels.
        restorable: whether the file's bytes follow from these and the stored voxels.
    """

    file: SourceFile
    inflated_sha256: Sha256
    dtype: Annotated[str, Meta(max_length=8)]
    shape: tuple[int, ...]
    affine: Rows
    sform_code: int
    qform_code: int
    slope: float
    inter: float
    axes: tuple[Axis, Axis, Axis]
    flips: tuple[bool, bool, bool]
    prefix: bytes
    trailer: bytes
    restorable: bool

    def __post_init__(self) -> None:
        if len(set(self.axes)) != len(self.axes):
            message = f"axes {self.axes}; legal: 0, 1 and 2 in any order"
            raise ValueError(message)

    @property
    def reorientation(self) -> Reorientation:
        """From disk to canonical."""
        return Reorientation(self.axes, self.flips)


class _Rest(Struct, frozen=True, kw_only=True):
    """The facts that are not in the record."""

    writer: str
    voxels: Arrays[Digest128]
    nifti: Arrays[NiftiSource]


class Facts(Struct, frozen=True):
    """Our part of a case group's attributes: its record and all that restores its source.

    Attributes:
        record: the case's line of the catalog.
        writer: name and version of the software that wrote it.
        voxels: as in the receipt.
        nifti: the source files.
    """

    record: Record
    writer: str
    voxels: Arrays[str]
    nifti: Arrays[NiftiSource]

    def to_json(self) -> Document:
        """The record's own keys, and beside them the others."""
        others: Document = to_builtins({"writer": self.writer, "voxels": self.voxels, "nifti": self.nifti})
        return record_json(self.record) | others


def record_json(record: Record) -> Document:
    """A record as written, what follows from its fields included, for other readers' benefit."""
    fields: Document = to_builtins(record)
    return {"format": FORMAT_VERSION, **fields, "path": record.path, "spacing": list(record.spacing)}


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as stored, sealed."""
    plain: Document = to_builtins(structs.replace(receipt, seal=UNSEALED), str_keys=True)
    for name in ("foreground_of_sets", "thumbnail"):
        if not plain[name]:
            del plain[name]
    return sealed(encode(plain | {"record": record_json(receipt.record)}))


def decode_receipt(data: bytes | None, key: str) -> Receipt:
    """The inverse of `encode_receipt`.

    Args:
        data: the object; None where there is none.
        key: where it was found; a receipt holds at its own key only.

    Raises:
        OtherFormat, Malformed: as `decode`.
    """
    receipt = decode(data, Receipt, is_sealed=True)
    if receipt.key != key:
        message = f"it is the receipt {receipt.key}, at {key}"
        raise Malformed(message)
    return receipt


def decode_facts(data: bytes | None) -> Facts:
    """The facts in a case group's `zarr.json`.

    Raises:
        OtherFormat, Malformed: as `decode`.
    """
    record = decode(data, Record, in_group=True)
    rest = decode(data, _Rest, in_group=True)
    return Facts(record, rest.writer, rest.voxels, rest.nifti)
