"""From receipts to a store that opens: the catalog and the groups above the cases.

A pure function of the plan and the receipts, which can be run again at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ctspine_zarr import dataset
from ctspine_zarr.errors import IncompleteBuild
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.codecs import Document
from ctspine_zarr.format.records import Receipt, Record, encode_catalog
from ctspine_zarr.source.cases import Refusal

_MOST_NAMED = 20


def finalize(
    planned: Collection[str],
    receipts: Mapping[str, Receipt],
    refused: Iterable[Refusal],
    provenance: Mapping[str, Any],
) -> dict[str, bytes]:
    """The objects above the cases: key -> bytes, in the order of writing.

    Args:
        planned: ids of the cases that the build is for.
        receipts: every receipt of the store, of this build or an earlier one.
        refused: cases with a reason why they are not there; they travel in the root's attributes.
        provenance: what wrote the store and when; the only part that differs between builds.

    Raises:
        IncompleteBuild: a planned case has neither a receipt nor a reason; `missing` holds all.
    """
    reasons = {refusal.case: refusal for refusal in refused if refusal.case not in receipts}
    missing = tuple(case for case in planned if case not in receipts and case not in reasons)
    if missing:
        shown = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        message = f"{len(missing)} of {len(planned)} cases have no receipt: {shown}; run the build again"
        raise IncompleteBuild(message, missing)
    records = [receipt.record for receipt in receipts.values()]
    groups = sorted({path for r in records for path in (r.split, f"{r.split}/{r.source}")})
    objects = {f"{path}/{layout.METADATA}": documents.encode(documents.group()) for path in groups}
    root = documents.group({documents.OWN_KEY: _about(records, reasons.values(), provenance)})
    return objects | {layout.CATALOG: encode_catalog(records), layout.ROOT: documents.encode(root)}


def _about(
    records: Collection[Record], refused: Iterable[Refusal], provenance: Mapping[str, Any]
) -> Document:
    """The root's attributes: licence and citation go wherever the store goes."""
    counts = Counter((record.split, record.source) for record in records)
    return {
        "format": layout.FORMAT_VERSION,
        "dataset": dataset.NAME,
        "licence": dataset.LICENCE,
        "licence_note": dataset.LICENCE_NOTE,
        "citation": dataset.CITATION,
        "catalog": layout.CATALOG,
        "cases": {
            split: {source: counts[split, source] for source in dataset.SOURCE_NAMES}
            for split in dataset.SPLIT_NAMES
        },
        "refused": [
            {"case": r.case, "reason": r.reason} for r in sorted(refused, key=lambda refusal: refusal.case)
        ],
        "provenance": dict(provenance),
    }
