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

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import TRIES, Runner, Started
from ctspine_zarr.datasets.cases import Refusal, SourceCase
from ctspine_zarr.errors import CaseRefused, StorageError, UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Provenance, Refused
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.manifest.commit import claim, switch
from ctspine_zarr.manifest.receipts import KeptReceipt, read_receipts
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.arrivals import Arrival, run_on_files
from ctspine_zarr.write.case_objects import WRITER
from ctspine_zarr.write.finalize import finalize
from ctspine_zarr.write.ingest import Recipe, ingest
from ctspine_zarr.write.plan import Plan, PlannedCase

_LOG: Final = logging.getLogger(__name__)
_LIBRARIES: Final = ("zarr", "numcodecs", "numpy", "nibabel")


@dataclass(frozen=True, slots=True)
class CaseStarted:
    """The event that a worker, numbered from 0, took up a case."""

    worker: int
    case: SourceCase


@dataclass(frozen=True, slots=True)
class CaseBuilt:
    """The event that a case is whole: its receipt is written."""

    worker: int
    case: SourceCase
    entry: Entry
    seconds: float


@dataclass(frozen=True, slots=True)
class CaseFailed:
    """The event that a case was refused, or its worker died; the others go on."""

    worker: int
    case: SourceCase
    refusal: Refusal


type Event = CaseStarted | CaseBuilt | CaseFailed


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The result of a build.

    Attributes:
        built: lines of the catalog of the cases that this run has built.
        whole: those of cases that were there before.
        refused: cases that are not in the store, and why.
        seconds: wall time.
    """

    built: tuple[Entry, ...]
    whole: tuple[Entry, ...]
    refused: tuple[Refusal, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a worker sends back: a built case, a reason, or a fault of the store that ends the build."""

    seconds: float
    entry: Entry | None = None
    reason: str | None = None
    fault: StorageError | None = None


def build_store(
    plan: Plan,
    on_event: Callable[[Event], None] | None = None,
    *,
    executor: AnyExecutor | None = None,
) -> BuildResult:
    """Build every case of a plan that is not whole yet, then make the new state hold.

    Until then a store that was there before is read as it was, and one whose first build this is
    opens as partial. May be interrupted at any moment and run again with a new plan: whole cases are
    kept. The store's bytes depend neither on the number of workers nor on interruptions; the time of
    writing is kept in the root's provenance alone. A store that is whole is not written to.

    Args:
        plan: from `plan_build`.
        on_event: told of every case as it starts and ends, in this thread.
        executor: what runs the cases, in place of processes of this one: any of `concurrent.futures`, or
            a `distributed.Client`. Where it does, the source's files and the store must be there under
            the same locations. It is not shut down.

    Raises:
        UnknownValue: an executor for a store that other processes cannot share, or none.
        NoWorkers: the executor broke, or processes cannot start; cases committed before are kept.
        NoSpace: the estimate exceeds the free disk; nothing was written.
        StorageError: the store cannot be written; cases committed before are kept.
        HubError: the source cannot be reached any more; they are kept too.
    """
    begun = time.monotonic()
    try:
        runner = runner_of(plan.workers, executor)
        require_shared(plan.storage, runner)
        plan.require_space()
        if plan.holdings.root is None:
            claim(plan.storage, plan.spec, provenance(written=""))
        built, refused = _ingest_all(plan, runner, on_event or _ignore)
    finally:
        plan.source.close()
    refused = (*plan.refused, *refused)
    _finish(plan, built, refused)
    return BuildResult(built, plan.whole, refused, time.monotonic() - begun)


def _ignore(event: Event) -> None:
    """The default listener, which does nothing."""


def require_shared(storage: Storage, runner: Runner) -> None:
    """Do nothing where whoever runs the cases sees the same objects.

    Raises:
        UnknownValue: it does not.
    """
    if not (runner.is_alone or storage.is_shared):
        message = f"an executor for {storage.location}, which other processes do not see; legal: none"
        raise UnknownValue(message)


