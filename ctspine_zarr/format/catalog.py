"""What is known of a store: one record a line in its catalog, and what its root says.

The root holds the sha256 of the catalog, and each of its lines that of a receipt.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from ctspine_zarr import dataset
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.encoding import Document, decode, known
from ctspine_zarr.format.layout import CATALOG, FORMAT_VERSION
from ctspine_zarr.format.receipt import Receipt, encode_receipt
from ctspine_zarr.format.record import Record


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
        refused = tuple(Refused(**known(Refused, entry)) for entry in document["refused"])
        return cls(document["cases"], refused, document["catalog_sha256"], document["provenance"])


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


POSSIBLE_GROUPS: Final = tuple(
    path
    for split in dataset.SPLIT_NAMES
    for path in (split, *(f"{split}/{source}" for source in dataset.SOURCE_NAMES))
)
"""Paths of the groups that may lie above cases."""


def groups_above(records: Iterable[Record]) -> set[str]:
    """Paths of the groups that lie above cases: their splits and sources."""
    return {path for record in records for path in (record.split, f"{record.split}/{record.source}")}


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
