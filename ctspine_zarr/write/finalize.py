"""The documents above the cases of a new state.

A pure function of the plan and the cases, which can be run again at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import IncompleteBuild
from ctspine_zarr.format.catalog import (
    CatalogFile,
    Entry,
    Provenance,
    Refused,
    Root,
    counted,
    encode_catalog,
)
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.inventory import documents_above
from ctspine_zarr.text import some_names


def finalize(
    planned: Collection[str],
    entries: Mapping[str, Entry],
    refused: Iterable[Refused],
    spec: Spec,
    provenance: Provenance,
) -> dict[str, bytes]:
    """The documents above the cases, in the order of writing: key -> bytes, the root the last.

    Args:
        planned: ids of the cases that the build is for.
        entries: of every case of the state, of this build or an earlier one.
        refused: cases with a reason why they are not there, or only as an earlier build has
            them; they travel in the root's attributes.
        spec: the dataset's description.
        provenance: what wrote the store and when; the only part that differs between builds.

    Raises:
        IncompleteBuild: a planned case has neither a receipt nor a reason; `missing` holds all.
    """
    reasons = {entry.case: entry for entry in sorted(refused, key=lambda entry: entry.case)}
    missing = tuple(case for case in planned if case not in entries and case not in reasons)
    if missing:
        seen = f"{len(missing)} of {len(planned)} cases have no receipt: {some_names(missing)}"
        message = f"{seen}; run the build again"
        raise IncompleteBuild(message, missing)
    catalog = encode_catalog(spec, entries.values())
    root = Root(
        dataset=spec,
        catalog=CatalogFile(sha256(catalog), len(catalog), len(entries)),
        cases=counted(spec, (entry.record for entry in entries.values())),
        refused=tuple(reasons.values()),
        provenance=provenance,
    )
    return documents_above(root, entries.values())
