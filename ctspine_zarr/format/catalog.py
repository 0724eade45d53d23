"""The root and the catalog of a store.

The root holds the sha256 of the catalog, and each of its lines those of a case's receipt and of its
group. The key of a catalog holds its digest: the catalogs of two states of a store stand side by
side, and the root says which one holds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct, structs, to_builtins

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format import layout
from ctspine_zarr.format.documents import group
from ctspine_zarr.format.encoding import UNSEALED, Document, Sha256, decode, encode, parse, sealed
from ctspine_zarr.format.label_sets import with_labels
from ctspine_zarr.format.layout import FORMAT_VERSION
from ctspine_zarr.format.receipt import Receipt, StoredObject, encode_receipt, record_json
from ctspine_zarr.format.record import Count, Record
from ctspine_zarr.format.spec import Spec

type TableKey = Annotated[str, Meta(pattern=rf"^{layout.TABLE_PATTERN}\Z")]

MOST_CATALOG_BYTES: Final = 2**30
"""Of a catalog or a table, which is read in one piece."""


class Refused(Struct, frozen=True):
    """A case that is not in the store as its source has it, and why."""

    case: Annotated[str, Meta(max_length=4096)]
    reason: Annotated[str, Meta(max_length=100_000)]


class Provenance(Struct, frozen=True, kw_only=True):
    """What wrote a store and when; all that differs between equal builds.

    Attributes:
        writer: name and version of the software.
        written: time in ISO 8601, UTC; empty while the first build goes on.
        python: version.
        libraries: name -> version.
    """

    writer: str
    written: str
    python: str
    libraries: Mapping[str, str]


class CatalogFile(Struct, frozen=True):
    """The catalog that holds.

    Attributes:
        sha256, bytes: of the file, whose key is `layout.catalog_key`.
        cases: lines that it has.
    """

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, le=MOST_CATALOG_BYTES)]
    cases: Count

    @property
    def key(self) -> str:
        """Of the file below the store."""
        return layout.catalog_key(self.sha256)


class Root(Struct, frozen=True, kw_only=True):
    """Our part of the root's attributes; licence and citation go wherever the store goes.

    Attributes:
        format: of the store.
        dataset: what the store was made from.
        catalog: None until the first build has ended.
        cases: split -> source -> how many.
        refused: what builds could not take in, until one does.
        provenance: what wrote the store and when.
        tables: key -> size and sha256 of each Parquet table at the store's root; none until the first build
            has ended, and in stores that were written without.
        seal: see `encoding`. Who keeps it can prove every byte of the store.
    """

    format: int = FORMAT_VERSION
    dataset: Spec
    catalog: CatalogFile | None
    cases: Mapping[str, Mapping[str, Count]]
    refused: tuple[Refused, ...]
    provenance: Provenance
    tables: Mapping[TableKey, StoredObject] = {}
    seal: Sha256 = UNSEALED

    @property
    def is_partial(self) -> bool:
        """Whether the store's first build has not ended."""
        return self.catalog is None


class Entry(Struct, frozen=True):
    """One line of the catalog.

    Attributes:
        record: the case.
        receipt, group: sha256 of the case's receipt and of its own `zarr.json`.
    """

    record: Record
    receipt: Sha256
    group: Sha256

    @classmethod
    def of(cls, receipt: Receipt) -> Entry:
        """The line of a case that has this receipt."""
        return cls(receipt.record, sha256(encode_receipt(receipt)), receipt.group.sha256)

    def with_labels(self, name: str) -> Entry:
        """The same with a label set in place of the mask; see `label_sets.with_labels`."""
        return Entry(with_labels(self.record, name), self.receipt, self.group)


class _Proof(Struct):
    """The proof in a line of the catalog, beside the record."""

    format: int
    cases: int
    receipt: Sha256
    group: Sha256


def counted(spec: Spec, records: Iterable[Record]) -> dict[str, dict[str, int]]:
    """Split -> source -> cases, in the spec's order."""
    counts = Counter((record.split, record.source) for record in records)
    return {split: {source: counts[split, source] for source in spec.sources} for split in spec.splits}


def groups_above(records: Iterable[Record]) -> set[str]:
    """Paths of the groups that lie above cases: their splits and sources."""
    return {path for record in records for path in (record.split, f"{record.split}/{record.source}")}


