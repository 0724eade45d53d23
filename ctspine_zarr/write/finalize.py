"""The end of a build in parts: a new state from the plan and the receipts of whoever built them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.errors import (
    IncompleteBuild,
    Malformed,
    OtherFormat,
    SourceError,
    StoreInUse,
    StoreMismatch,
)
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.manifest.claims import Claim, claimed, live_claims, pending_plans, read_claims
from ctspine_zarr.manifest.state import load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.build import BuildResult
from ctspine_zarr.write.document import MOST_PLAN_BYTES, PlanDocument, decode_plan, read_plan
from ctspine_zarr.write.state import NewState, make_hold


def finalize(
    location: Location,
    *,
    plan_file: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> BuildResult:
    """Make a state hold of the cases that the parts of a build have written, wherever they ran.

    It may be run again, and before all parts have ended: then it changes nothing and says what is
    missing. Of a store that is whole, and has no parts, it changes nothing either.

    Args:
        location: of the store.
        plan_file: the plan of the parts; by default what they have left in the store, so that of a
            plan of which no part has begun nothing is missed.
        storage_options: see `open_store`.

    Raises:
        IncompleteBuild: cases of the plan have neither a receipt nor a reason; `missing` holds all.
        NotAStore, DamagedStore: there is no store, or it has no plan and is damaged.
        StoreInUse: another build, of another plan, is under way.
        SourceError: there is no such plan file, or it is none.
        StoreMismatch: the plan in the store cannot be read here.
        StorageError: the store cannot be read or written; the state before holds.
    """
    begun = time.monotonic()
    storage = open_storage(location, options=storage_options)
    document = _pending(storage) if plan_file is None else _kept(Path(plan_file))
    if document is None or _holds(document, storage):
        _tidy(storage)
        whole, refused = _held(storage)
        return BuildResult((), whole, refused, time.monotonic() - begun)
    with claimed(storage, Claim.own(document.seal, f"to finalize {document.purpose}")) as held, held.gate():
        state = NewState.now(document, storage, _refused(document, storage))
        entries = make_hold(state, held)
        held.release()
    done = tuple(entries[case] for case in document.ids if case in state.done)
    return BuildResult((), done, state.refused, time.monotonic() - begun)


def _tidy(storage: Storage) -> None:
    """Remove what parts have left that were killed, and seemed to live when their store was finalized."""
    if _has_builds(storage) and not live_claims(storage):
        claim = Claim.own(secrets.token_hex(32), "to finalize what is whole")
        with claimed(storage, claim, take_over=True) as held, held.gate():
            held.release()


def _has_builds(storage: Storage) -> bool:
    return any(map(layout.is_build, storage.sizes(layout.BUILDS)))


def _kept(path: Path) -> PlanDocument:
    document = read_plan(path)
    if document is None:
        message = f"plan {path}: not found; legal: one that --plan wrote"
        raise SourceError(message)
    return document


def _holds(document: PlanDocument, storage: Storage) -> bool:
    """Whether a plan has been finalized before, and nobody has written since."""
    if _has_builds(storage) or storage.size(layout.ROOT) is None:
        return False
    state = load(storage)
    there = state.records.keys() | {one.case for one in state.root.refused}
    return not state.is_partial and there >= set(document.ids)


def _pending(storage: Storage) -> PlanDocument | None:
    """The plan whose parts are built, if there is one."""
    plans = pending_plans(storage)
    if not plans:
        return None
    if len(plans) > 1:
        message = f"{storage.location} has {len(plans)} plans, such as {plans[0]}; legal: one, by --take-over"
        raise StoreInUse(message)
    try:
        return decode_plan(storage.get(plans[0], most=MOST_PLAN_BYTES), plans[0])
    except (Malformed, OtherFormat) as error:
        message = f"{storage.location}: {plans[0]}: {error}; run a part again with --take-over"
        raise StoreMismatch(message) from error


def _held(storage: Storage) -> tuple[tuple[Entry, ...], tuple[Refusal, ...]]:
    """The cases of a store that has no parts, and those that its builds refused."""
    state = load(storage)
    if state.is_partial:
        message = f"{storage.location}: its first build has not ended, and left no plan; run it again"
        raise IncompleteBuild(message, ())
    return state.entries, tuple(Refusal(one.case, one.reason) for one in state.root.refused)


def _refused(document: PlanDocument, storage: Storage) -> list[Refusal]:
    """What parts of the plan could not build: of a case what was said last."""
    claims = [claim for claim in read_claims(storage).values() if claim.plan == document.seal]
    said = [one for claim in sorted(claims, key=lambda claim: claim.at) for one in claim.refused]
    reasons = {one.case: Refusal(one.case, one.reason) for one in said}
    return [*document.refused, *reasons.values()]
