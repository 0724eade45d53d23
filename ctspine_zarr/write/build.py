"""Builds: a plan carried out, what is missing ingested, the new state made to hold."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import DIED, Runner, Started
from ctspine_zarr.datasets.cases import Refusal, SourceCase
from ctspine_zarr.datasets.metadata import MetadataTable
from ctspine_zarr.datasets.series import SERIES_LIST
from ctspine_zarr.errors import CaseRefused, StorageError, StoreInUse
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, Refused
from ctspine_zarr.look import markup
from ctspine_zarr.manifest.claims import Claim, ClaimedStorage, Held, claimed
from ctspine_zarr.manifest.commit import begin, put_changed
from ctspine_zarr.sources.source import CaseVolumes
from ctspine_zarr.storage import require_shared
from ctspine_zarr.text import size
from ctspine_zarr.write.arrivals import Arrival, run_on_files
from ctspine_zarr.write.document import encode_plan
from ctspine_zarr.write.estimates import require_memory
from ctspine_zarr.write.ingest import Recipe, ingest
from ctspine_zarr.write.metadata import MetadataAdded, added_to
from ctspine_zarr.write.plan import SWITCH_BYTES, PendingCase, Plan
from ctspine_zarr.write.planning import renewed
from ctspine_zarr.write.resume import built_meanwhile
from ctspine_zarr.write.state import NewState, change_to, make_hold, make_some_hold, own_provenance

_LOG: Final = logging.getLogger(__name__)


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
        dropped: label sets, by name, of cases that were built again from another image: case -> names.
        metadata: what was joined to the cases, of each table of the plan.
    """

    built: tuple[Entry, ...]
    whole: tuple[Entry, ...]
    refused: tuple[Refusal, ...]
    seconds: float
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metadata: tuple[MetadataAdded, ...] = ()

    def _repr_html_(self) -> str:
        records = [entry.record for entry in self.built]
        stored = size(sum(record.stored_bytes for record in records))
        facts = [
            f"{len(self.built):,} built, {stored}, in {self.seconds:,.1f} s",
            f"{len(self.whole):,} were whole before",
            f"{len(self.refused):,} refused",
        ]
        refused = markup.refusals((one.case, one.reason) for one in self.refused)
        dropped = [(case, ", ".join(names)) for case, names in self.dropped.items()]
        parts = [markup.cases(records), refused, markup.bounded(("case", "label sets dropped"), dropped)]
        return markup.block("Build", facts, parts)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a worker sends back: a built case, a reason, or a fault of the store that ends the build.

    Whoever set up logging did it in the first process alone: a traceback travels there as text.
    """

    entry: Entry | None = None
    reason: str | None = None
    fault: StorageError | StoreInUse | None = None
    seconds: float = 0
    trace: str = ""


def build_store(
    plan: Plan,
    on_event: Callable[[Event], None] | None = None,
    *,
    executor: AnyExecutor | None = None,
    take_over: bool = False,
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
        take_over: end other builds into the store, which are dead though they do not seem to be, and
            give up their parts.

    Raises:
        StoreInUse: another process builds something else there, or has taken over from this one.
        UnknownValue: an executor for a store that other processes cannot share, or none.
        NoWorkers: the executor broke, or processes cannot start; cases committed before are kept.
        StoreMismatch: the store has become one of another dataset, codec or format.
        NoSpace: the estimate exceeds the free disk; nothing was written.
        StorageError: the store cannot be written; cases committed before are kept.
        HubError: the source cannot be reached any more; they are kept too.
    """
    begun = time.monotonic()
    result = _built(plan, on_event or _ignore, executor, take_over=take_over)
    joined: tuple[MetadataAdded, ...] = ()
    # What a user has said of series stands above what the source says.
    tables = (*_own_series(plan, result), *plan.metadata)
    if tables:
        joined = added_to(plan.storage, tables, take_over=take_over, is_planned=True)
        joined = joined[len(tables) - len(plan.metadata) :]
    return replace(result, metadata=joined, seconds=time.monotonic() - begun)


def _own_series(plan: Plan, result: BuildResult) -> tuple[MetadataTable, ...]:
    """The source's list of series, for the cases that have other lines: no voxel is read for it.

    Whoever builds a part leaves them to those who build without parts.
    """
    said = {one.case.id: one.case.series for one in plan.document.cases if one.case.series}
    records = [entry.record for entry in (*result.whole, *result.built)]
    other = {one.id: said[one.id] for one in records if one.series != said.get(one.id, one.series)}
    is_left = plan.part is not None or not other
    return () if is_left else (MetadataTable.of_series(SERIES_LIST, other),)


def _built(
    plan: Plan, on_event: Callable[[Event], None], executor: AnyExecutor | None, *, take_over: bool
) -> BuildResult:
    """The result of a build, but for its metadata and seconds."""
    try:
        runner = runner_of(plan.workers, executor)
        require_shared(plan.storage, runner)
        if _is_carried_out(plan):
            return BuildResult((), plan.whole, plan.refused, 0)
        plan.require_space()
        document = plan.document
        claim = Claim.own(document.seal, document.purpose, "" if plan.part is None else str(plan.part))
        with claimed(plan.storage, claim, take_over=take_over) as held:
            plan = _begun(plan, held)
            built, refused = _ingest_all(plan, runner, held, on_event)
            refused = (*plan.refused, *refused)
            _end(plan, held, built, refused)
    finally:
        plan.source.close()
    return BuildResult(built, plan.whole, refused, 0, _dropped(plan, built))


