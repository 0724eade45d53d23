"""What is known of a case and of a store, and how it is written as JSON.

A record is what a reader needs to choose, open and sample a case without touching it; the
catalog is one record a line. A receipt is written last for a case and proves it whole. The
facts of a case are kept in its group's attributes, those of the store in the root's.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import numpy as np

from ctspine_zarr import dataset
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format.layout import CATALOG, FORMAT_VERSION, OWN_KEY
from ctspine_zarr.geometry import Affine, Reorientation, Shape, spacing_of

type Document = dict[str, Any]
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


class Code(StrEnum):
    """Kinds of findings; stable names to filter by."""

    MISSING_LEVEL = "missing_level"
    """A label between the first and the last one is absent."""
    STRAY_LABEL = "stray_label"
    """A label apart from the main run of labels and far smaller."""
    SPLIT_VERTEBRA = "split_vertebra"
    """A label in pieces, the largest below 90 % of it."""
    ORDER = "order"
    """Two neighbouring labels whose centroids do not descend."""
    NO_LABEL = "no_label"
    """The mask is empty."""
    MASK_OFFSET = "mask_offset"
    """The grids of image and mask differ by over 0.01 voxel (below 0.5, or the case is refused)."""
    SFORM_QFORM = "sform_qform"
    """The two affines of the image's header differ by over 0.5 voxel, or its qform is unusable."""
    NO_ORIENTATION = "no_orientation"
    """Neither affine of a file is coded: its left and right are the format's guess."""
    TRAILING_AXIS = "trailing_axis"
    """Axes of length 1 were dropped."""
    NOT_RESTORABLE = "not_restorable"
    """Values are exact, but the source file's bytes cannot be rebuilt from them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a case that a user should know and may filter by; it refuses nothing.

    Attributes:
        code: which kind, a `Code` or one of a later version.
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

    def to_json(self) -> Document:
        """As in the catalog; derived columns are written out for other readers' benefit."""
        derived = {"format": FORMAT_VERSION, "patient_id": self.id, "spacing": list(self.spacing)}
        return dataclasses.asdict(self) | derived

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of `to_json`; keys of later versions are left alone."""
        fields = _known(cls, document)
        fields["shape"] = tuple(fields["shape"])
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        fields["intensity"] = Intensity(**_known(Intensity, fields["intensity"]))
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
        fields = _known(cls, document)
        fields["file"] = SourceFile(**fields["file"])
        fields |= {key: tuple(fields[key]) for key in ("shape", "axes", "flips")}
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        return cls(**fields | {key: base64.b64decode(fields[key]) for key in _BINARY})


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
        voxels: sha256 of the canonical voxels, (z, y, x) in C order, little-endian, in the
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
class Entry:
    """One line of the catalog.

    Attributes:
        record: the case.
        cases: lines in the whole catalog.
        receipt: sha256 of the case's receipt.
    """

    record: Record
    cases: int
    receipt: str

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The line that `encode_catalog` wrote."""
        return cls(Record.from_json(document), document["cases"], document["receipt"])


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


@dataclass(frozen=True, slots=True)
class Refused:
    """A case that is not in the store as its source has it, and why."""

    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class About:
    """Our part of the root's attributes; licence and citation go wherever the store goes.

    Attributes:
        cases: split -> source -> how many.
        refused: what the last build could not take in.
        catalog_sha256: of the catalog, which proves the receipts, which prove the objects.
        provenance: what wrote the store and when; all that differs between equal builds.
    """

    cases: Mapping[str, Mapping[str, int]]
    refused: tuple[Refused, ...]
    catalog_sha256: str
    provenance: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        records: Collection[Record],
        refused: Iterable[Refused],
        catalog: bytes,
        provenance: Mapping[str, Any],
    ) -> Self:
        """What follows from a store's cases and its encoded catalog."""
        counts = Counter((record.split, record.source) for record in records)
        cases = {
            split: {source: counts[split, source] for source in dataset.SOURCE_NAMES}
            for split in dataset.SPLIT_NAMES
        }
        return cls(cases, tuple(refused), sha256(catalog), provenance)

    def to_json(self) -> Document:
        """As stored."""
        constants = {
            "format": FORMAT_VERSION,
            "dataset": dataset.NAME,
            "licence": dataset.LICENCE,
            "licence_note": dataset.LICENCE_NOTE,
            "citation": dataset.CITATION,
            "catalog": CATALOG,
        }
        return constants | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of `to_json`."""
        refused = tuple(Refused(**_known(Refused, entry)) for entry in document["refused"])
        return cls(document["cases"], refused, document["catalog_sha256"], document["provenance"])


def encode(document: Any) -> bytes:
    """A document as deterministic UTF-8 JSON; NaN and infinity are refused."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()


OWN_ATTRIBUTES: Final = ("attributes", OWN_KEY)
"""Where in a group's `zarr.json` our part of its attributes is."""


def decode[T](data: bytes | None, from_json: Callable[[Document], T], within: Iterable[str] = ()) -> T:
    """What `from_json` makes of a JSON document that states its format version.

    Args:
        data: the object; None where there is none.
        from_json: as the classes here have it.
        within: keys that lead to the document inside a larger one.

    Raises:
        OtherFormat: a version that this one does not read.
        Malformed: no data, no JSON, or another shape than `from_json` expects.
    """
    try:
        document = functools.reduce(operator.getitem, within, json.loads(data or b""))
        if document["format"] == FORMAT_VERSION:
            return from_json(document)
        seen = document["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{type(error).__name__}: {error}" if data else "it is missing"
        raise Malformed(message) from error
    message = f"format {seen}; legal: {FORMAT_VERSION}"
    raise OtherFormat(message)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records as the catalog lists them: by split, source and id."""
    return sorted(records, key=lambda r: (dataset.SPLIT_NAMES.index(r.split), r.source, r.id))


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as stored."""
    return encode(receipt.to_json())


def encode_catalog(receipts: Iterable[Receipt]) -> bytes:
    """The catalog: one JSON document a line, by split, source and id.

    Each line also says how many there are, so that a cut shows, and the sha256 of the receipt it
    is taken from, so that the catalog proves the receipts as they prove the objects.
    """
    chosen = sorted(receipts, key=lambda r: _place(r.record))
    lines = (
        r.record.to_json() | {"cases": len(chosen), "receipt": sha256(encode_receipt(r))} for r in chosen
    )
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines).encode()


def decode_catalog(data: bytes) -> list[Entry]:
    """The inverse of `encode_catalog`.

    Raises:
        OtherFormat, Malformed: as `decode`; also where lines are missing.
    """
    entries = [decode(line, Entry.from_json) for line in data.splitlines()]
    for entry in entries:
        if entry.cases != len(entries):
            message = f"{len(entries)} lines; legal: {entry.cases}, as they say themselves"
            raise Malformed(message)
    return entries


def _place(record: Record) -> tuple[int, str, str]:
    return dataset.SPLIT_NAMES.index(record.split), record.source, record.id


def _known(cls: type[Any], document: Document) -> dict[str, Any]:
    """The fields of a dataclass, all required; other keys are those of later versions."""
    return {field.name: document[field.name] for field in dataclasses.fields(cls)}


def _vertebra(document: Document) -> Vertebra:
    fields = _known(Vertebra, document)
    return Vertebra(**fields | {key: tuple(fields[key]) for key in ("start", "stop", "centroid")})


def _finding(document: Document) -> Finding:
    return Finding(document["code"], document["message"], tuple(document["labels"]))
