"""The end of a build in parts: a new state from the plan and the receipts of whoever built them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.errors import IncompleteBuild, Malformed, OtherFormat, StoreInUse, StoreMismatch
from ctspine_zarr.format.catalog import Entry, Refused
from ctspine_zarr.manifest.claims import Claim, Held, claimed, gate, pending_plans, read_claims
from ctspine_zarr.manifest.holdings import read_holdings
from ctspine_zarr.manifest.state import load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.text import some_names
from ctspine_zarr.write.build import BuildResult
from ctspine_zarr.write.document import MOST_PLAN_BYTES, PlanDocument, decode_plan
from ctspine_zarr.write.planning import whole_cases
from ctspine_zarr.write.state import NewState, make_hold


def finalize(location: Location, *, storage_options: Mapping[str, Any] | None = None) -> BuildResult:
    """Make a state hold of the cases that the parts of a build have written, wherever they ran.

    It may be run again, and before all parts have ended: then it changes nothing and says what is
    missing. Of a store that is whole, and has no parts, it changes nothing either.

    Args:
        location: of the store.
        storage_options: see `open_store`.

    Raises:
        IncompleteBuild: cases of the plan have neither a receipt nor a reason; `missing` holds all.
        NotAStore, DamagedStore: there is no store, or it has no plan and is damaged.
        StoreInUse: another build, of another plan, is under way.
        StoreMismatch: the plan in the store cannot be read here.
        StorageError: the store cannot be read or written; the state before holds.
    """
    begun = time.monotonic()
    storage = open_storage(location, options=storage_options)
    document = _pending(storage)
    if document is None:
        whole, refused = _held(storage)
        return BuildResult((), whole, refused, time.monotonic() - begun)
    purpose = f"to finalize {document.purpose}"
    with claimed(storage, Claim.own(document.seal, purpose)) as held, gate(storage):
        state = _state(document, held)
        entries = make_hold(state, held)
        held.release()
    done = tuple(entries[case] for case in document.ids if case in state.done)
    return BuildResult((), done, state.refused, time.monotonic() - begun)


def _pending(storage: Storage) -> PlanDocument | None:
    """The plan whose parts are built, if there is one."""
    plans = pending_plans(storage)
    if not plans:
        return None
    if len(plans) > 1:
        message = f"{storage.location} has {len(plans)} plans, such as {plans[0]}; legal: one, by --take-over"
        raise StoreInUse(message)
    try:
        return decode_plan(storage.get(plans[0], most=MOST_PLAN_BYTES))
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


def _state(document: PlanDocument, held: Held) -> NewState:
    storage = held.storage
    holdings = read_holdings(storage)
    done = whole_cases(document, document.cases, holdings, storage)
    reasons = {one.case: Refusal(one.case, one.reason) for one in _refused(document, storage)}
    refused = {case: refusal for case, refusal in reasons.items() if case not in done}
    missing = tuple(case for case in document.ids if case not in done and case not in refused)
    if missing:
        message = (
            f"{storage.location}: {len(missing)} of {len(document.cases)} cases are not built yet: "
            f"{some_names(missing)}; run their parts, then finalize again"
        )
        raise IncompleteBuild(message, missing)
    return NewState(document, holdings, done, (*document.refused, *refused.values()))


def _refused(document: PlanDocument, storage: Storage) -> list[Refused]:
    """What parts of the plan could not build, what was said last as the last."""
    claims = [claim for claim in read_claims(storage).values() if claim.plan == document.seal]
    return [one for claim in sorted(claims, key=lambda claim: claim.at) for one in claim.refused]
