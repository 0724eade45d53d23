"""Label sets taken out of a store."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from typing import Any

from ctspine_zarr.errors import require_known
from ctspine_zarr.format.label_sets import label_sets
from ctspine_zarr.label_sets.writing import AT_ONCE, read_case
from ctspine_zarr.manifest.claims import Claim, claimed
from ctspine_zarr.manifest.state import load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.changes import Change, make_hold, tidy


def remove_labels(
    location: Location,
    name: str,
    *,
    take_over: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Take a label set out of a store, which then is, object by object, what it was before but for its root.

    Readers and interruptions: see `add_labels`.

    Args:
        location: of the store.
        name: of the label set.
        take_over: see `build_store`.
        storage_options: see `open_store`.

    Returns:
        Ids of the cases that had it.

    Raises:
        UnknownValue: no case has such a label set.
        CaseRefused: documents of a case are damaged; it and those after it keep the set.
        Others: as `add_labels`.
    """
    return removed_from(open_storage(location, options=storage_options), name, take_over=take_over)


def removed_from(storage: Storage, name: str, *, take_over: bool) -> tuple[str, ...]:
    """As `remove_labels`, of a store by its storage, which can be written."""
    state = load(storage)
    state.require_ended(storage.location)
    require_known("label set", [name], label_sets(state.records.values()))
    claim = Claim.own(secrets.token_hex(32), f"to remove the label set {name!r}")
    with claimed(storage, claim, take_over=take_over) as held:
        state = load(storage)
        had = [entry for entry in state.entries if name in entry.record.sets]
        for some in itertools.batched(had, AT_ONCE):
            cases = [read_case(held.storage, entry, state.spec, name) for entry in some]
            make_hold([Change.to(case.without_set(name, state.spec), state.spec) for case in cases], held)
        tidy(held)
    return tuple(entry.record.id for entry in had)
