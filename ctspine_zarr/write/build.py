"""Carry out a plan: ingest what is missing, then finalize."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from ctspine_zarr.commit import read_receipts
from ctspine_zarr.errors import CaseRefused, Malformed, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import About, Refused
from ctspine_zarr.format.encoding import OWN_ATTRIBUTES, Document, decode
from ctspine_zarr.format.profiles import profile
from ctspine_zarr.format.receipt import Receipt
from ctspine_zarr.source.cases import Refusal, SourceCase
from ctspine_zarr.storage import Storage
from ctspine_zarr.workers import Started, run_each
from ctspine_zarr.write.arrivals import Arrival, arrivals
from ctspine_zarr.write.finalize import finalize
from ctspine_zarr.write.ingest import WRITER, ingest
from ctspine_zarr.write.plan import Plan

_LOG: Final = logging.getLogger(__name__)
_LIBRARIES: Final = ("zarr", "numcodecs", "numpy", "nibabel")


@dataclass(frozen=True, slots=True)
class CaseStarted:
    """A worker, numbered from 0, took up a case."""

    worker: int
    case: SourceCase


@dataclass(frozen=True, slots=True)
class CaseBuilt:
    """A case is whole: its receipt is written."""

    worker: int
    case: SourceCase
    receipt: Receipt
    seconds: float


@dataclass(frozen=True, slots=True)
class CaseFailed:
    """A case was refused, or its worker died; the others go on."""

    worker: int
    case: SourceCase
    refusal: Refusal


type Event = CaseStarted | CaseBuilt | CaseFailed


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did.

    Attributes:
        built: receipts written by this run.
        whole: receipts that were there before.
        refused: cases that are not in the store, and why.
        seconds: wall time.
    """

    built: tuple[Receipt, ...]
    whole: tuple[Receipt, ...]
    refused: tuple[Refusal, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a worker sends back: a receipt, a reason, or a fault of the store that ends the build."""

    seconds: float
    receipt: Receipt | None = None
    reason: str | None = None
    fault: StorageError | None = None


def build_store(plan: Plan, on_event: Callable[[Event], None] | None = None) -> BuildResult:
    """Build every case of a plan that is not whole yet, and write the catalog.

    May be interrupted at any moment and run again with a new plan: whole cases are kept. The
    store's bytes depend neither on the number of workers nor on interruptions; the time of
    writing is kept in the root's provenance alone.

    Args:
        plan: from `plan_build`.
        on_event: told of every case as it starts and ends, in this thread.

    Raises:
        NoSpace: the estimate exceeds the free disk; nothing was written.
        StorageError: the store cannot be written; cases committed before are kept.
        HubError: the source cannot be reached any more; they are kept too.
    """
    begun = time.monotonic()
    try:
        plan.require_space()
        built, refused = _ingest_all(plan, on_event or _ignore)
    finally:
        plan.source.close()
    refused = (*plan.refused, *refused)
    _write_top(plan, refused, changed=bool(built))
    return BuildResult(built, plan.whole, refused, time.monotonic() - begun)


def _ignore(event: Event) -> None:
    """Nobody listens."""


def _ingest_all(
    plan: Plan, on_event: Callable[[Event], None]
) -> tuple[tuple[Receipt, ...], tuple[Refusal, ...]]:
    built: list[Receipt] = []
    refused: list[Refusal] = []
    task = functools.partial(_attempt, profile_name=plan.profile.name, storage=plan.storage)
    arriving = arrivals(plan.source, (planned.case for planned in plan.pending))
    for progress in run_each(task, arriving, plan.workers):
        if isinstance(progress, Started):
            on_event(CaseStarted(progress.worker, progress.item.case))
            continue
        if progress.item.files is not None:
            plan.source.release(progress.item.files)
        event = _event(progress.worker, progress.item.case, progress.result)
        if isinstance(event, CaseBuilt):
            built.append(event.receipt)
        else:
            refused.append(event.refusal)
        on_event(event)
    return tuple(built), tuple(refused)


def _attempt(arrival: Arrival, profile_name: str, storage: Storage) -> _Outcome:
    """Ingest one case; every way in which the case itself can fail becomes a reason."""
    begun = time.monotonic()
    if arrival.files is None:
        return _Outcome(0, reason=arrival.reason)
    try:
        receipt = ingest(arrival.files, profile(profile_name), storage)
    except CaseRefused as error:
        return _Outcome(time.monotonic() - begun, reason=str(error))
    except StorageError as error:
        return _Outcome(time.monotonic() - begun, fault=error)
    except MemoryError:
        return _Outcome(time.monotonic() - begun, reason="out of memory; use fewer --workers")
    except Exception as error:  # noqa: BLE001 - a fault met in one case must not stop the others
        _LOG.debug("case %s", arrival.case.id, exc_info=True)
        return _Outcome(time.monotonic() - begun, reason=f"{type(error).__name__}: {error}")
    return _Outcome(time.monotonic() - begun, receipt=receipt)


def _event(worker: int, case: SourceCase, outcome: _Outcome | None) -> CaseBuilt | CaseFailed:
    if outcome is None:
        reason = "its worker process died, perhaps out of memory; use fewer --workers"
        return CaseFailed(worker, case, Refusal(case.id, reason, case.split, case.source))
    if outcome.fault is not None:
        raise outcome.fault
    if outcome.receipt is None:
        return CaseFailed(worker, case, Refusal(case.id, outcome.reason or "", case.split, case.source))
    return CaseBuilt(worker, case, outcome.receipt, outcome.seconds)


def _write_top(plan: Plan, refused: Iterable[Refusal], *, changed: bool) -> None:
    storage = plan.storage
    storage.remove_torn()
    earlier = _earlier_about(storage)
    provenance = earlier.provenance if earlier and not changed else _provenance()
    receipts = read_receipts(storage)
    now = [Refused(r.case, _told(r, receipts)) for r in refused]
    before = [
        entry
        for entry in (earlier.refused if earlier else ())
        if entry.case in plan.elsewhere and entry.case not in receipts
    ]
    for key, data in finalize(plan.ids, receipts, [*now, *before], provenance).items():
        if data is None:
            storage.remove(key)
        else:
            storage.put(key, data)


def _told(refusal: Refusal, receipts: Mapping[str, Receipt]) -> str:
    kept = "; as an earlier build read it, it is still in the store" if refusal.case in receipts else ""
    return refusal.reason + kept


def _earlier_about(storage: Storage) -> About | None:
    """What the root says; nothing of it is needed to write it anew where it is damaged."""
    try:
        return decode(storage.get(layout.ROOT), About.from_json, OWN_ATTRIBUTES)
    except Malformed:
        return None


def _provenance() -> Document:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    libraries = {name: version(name) for name in _LIBRARIES}
    return {"writer": WRITER, "written": now, "python": platform.python_version(), "libraries": libraries}