def _ingest_all(
    plan: Plan, runner: Runner, on_event: Callable[[Event], None]
) -> tuple[tuple[Entry, ...], tuple[Refusal, ...]]:
    built: list[Entry] = []
    refused: list[Refusal] = []
    attempt = functools.partial(_attempt, recipe=Recipe(plan.spec, plan.profile), storage=plan.storage)
    for progress in run_on_files(runner, plan.source, plan.pending, attempt):
        case = progress.item.case
        if isinstance(progress, Started):
            on_event(CaseStarted(progress.worker, case))
            continue
        event = _event(progress.worker, case, progress.result)
        if isinstance(event, CaseBuilt):
            built.append(event.entry)
        else:
            refused.append(event.refusal)
        on_event(event)
    return tuple(built), tuple(refused)


def _attempt(arrival: Arrival[PlannedCase], recipe: Recipe, storage: Storage) -> _Outcome:
    """Ingest one case; every way in which the case itself can fail becomes a reason."""
    begun = time.monotonic()
    if arrival.files is None:
        return _Outcome(0, reason=arrival.reason)
    try:
        receipt = ingest(arrival.files, recipe, storage, arrival.planned.earlier)
    except CaseRefused as error:
        return _Outcome(time.monotonic() - begun, reason=str(error))
    except StorageError as error:
        return _Outcome(time.monotonic() - begun, fault=error)
    except MemoryError:
        return _Outcome(time.monotonic() - begun, reason="out of memory; use fewer --workers")
    except Exception as error:  # noqa: BLE001 - a fault met in one case must not stop the others
        _LOG.debug("case %s", arrival.planned.case.id, exc_info=True)
        return _Outcome(time.monotonic() - begun, reason=f"{type(error).__name__}: {error}")
    return _Outcome(time.monotonic() - begun, entry=Entry.of(receipt))


def _event(worker: int, case: SourceCase, outcome: _Outcome | None) -> CaseBuilt | CaseFailed:
    if outcome is None:
        reason = f"its worker died of it {TRIES} times, perhaps out of memory; use fewer --workers"
        return CaseFailed(worker, case, Refusal(case.id, reason, case.split, case.source))
    if outcome.fault is not None:
        raise outcome.fault
    if outcome.entry is None:
        return CaseFailed(worker, case, Refusal(case.id, outcome.reason or "", case.split, case.source))
    return CaseBuilt(worker, case, outcome.entry, outcome.seconds)


def _finish(plan: Plan, built: Iterable[Entry], refused: Iterable[Refusal]) -> None:
    """Make the state hold that has the cases of this build, and beside them those that were there."""
    earlier = plan.holdings.root
    there = read_receipts(plan.storage)
    entries = _entries(plan, built, there)
    now = [Refused(r.case, _reason(r, entries)) for r in refused]
    before = [
        entry
        for entry in (earlier.refused if earlier else ())
        if entry.case in plan.elsewhere and entry.case not in entries
    ]
    finished = functools.partial(finalize, plan.ids, entries, [*now, *before], plan.spec)
    documents = finished(earlier.provenance if earlier and not earlier.is_partial else provenance())
    if plan.storage.get(layout.ROOT, most=MOST_DOCUMENT_BYTES) != documents[layout.ROOT]:
        documents = finished(provenance())
    specs = [plan.spec, None if earlier is None else earlier.dataset]
    switch(plan.storage, documents, entries.values(), there, specs)


def _entries(plan: Plan, built: Iterable[Entry], there: Iterable[KeptReceipt]) -> dict[str, Entry]:
    """Case id -> line of the catalog, of every case of the new state.

    Those of this build's cases, else those that the state has; cases that an interrupted build, or
    one of other cases, wrote meanwhile are found by their receipts.
    """
    entries = dict(plan.holdings.entries)
    for kept in there:
        entries.setdefault(kept.receipt.record.id, kept.entry)
    return entries | {entry.record.id: entry for entry in (*plan.whole, *built)}


def _reason(refusal: Refusal, entries: Mapping[str, Entry]) -> str:
    kept = "; as an earlier build read it, it is still in the store" if refusal.case in entries else ""
    return refusal.reason + kept


def provenance(written: str | None = None) -> Provenance:
    """What writes a store here.

    Args:
        written: time; now by default.
    """
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Provenance(
        writer=WRITER,
        written=now if written is None else written,
        python=platform.python_version(),
        libraries={name: version(name) for name in _LIBRARIES},
    )
