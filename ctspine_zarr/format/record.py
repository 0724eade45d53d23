"""What is known of a case: all that a reader needs to choose, open and sample it untouched."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from ctspine_zarr.format.encoding import Document, known
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.geometry import Affine, Shape, spacing_of

type Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Record:
    """One case as the catalog has it.

    Attributes:
        id, patient_id: the file name without `.nii.gz`.
        split, source: train, validation or test; one of the four source datasets.
        path: of the case's group below the store.
        shape: (z, y, x) voxels.
        affine: rows of the (4, 4) matrix, canonical (x, y, z) -> RAS+ mm.
        orientation: of the source image, (i, j, k): for each axis the side of the body it
            increases towards, as nibabel's `aff2axcodes` has them.
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
    orientation: str
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
        fields = known(cls, document)
        fields["shape"] = tuple(fields["shape"])
        fields["affine"] = tuple(tuple(row) for row in fields["affine"])
        fields["intensity"] = Intensity(**known(Intensity, fields["intensity"]))
        fields["vertebrae"] = tuple(_vertebra(v) for v in fields["vertebrae"])
        fields["findings"] = tuple(_finding(f) for f in fields["findings"])
        fields["spreadsheet"] = tuple(fields["spreadsheet"])
        return cls(**fields)


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
    """Something about a case that a user should know and may filter by; it refuses nothing.

    Attributes:
        code: which kind, a `Code` or one of a later version.
        message: what was seen.
        labels: the label values concerned.
    """

    code: str
    message: str
    labels: tuple[int, ...] = ()


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


def _vertebra(document: Document) -> Vertebra:
    fields = known(Vertebra, document)
    return Vertebra(**fields | {key: tuple(fields[key]) for key in ("start", "stop", "centroid")})


def _finding(document: Document) -> Finding:
    return Finding(document["code"], document["message"], tuple(document["labels"]))