def _dropped(plan: Plan, built: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """Case -> names of label sets that it had before it was built again."""
    found = {}
    for entry in built:
        earlier = plan.holdings.earlier(entry.record.id)
        names = () if earlier is None else tuple(set(earlier.sets) - set(entry.record.sets))
        if names:
            found[entry.record.id] = tuple(sorted(names))
    return found


def _begun(plan: Plan, held: Held) -> Plan:
    """The plan beside what its store has now that this build may write."""
    with held.gate():
        plan = renewed(plan)
        if plan.holdings.root is None:
            begin(plan.storage, plan.spec, own_provenance(written=""))
        if plan.part is not None:
            put_changed(plan.storage, layout.plan_key(plan.document.seal), encode_plan(plan.document))
    return plan


def _switch_now_and_then(plan: Plan, held: Held, built: list[Entry]) -> None:
    """Of cases that are encoded anew, make those hold that are done: their old ones leave the disk."""
    if not plan.rebuild or plan.part is not None:
        return
    bytes_before = sum(entry.record.stored_bytes for entry in built[:-1])
    bytes_now = bytes_before + built[-1].record.stored_bytes
    if bytes_now // SWITCH_BYTES > bytes_before // SWITCH_BYTES:
        with held.gate():
            make_some_hold(built, held)


def _is_carried_out(plan: Plan) -> bool:
    """Whether there is nothing to write, so that a store that is whole is not written to."""
    if plan.pending:
        return False
    if plan.part is None:
        done = {entry.record.id: entry for entry in plan.whole}
        sizes = plan.storage.sizes()
        state = NewState(plan.document, plan.holdings, sizes, done, plan.refused)
        return change_to(state, plan.storage).is_none
    return _is_final(plan)


def _is_final(plan: Plan) -> bool:
    """Whether the state of the store has what is whole of a part: it has been finalized."""
    root, committed = plan.holdings.root, plan.holdings.entries
    is_ended = root is not None and not root.is_partial
    return is_ended and all(committed.get(one.record.id) == one for one in plan.whole)


def _end(plan: Plan, held: Held, built: Collection[Entry], refused: tuple[Refusal, ...]) -> None:
    """Make the new state hold; of a part, say that it is done."""
    with held.gate():
        if plan.part is None:
            make_hold(NewState.now(plan.document, plan.storage, refused), held)
            held.release()
        elif built or not _is_final(plan):
            # Where the store was finalized meanwhile, it is to be finalized again.
            put_changed(plan.storage, layout.plan_key(plan.document.seal), encode_plan(plan.document))
            held.end(tuple(Refused(one.case, one.reason) for one in refused))
        else:
            held.release()
            held.forget_plan()


def _ignore(event: Event) -> None:
    """The default listener, which does nothing."""


def _ingest_all(
    plan: Plan, runner: Runner, held: Held, on_event: Callable[[Event], None]
) -> tuple[tuple[Entry, ...], tuple[Refusal, ...]]:
    built: list[Entry] = []
    refused: list[Refusal] = []
    task = _Task(Recipe(plan.spec, plan.profile, plan.document.chunk), held.storage)
    for progress in run_on_files(runner, plan.source, plan.pending, task):
        case = progress.item.case
        if isinstance(progress, Started):
            on_event(CaseStarted(progress.worker, case))
            continue
        event = _event(progress.worker, case, progress.result)
        if isinstance(event, CaseBuilt):
            built.append(event.entry)
            _switch_now_and_then(plan, held, built)
        else:
            refused.append(event.refusal)
        on_event(event)
    return tuple(built), tuple(refused)


@dataclass(frozen=True, slots=True)
class _Task:
    """The ingest of one case, in which every way in which the case itself can fail becomes a reason.

    Attributes:
        recipe: of every case.
        storage: of the store; a worker may outlive the build that asked for the case.
    """

    recipe: Recipe
    storage: ClaimedStorage

    def __call__(self, arrival: Arrival[PendingCase, CaseVolumes]) -> _Outcome:
        begun = time.monotonic()
        outcome = self._attempt(arrival)
        return replace(outcome, seconds=time.monotonic() - begun)

    def _attempt(self, arrival: Arrival[PendingCase, CaseVolumes]) -> _Outcome:
        if arrival.files is None:
            return _Outcome(reason=arrival.reason)
        try:
            done = built_meanwhile(arrival.planned, self.storage)
            if done is None:
                require_memory(arrival.files)
                receipt = ingest(arrival.files, self.recipe, self.storage, arrival.planned.earlier)
                done = Entry.of(receipt)
            return _Outcome(done)
        except CaseRefused as error:
            return _Outcome(reason=str(error), trace=traceback.format_exc())
        except (StorageError, StoreInUse) as error:
            return _Outcome(fault=error)
        except MemoryError:
            return _Outcome(reason="out of memory; use fewer --workers")
        except Exception as error:  # noqa: BLE001 - a fault met in one case must not stop the others
            return _Outcome(reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def _event(worker: int, case: SourceCase, outcome: _Outcome | None) -> CaseBuilt | CaseFailed:
    if outcome is None:
        reason = f"{DIED}, perhaps out of memory; use fewer --workers"
        return CaseFailed(worker, case, Refusal(case.id, reason, case.split, case.source))
    if outcome.fault is not None:
        raise outcome.fault
    if outcome.entry is None:
        _LOG.debug("refused %s: %s\n%s", case.id, outcome.reason, outcome.trace)
        return CaseFailed(worker, case, Refusal(case.id, outcome.reason or "", case.split, case.source))
    return CaseBuilt(worker, case, outcome.entry, outcome.seconds)
