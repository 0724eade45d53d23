"""What is known of a case: its line of the catalog and its receipt.

A record is what a reader needs to choose, open and sample a case without touching it; the
catalog is one record a line. A receipt is written last for a case and proves it whole.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from ctspine_zarr.dataset import SPLIT_NAMES
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.geometry import Affine, Reorientation, Shape, spacing_of

type Triple = tuple[float, float, float]

_BINARY: Final = ("prefix", "trailer")


@dataclass(frozen=True, slots=True)
class Intensity:
    """How a case's HU are distributed.

    Attributes:
        min, max: over every voxel.
        mean, std, p00_5, p05, p50, p95, p99_5: over every second slice, fourth row and fourth
            column; `pNN` is the smallest value that NN percent of those voxels do not exceed.
    """

    min: float
    max: float
    mean: float
    std: float
    p00_5: float
    p05: float
    p50: float
    p95: float
    p99_5: float


@dataclass(frozen=True, slots=True)
class Vertebra:
    """One label of one mask. Positions are canonical voxel indices, (z, y, x).

    Attributes:
        label, name: 1-25 and C1-L6.
        voxels: how many voxels bear the label.
        start, stop: its bounding box, half open.
        centroid: mean position.
        pieces: components connected by faces, edges or corners.
        largest: voxels of the largest piece.
    """

    label: int
    name: str
    voxels: int
    start: Shape
    stop: Shape
    centroid: Triple
    pieces: int
    largest: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a case that a user should know and may filter by.

    Attributes:
        code: a short stable name; `build.quality` lists them.
        message: what was seen.
        labels: the label values concerned.
    """

    code: str
    message: str
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One case as the catalog has it.

    Attributes:
        id, patient_id: the file name without `.nii.gz`.
        split, source: train, validation or test; one of the four source datasets.
        path: of the case's group below the store.
        shape: (z, y, x) voxels.
        affine: rows of the (4, 4) matrix, canonical (x, y, z) -> RAS+ mm.
        dtype: of the stored image.
        codec: the codec profile.
        image_bytes, segmentation_bytes: size of each shard; 0 for a mask without any label,
            which has none.
        source_bytes: size of the two `.nii.gz` files together.
        intensity: HU distribution.
        vertebrae: one entry a label present, in order of label.
        transitional: `lumbarization` or `sacralization` where the dataset's card says so.
        findings: see `Finding`.
        spreadsheet: rows of the dataset's spreadsheet for this patient, column -> value.
    """

    id: str
    split: str
    source: str
    path: str
    shape: Shape
    affine: tuple[tuple[float, float, float, float], ...]
    dtype: str
    codec: str
    image_bytes: int
    segmentation_bytes: int
    source_bytes: int
    intensity: Intensity
    vertebrae: tuple[Vertebra, ...]
    transitional: str | None
    findings: tuple[Finding, ...]
    spreadsheet: tuple[Mapping[str, Any], ...]

    @property
    def patient_id(self) -> str:
        """As the Hub's loader names it: the case id."""
        return self.id

    @property
    def affine_matrix(self) -> Affine:
        """(4, 4) float64, canonical (x, y, z) -> RAS+ mm."""
        return np.array(self.affine)

    @property
    def spacing(self) -> Triple:
        """Voxel size in mm, (z, y, x)."""
        return spacing_of(self.affine_matrix)

    @property
    def stored_bytes(self) -> int:
        """Size of the two shards."""
        return self.image_bytes + self.segmentation_bytes

    def to_json(self) -> dict[str, Any]:
        """As in the catalog; derived columns are written out for other readers' benefit."""
        derived = {"format": FORMAT_VERSION, "patient_id": self.id, "spacing": list(self.spacing)}
        return dataclasses.asdict(self) | derived

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; unknown keys are left alone."""
        fields = {field.name: document[field.name] for field in dataclasses.fields(cls)}
        fields["shape"] = tuple(fields["shape"])
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        fields["intensity"] = Intensity(**fields["intensity"])
        fields["vertebrae"] = tuple(_vertebra(v) for v in fields["vertebrae"])
        fields["findings"] = tuple(_finding(f) for f in fields["findings"])
        fields["spreadsheet"] = tuple(fields["spreadsheet"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Size and sha256 of one object, as written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Size and sha256 of one `.nii.gz`, as read."""

    name: str
    bytes: int
    sha256: str


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

    @property
    def reorientation(self) -> Reorientation:
        """From disk to canonical."""
        return Reorientation(self.axes, self.flips)

    def to_json(self) -> dict[str, Any]:
        """As kept in a case's attributes; bytes become base64."""
        encoded = {key: base64.b64encode(getattr(self, key)).decode() for key in _BINARY}
        return dataclasses.asdict(self) | encoded

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fields = dict(document)
        fields["file"] = SourceFile(**fields["file"])
        fields |= {key: tuple(fields[key]) for key in ("shape", "axes", "flips")}
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        return cls(**fields | {key: base64.b64decode(fields[key]) for key in _BINARY})


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a case is whole, written after everything it names.

    Attributes:
        record: the case's line of the catalog.
        writer: name and version of the software that wrote it.
        image, segmentation: the source files.
        image_voxels, segmentation_voxels: sha256 of the canonical voxels, (z, y, x) in C order,
            little-endian, in the stored dtype.
        objects: key below the case's group -> what was written there.
    """

    record: Record
    writer: str
    image: SourceFile
    segmentation: SourceFile
    image_voxels: str
    segmentation_voxels: str
    objects: Mapping[str, StoredObject]

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return {"format": FORMAT_VERSION, **dataclasses.asdict(self), "record": self.record.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: the document is not a receipt of this format.
        """
        if document["format"] != FORMAT_VERSION:
            message = f"receipt of format {document['format']}; legal: {FORMAT_VERSION}"
            raise ValueError(message)
        return cls(
            record=Record.from_json(document["record"]),
            writer=document["writer"],
            image=SourceFile(**document["image"]),
            segmentation=SourceFile(**document["segmentation"]),
            image_voxels=document["image_voxels"],
            segmentation_voxels=document["segmentation_voxels"],
            objects={key: StoredObject(**value) for key, value in document["objects"].items()},
        )


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records as the catalog lists them: by split, source and id."""
    return sorted(records, key=lambda r: (SPLIT_NAMES.index(r.split), r.source, r.id))


def encode_catalog(records: Iterable[Record]) -> bytes:
    """The catalog: one JSON document a line."""
    lines = (json.dumps(r.to_json(), separators=(",", ":"), allow_nan=False) for r in in_order(records))
    return "".join(line + "\n" for line in lines).encode()


def decode_catalog(data: bytes) -> Iterator[Record]:
    """The inverse of `encode_catalog`.

    Raises:
        ValueError, KeyError, TypeError: a line is not a record of this format.
    """
    for line in data.decode().splitlines():
        document = json.loads(line)
        if document["format"] != FORMAT_VERSION:
            message = f"record of format {document['format']}; legal: {FORMAT_VERSION}"
            raise ValueError(message)
        yield Record.from_json(document)


def _vertebra(document: Mapping[str, Any]) -> Vertebra:
    triples = {key: tuple(document[key]) for key in ("start", "stop", "centroid")}
    return Vertebra(**{**document, **triples})


def _finding(document: Mapping[str, Any]) -> Finding:
    return Finding(document["code"], document["message"], tuple(document["labels"]))
