"""What proves a case whole and gives back its source: its receipt and its facts.

A receipt is written last for a case; a case exists when its receipt does. The facts are kept in
the attributes of the case's group.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from ctspine_zarr.format.encoding import Document, encode, known
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Reorientation

_BINARY: Final = ("prefix", "trailer")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Size and sha256 of one object, as written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One `.nii.gz`, as read.

    Attributes:
        name: without its folder.
        bytes, sha256: of the whole file.
        ending: its last eight bytes, hex: the CRC-32 and length of what gzip holds, which tell
            at once whether a file of the same size is still the one that was read.
    """

    name: str
    bytes: int
    sha256: str
    ending: str


@dataclass(frozen=True, slots=True)
class Arrays[T]:
    """Something of each of a case's two arrays."""

    image: T
    segmentation: T


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a case is whole, written after everything it names.

    Attributes:
        record: the case's line of the catalog.
        writer: name and version of the software that wrote it.
        files: the source files.
        voxels: xxh3-128 of the canonical voxels, (z, y, x) in C order, little-endian, in the
            stored dtype.
        objects: key below the case's group -> what was written there.
    """

    record: Record
    writer: str
    files: Arrays[SourceFile]
    voxels: Arrays[str]
    objects: Mapping[str, StoredObject]

    def to_json(self) -> Document:
        """As stored."""
        return {"format": FORMAT_VERSION, **dataclasses.asdict(self), "record": self.record.to_json()}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of `to_json`."""
        return cls(
            record=Record.from_json(document["record"]),
            writer=document["writer"],
            files=Arrays(**{key: SourceFile(**value) for key, value in document["files"].items()}),
            voxels=Arrays(**document["voxels"]),
            objects={key: StoredObject(**value) for key, value in document["objects"].items()},
        )


@dataclass(frozen=True, slots=True)
class NiftiSource:
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
    inflated_sha256: str
    dtype: str
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    sform_code: int
    qform_code: int
    slope: float
    inter: float
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    prefix: bytes
    trailer: bytes
    restorable: bool

    @property
    def reorientation(self) -> Reorientation:
        """From disk to canonical."""
        return Reorientation(self.axes, self.flips)

    def to_json(self) -> Document:
        """As kept in a case's attributes; bytes become base64."""
        encoded = {key: base64.b64encode(getattr(self, key)).decode() for key in _BINARY}
        return dataclasses.asdict(self) | encoded

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of `to_json`."""
        fields = known(cls, document)
        fields["file"] = SourceFile(**fields["file"])
        fields |= {key: tuple(fields[key]) for key in ("shape", "axes", "flips")}
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        return cls(**fields | {key: base64.b64decode(fields[key]) for key in _BINARY})


@dataclass(frozen=True, slots=True)
class Facts:
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
        return {
            **self.record.to_json(),
            "writer": self.writer,
            "voxels": dataclasses.asdict(self.voxels),
            "nifti": {"image": self.nifti.image.to_json(), "segmentation": self.nifti.segmentation.to_json()},
        }

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of `to_json`."""
        nifti = {key: NiftiSource.from_json(value) for key, value in document["nifti"].items()}
        return cls(
            Record.from_json(document), document["writer"], Arrays(**document["voxels"]), Arrays(**nifti)
        )


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as stored."""
    return encode(receipt.to_json())
