"""Label sets in the documents of a case: what its receipt and its group become. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from msgspec import Struct, structs

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.encoding import Document, parse
from ctspine_zarr.format.findings import Finding
from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.receipt import (
    Arrays,
    Facts,
    Receipt,
    StoredObject,
    decode_facts,
    decode_receipt,
    encode_receipt,
)
from ctspine_zarr.format.record import Label, LabelSet, Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.write.case_objects import EncodedArray, documents_of_case


@dataclass(frozen=True)
class EncodedSet:
    """A label set of a case, ready to be written.

    Attributes:
        array: the mask.
        labels, findings: see `LabelSet`.
        foreground: value of a label -> counts of the HU of its voxels.
    """

    array: EncodedArray
    labels: tuple[Label, ...]
    findings: tuple[Finding, ...]
    foreground: Mapping[int, Histogram]

    def tagged(self, tag: str) -> Self:
        """The same in an array of that tag; see `StoredArray`."""
        return replace(self, array=replace(self.array, stored=structs.replace(self.array.stored, tag=tag)))


class _Inline(Struct):
    metadata: dict[str, Document]


class _Members(Struct):
    consolidated_metadata: _Inline


@dataclass(frozen=True)
class WrittenCase:
    """A case as its documents have it.

    Attributes:
        receipt: of the case.
        facts: of its group.
        arrays: path below the group -> `zarr.json`, of each array.
    """

    receipt: Receipt
    facts: Facts
    arrays: Mapping[str, Document]

    @classmethod
    def of(cls, receipt: bytes | None, group: bytes | None, record: Record) -> Self:
        """The case that these documents are of.

        Args:
            receipt, group: as they lie in the store; None where there is none.
            record: of the case, as the catalog has it.

        Raises:
            Malformed, OtherFormat: they are no receipt and no group of a case.
        """
        facts = decode_facts(group)
        members = parse(group or b"", _Members).consolidated_metadata.metadata
        arrays = {path: one for path, one in members.items() if one.get("node_type") == "array"}
        return cls(decode_receipt(receipt, record.receipt_key), facts, arrays)

    def held(self, entry: Entry, spec: Spec) -> Self:
        """The same as the catalog has it, whatever else was begun.

        Raises:
            Malformed: its documents are not those that the catalog proves.
            ValueError: parts of them are of two states.
        """
        found = self.restored(entry.record, spec)
        found.require(entry)
        return found

    def restored(self, record: Record, spec: Spec) -> Self:
        """The same with the label sets that its record in the catalog has, whatever else was begun."""
        receipt, facts = self.receipt, self.facts
        kept = structs.replace(
            receipt,
            record=record,
            files=_only(receipt.files, record),
            voxels=_only(receipt.voxels, record),
            foreground_of_sets=_chosen(receipt.foreground_of_sets, record),
        )
        known = Facts(record, facts.writer, _only(facts.voxels, record), _only(facts.nifti, record))
        return replace(self, receipt=kept, facts=known).written(spec)

    def with_set(self, name: str, encoded: EncodedSet, spec: Spec) -> Self:
        """The same with one more label set, or another one in the place of that name."""
        array, receipt, facts = encoded.array, self.receipt, self.facts
        new = LabelSet(array=array.stored, labels=encoded.labels, findings=encoded.findings)
        sets = dict(sorted({**facts.record.sets, name: new}.items()))
        record = structs.replace(facts.record, sets=sets)
        path = layout.mask_path(name, array.stored.tag)
        shard = {f"{path}/{layout.SHARD}": StoredObject(len(array.shard), array.digest)}
        kept = structs.replace(
            receipt,
            record=record,
            files=_with(receipt.files, name, array.source.file, record),
            voxels=_with(receipt.voxels, name, array.voxels, record),
            objects={**receipt.objects, **(shard if array.shard else {})},
            foreground_of_sets=_chosen({**receipt.foreground_of_sets, name: encoded.foreground}, record),
        )
        voxels = _with(facts.voxels, name, array.voxels, record)
        known = Facts(record, facts.writer, voxels, _with(facts.nifti, name, array.source, record))
        arrays = {**self.arrays, path: array.metadata}
        return replace(self, receipt=kept, facts=known, arrays=arrays).written(spec)

    def with_sets_of(self, other: WrittenCase, spec: Spec) -> Self:
        """The same with the label sets of another case of the same image, which has them in its order."""
        receipt, facts, sets = self.receipt, self.facts, other.facts.record.sets
        record = structs.replace(facts.record, sets=sets)
        shards = {f"{layout.mask_path(name, one.array.tag)}/{layout.SHARD}" for name, one in sets.items()}
        # Not its mask's: where the mask has no label now, it has no shard.
        of_sets = {key: one for key, one in other.receipt.objects.items() if key in shards}
        kept = structs.replace(
            receipt,
            record=record,
            files=structs.replace(receipt.files, sets=other.receipt.files.sets),
            voxels=structs.replace(receipt.voxels, sets=other.receipt.voxels.sets),
            objects={**of_sets, **receipt.objects},
            foreground_of_sets=other.receipt.foreground_of_sets,
        )
        voxels = structs.replace(facts.voxels, sets=other.facts.voxels.sets)
        nifti = structs.replace(facts.nifti, sets=other.facts.nifti.sets)
        known = Facts(record, facts.writer, voxels, nifti)
        return replace(self, receipt=kept, facts=known, arrays={**other.arrays, **self.arrays}).written(spec)

    def has_image_of(self, other: WrittenCase) -> bool:
        """Whether images and their grids are equal, so that labels of the one are labels of the other."""
        one, two = self.facts.record, other.facts.record
        is_one_grid = (one.shape, one.affine) == (two.shape, two.affine)
        return is_one_grid and self.receipt.voxels.image == other.receipt.voxels.image

    def without_set(self, name: str, spec: Spec) -> Self:
        """The same without a label set."""
        record = self.facts.record
        others = {other: one for other, one in record.sets.items() if other != name}
        return self.restored(structs.replace(record, sets=others), spec)

    def is_ahead(self, entry: Entry, name: str) -> bool:
        """Whether it has another label set of that name than the catalog, and is alike in all else."""
        records = self.receipt.record, self.facts.record
        is_alike = all(_bare(record, name) == _bare(entry.record, name) for record in records)
        return is_alike and records != (entry.record, entry.record)

    def documents(self, spec: Spec) -> dict[str, bytes]:
        """Every `zarr.json` of the case, by key below its group, in the order of writing."""
        return documents_of_case(self.facts, self._ordered(spec), spec)

    @property
    def entry(self) -> Entry:
        """Its line of the catalog."""
        return Entry.of(self.receipt)

    def require(self, entry: Entry) -> None:
        """Do nothing where the documents are those that a line of the catalog proves.

        Raises:
            Malformed: they are not.
        """
        for what, seen, digest in (
            ("receipt", sha256(encode_receipt(self.receipt)), entry.receipt),
            ("group", self.receipt.group.sha256, entry.group),
        ):
            if seen != digest:
                message = f"its {what} has another sha256 than that in the catalog"
                raise Malformed(message)

    def _ordered(self, spec: Spec) -> dict[str, Document]:
        masks = self.facts.record.masks(spec.mask)
        paths = [layout.IMAGE, *(layout.mask_path(name, array.tag) for name, array in masks.items())]
        if missing := [path for path in paths if path not in self.arrays]:
            message = f"its group says nothing of {missing[0]}"
            raise Malformed(message)
        return {path: self.arrays[path] for path in paths}

    def written(self, spec: Spec) -> Self:
        """The same with a receipt of the objects that the rest says."""
        shards = [f"{path}/{layout.SHARD}" for path in self._ordered(spec)]
        objects = {key: self.receipt.objects[key] for key in shards if key in self.receipt.objects}
        objects |= {key: StoredObject.of(data) for key, data in self.documents(spec).items()}
        return replace(self, receipt=structs.replace(self.receipt, objects=objects))


def _bare(record: Record, name: str) -> Record:
    return structs.replace(record, sets={other: one for other, one in record.sets.items() if other != name})


def _with[T](arrays: Arrays[T], name: str, new: T, record: Record) -> Arrays[T]:
    return _only(structs.replace(arrays, sets={**arrays.sets, name: new}), record)


def _only[T](arrays: Arrays[T], record: Record) -> Arrays[T]:
    """Those of the label sets that a record has, in its order."""
    return structs.replace(arrays, sets=_chosen(arrays.sets, record))


def _chosen[T](sets: Mapping[str, T], record: Record) -> dict[str, T]:
    return {name: sets[name] for name in record.sets if name in sets}
