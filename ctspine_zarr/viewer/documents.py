"""What the page is told of a store and its cases, as JSON. Pure: it is all in the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ctspine_zarr.format.findings import Finding, worst
from ctspine_zarr.format.levels import middle_voxel
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec, colour
from ctspine_zarr.geometry import obliqueness, shear, voxel_volume
from ctspine_zarr.read.store import Store

type Json = dict[str, Any]


def state_of(store: Store) -> str:
    """What tells a state of a store from any other: the digests of its root and of its cases."""
    return f"{store.digest}-{store.reading.cases_digest}"


def store_document(store: Store) -> Json:
    """The dataset, its labels with their colours, and one entry a case; of which state, `state` says."""
    spec = store.spec
    return {
        "location": store.location,
        "name": spec.name,
        "title": spec.title,
        "licence": spec.licence,
        "licence_note": spec.licence_note,
        "citation": spec.citation,
        "is_partial": store.is_partial,
        "state": state_of(store),
        "splits": list(spec.splits),
        "sources": list(spec.sources),
        "labels": [
            {"label": value, "name": name, "colour": list(colour(value))}
            for value, name in sorted(spec.labels.items())
        ],
        "cases": [_entry(record) for record in store.records.values()],
    }


def case_document(record: Record, spec: Spec) -> Json:
    """A case: its grid, its masks with what is known of each label, and its findings.

    `masks` has the case's own mask first, where it has one, then the label sets. `middle` is the voxel that
    is shown first.
    """
    affine = record.affine_matrix
    return {
        "id": record.id,
        "split": record.split,
        "source": record.source,
        "shape": list(record.shape),
        "spacing": list(record.spacing),
        "affine": [list(row) for row in record.affine],
        "orientation": record.orientation,
        "oblique_degrees": obliqueness(affine),
        "shear_degrees": shear(affine),
        "chunk": list(record.image.chunk),
        "dtype": box_dtype(record.image.dtype),
        "hu_range": [record.intensity.min, record.intensity.max],
        "transitional": record.transitional,
        "middle": list(middle_voxel(record, spec)),
        "findings": [_finding(one) for one in record.findings],
        "masks": list(_masks(record, spec)),
    }


def box_dtype(stored: str) -> str:
    """The dtype in which the page is given an image: int16 as it is, all else as float32."""
    return "int16" if stored == "int16" else "float32"


def _entry(record: Record) -> Json:
    return {
        "id": record.id,
        "split": record.split,
        "source": record.source,
        "shape": list(record.shape),
        "spacing": list(record.spacing),
        "findings": sorted({finding.code for finding in record.findings}),
        "severity": worst(record.findings),
        "labels": [label.label for label in record.labels],
    }


def _masks(record: Record, spec: Spec) -> Iterable[Json]:
    voxel = voxel_volume(record.affine) / 1000
    if record.has_mask:
        yield {"name": spec.mask, "labels": [_label(one, voxel) for one in record.labels], "findings": []}
    for name, one in record.sets.items():
        findings = [_finding(finding) for finding in one.findings]
        yield {"name": name, "labels": [_label(label, voxel) for label in one.labels], "findings": findings}


def _label(label: Label, voxel: float) -> Json:
    """A label, where a voxel has so many cm3."""
    return {
        "label": label.label,
        "name": label.name,
        "cm3": label.voxels * voxel,
        "centroid": list(label.centroid),
        "pieces": label.pieces,
        "hu_mean": label.hu.mean,
    }


def _finding(finding: Finding) -> Json:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "message": finding.message,
    }