def encode_root(root: Root) -> bytes:
    """The root's `zarr.json`, sealed."""
    plain = to_builtins(structs.replace(root, seal=UNSEALED), str_keys=True)
    return sealed(encode(group({layout.OWN_KEY: plain})))


def decode_root(data: bytes | None) -> Root:
    """The inverse of `encode_root`.

    Raises:
        OtherFormat, Malformed: as `decode`.
    """
    return decode(data, Root, in_group=True, is_sealed=True)


def tables_named(root: bytes | None) -> Collection[str]:
    """Keys of the tables that a root names; none of what is no root."""
    try:
        return decode_root(root).tables
    except (Malformed, OtherFormat):
        return ()


def encode_catalog(spec: Spec, entries: Iterable[Entry]) -> bytes:
    """The catalog: one JSON document a line, by split, source and id.

    Each line also says how many there are, so that a cut shows, and the sha256 of the receipt and
    of the group, so that the catalog proves them as they prove the objects.
    """
    chosen = in_order(spec, entries)
    lines = (_line(entry, len(chosen)) for entry in chosen)
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines).encode()


def in_order(spec: Spec, entries: Iterable[Entry]) -> list[Entry]:
    """The cases in the order of the catalog: by split, source and id."""
    return sorted(entries, key=lambda entry: _place(spec, entry.record))


def decode_catalog(data: bytes, spec: Spec) -> list[Entry]:
    """The inverse of `encode_catalog`.

    Raises:
        OtherFormat: a line of another version.
        Malformed: no JSON, another structure, missing lines, a case twice, or names that are not
            those of the spec.
    """
    lines = data.splitlines()
    entries = [_entry(line, len(lines)) for line in lines]
    ids = {entry.record.id.lower() for entry in entries}
    if len(ids) != len(entries):
        message = f"{len(entries)} lines for {len(ids)} cases; legal: one for each"
        raise Malformed(message)
    for entry in entries:
        require_spec(entry.record, spec)
    return entries


def require_spec(record: Record, spec: Spec) -> None:
    """Do nothing where a record's names are those of the store's spec.

    Raises:
        Malformed: one is not.
    """
    if record.split not in spec.splits or record.source not in spec.sources:
        seen = f"case {record.id} in {record.split}/{record.source}"
        message = f"{seen}; legal: a split and a source that the root names"
        raise Malformed(message)
    if any(name.lower() == spec.mask.lower() for name in record.sets):
        message = f"case {record.id}: a label set {spec.mask!r}; legal: another name than that of the masks"
        raise Malformed(message)
    for label in (*record.labels, *(label for one in record.sets.values() for label in one.labels)):
        named = spec.labels.get(label.label)
        if named != label.name:
            legal = "none of that value" if named is None else repr(named)
            message = f"case {record.id}: label {label.label} is {label.name!r}; legal, by the root: {legal}"
            raise Malformed(message)


def require_dataset(receipt: Receipt, spec: Spec) -> None:
    """Do nothing where a receipt is of the dataset that a spec describes, and names all of its case.

    Raises:
        Malformed: it is of another, or leaves an object out.
    """
    if receipt.dataset != spec.name:
        message = f"it is of the dataset {receipt.dataset!r}; legal: {spec.name!r}"
        raise Malformed(message)
    require_spec(receipt.record, spec)
    keys = receipt.record.keys(spec.mask)
    if receipt.objects.keys() != keys:
        message = f"objects {sorted(receipt.objects)}; legal for this case: {sorted(keys)}"
        raise Malformed(message)


def _line(entry: Entry, cases: int) -> Document:
    proof = {"cases": cases, "receipt": entry.receipt, "group": entry.group}
    return record_json(entry.record) | proof


def _entry(line: bytes, cases: int) -> Entry:
    proof = parse(line, _Proof)
    if proof.format != FORMAT_VERSION:
        message = f"format {proof.format}; legal: {FORMAT_VERSION}"
        raise OtherFormat(message)
    if proof.cases != cases:
        message = f"{cases} lines; legal: {proof.cases}, as they say themselves"
        raise Malformed(message)
    return Entry(parse(line, Record), proof.receipt, proof.group)


def _place(spec: Spec, record: Record) -> tuple[int, int, str]:
    return spec.splits.index(record.split), spec.sources.index(record.source), record.id
