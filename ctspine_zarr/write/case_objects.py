"""The objects of one case from its encoded arrays and its record. Pure: no I/O."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from msgspec import to_builtins

from ctspine_zarr.digest import sha256
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.encoding import Document, encode
from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.receipt import Arrays, Facts, NiftiSource, Receipt, StoredObject
from ctspine_zarr.format.record import Intensity, Label, Record, StoredArray
from ctspine_zarr.format.spec import Spec


@functools.cache
def version(library: str) -> str:
    """The version of a library that is installed, read once: its file is long."""
    return metadata.version(library)


WRITER: Final = f"ctspine-zarr {version('ctspine-zarr')}"


@dataclass(frozen=True)
class EncodedArray:
    """One array, ready to be written, and what a reader must know to undo it.

    Attributes:
        metadata: its `zarr.json`.
        shard: its one shard; empty where it has none.
        digest: sha256 of the shard.
        stored: as the record has it.
        voxels: digest of its voxels.
        source: of the file it was made from.
    """

    metadata: Document
    shard: memoryview
    digest: str
    stored: StoredArray
    voxels: str
    source: NiftiSource


@dataclass(frozen=True)
class EncodedCase:
    """A case's arrays, and what was measured of them.

    Attributes:
        image, segmentation: the arrays; no `segmentation` where the case has no mask.
        intensity: HU of the image.
        labels: of the mask.
        foreground: value of a label -> counts of the HU of its voxels.
    """

    image: EncodedArray
    segmentation: EncodedArray | None
    intensity: Intensity
    labels: tuple[Label, ...]
    foreground: Mapping[int, Histogram]

    @property
    def nifti(self) -> Arrays[NiftiSource]:
        """The source files."""
        return Arrays(self.image.source, None if self.segmentation is None else self.segmentation.source)

    @property
    def voxels(self) -> Arrays[str]:
        """Digests of the voxels."""
        return Arrays(self.image.voxels, None if self.segmentation is None else self.segmentation.voxels)


def content_of(case: EncodedCase, record: Record) -> str:
    """sha256 of all that a case holds: its record, sources, measures and shards."""
    shards = [array.digest for array in (case.image, case.segmentation) if array is not None]
    named = to_builtins([record, case.nifti, case.voxels, case.foreground, WRITER, shards], str_keys=True)
    return sha256(encode(named))


def objects_of(case: EncodedCase, record: Record, spec: Spec) -> dict[str, bytes | bytearray | memoryview]:
    """Every object of a case but its receipt, by key below its group, in the order of writing."""
    masks = layout.mask_path(spec.mask)
    arrays = {layout.IMAGE: case.image}
    if case.segmentation is not None:
        arrays[masks] = case.segmentation
    shards = {f"{path}/{layout.SHARD}": array.shard for path, array in arrays.items() if array.shard}
    facts = Facts(record, WRITER, case.voxels, case.nifti)
    metadata = {path: array.metadata for path, array in arrays.items()}
    return {**shards, **documents_of_case(facts, metadata, spec)}


def receipt_of(
    case: EncodedCase,
    record: Record,
    spec: Spec,
    objects: Mapping[str, bytes | bytearray | memoryview],
    thumbnail: bytes,
) -> Receipt:
    """The receipt of a case with these objects, and with this picture of it."""
    nifti = case.nifti
    # The sha256 of a shard takes a while, and is known.
    arrays = [array for array in (case.image, case.segmentation) if array is not None]
    known = {id(array.shard): StoredObject(len(array.shard), array.digest) for array in arrays}
    return Receipt(
        dataset=spec.name,
        record=record,
        writer=WRITER,
        files=Arrays(nifti.image.file, None if nifti.segmentation is None else nifti.segmentation.file),
        voxels=case.voxels,
        objects={key: known.get(id(data)) or StoredObject.of(data) for key, data in objects.items()},
        foreground=case.foreground,
        thumbnail=thumbnail,
    )


def documents_of_case(facts: Facts, arrays: Mapping[str, Document], spec: Spec) -> dict[str, bytes]:
    """Every `zarr.json` of a case, by key below its group, in the order of writing: its own is the last.

    Args:
        facts: of the case.
        arrays: path below the group -> `zarr.json`, of each array.
        spec: the dataset's description.
    """
    members = _members(arrays, facts.record, spec)
    encoded = {f"{path}/{layout.METADATA}": encode(document) for path, document in members.items()}
    return {**encoded, layout.METADATA: encode(_case_group(facts, members))}


def _members(arrays: Mapping[str, Document], record: Record, spec: Spec) -> dict[str, Document]:
    """Path below the case's group -> `zarr.json`, for every array and group in it."""
    found = dict(arrays)
    masks = record.masks(spec.mask)
    for name, stored in masks.items():
        array = layout.mask_array(stored.tag)
        labels = record.sets[name].labels if name in record.sets else record.labels
        values = [label.label for label in labels]
        attributes = documents.mask_attributes(spec, record.affine_matrix, values, name, array)
        inner = {array: arrays[layout.mask_path(name, stored.tag)]}
        found[layout.mask_group(name)] = documents.group(attributes, inner)
    if masks:
        found[layout.LABEL_GROUP] = documents.group(documents.labels_attributes(masks))
    return found


def _case_group(facts: Facts, members: Mapping[str, Document]) -> Document:
    """The `zarr.json` of a case's group: OME-Zarr metadata, facts, and the metadata of its members."""
    record = facts.record
    hu_range = record.intensity.min, record.intensity.max
    attributes = documents.image_attributes(record.affine_matrix, hu_range)
    attributes[layout.OWN_KEY] = facts.to_json()
    return documents.group(attributes, dict(sorted(members.items())))
