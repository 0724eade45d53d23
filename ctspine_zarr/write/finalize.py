"""From receipts to a store that opens: the catalog and the groups above the cases.

A pure function of the plan and the receipts, which can be run again at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ctspine_zarr.errors import IncompleteBuild
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.catalog import POSSIBLE_GROUPS, About, Refused, encode_catalog, groups_above
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.format.record import Record

_MOST_NAMED: Final = 20


def finalize(
    planned: Collection[str],
    receipts: Mapping[str, Receipt],
    refused: Iterable[Refused],
    provenance: Mapping[str, Any],
) -> dict[str, bytes | None]:
    """The objects above the cases, in the order of writing: key -> bytes, None where none may be.

    Args:
        planned: ids of the cases that the build is for.
        receipts: every receipt of the store, of this build or an earlier one.
        refused: cases with a reason why they are not there, or only as an earlier build has
            them; they travel in the root's attributes.
        provenance: what wrote the store and when; the only part that differs between builds.

    Raises:
        IncompleteBuild: a planned case has neither a receipt nor a reason; `missing` holds all.
    """
    reasons = {entry.case: entry for entry in sorted(refused, key=lambda entry: entry.case)}
    missing = tuple(case for case in planned if case not in receipts and case not in reasons)
    if missing:
        shown = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        message = f"{len(missing)} of {len(planned)} cases have no receipt: {shown}; run the build again"
        raise IncompleteBuild(message, missing)
    records = [receipt.record for receipt in receipts.values()]
    catalog = encode_catalog(receipts.values())
    about = About.of(records, reasons.values(), catalog, provenance)
    root = documents.group({layout.OWN_KEY: about.to_json()})
    return {
        **_groups(records),
        layout.CATALOG: catalog,
        layout.ROOT: encode(root),
    }


def _groups(records: Iterable[Record]) -> dict[str, bytes | None]:
    """A group for every split and source that has cases, and none for one that has none left."""
    filled = groups_above(records)
    group = encode(documents.group())
    return {f"{path}/{layout.METADATA}": group if path in filled else None for path in POSSIBLE_GROUPS}
