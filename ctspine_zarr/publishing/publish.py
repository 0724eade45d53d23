"""Publish a store: the one way to a bucket, another folder or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ctspine_zarr.concurrency.choice import AnyExecutor, runner_of
from ctspine_zarr.concurrency.runners import Runner
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.publishing.copy import copy_cases, copy_top
from ctspine_zarr.publishing.page import why_no_page
from ctspine_zarr.publishing.whole import WholeCase, WholeStore
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.storage import Location, open_storage

type _Listener = Callable[[CasePublished], None]

_HUB = "hf://"


@dataclass(frozen=True, slots=True)
class CasePublished:
    """A case that is whole at its new place.

    Attributes:
        case: its id.
        bytes: of its objects.
        sent: bytes of those that had to be sent; 0 where all were there.
    """

    case: str
    bytes: int
    sent: int

    @property
    def copied(self) -> bool:
        """Whether any had to be sent."""
        return self.sent > 0


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a store.

    Attributes:
        location: where the store now is, too.
        cases: of the store, in its order.
        kept: keys of documents that go along with it, such as `README.md`, that somebody changed there: they
            were left as they are.
        lacks: why no page goes along with the store, in words; empty where one does.
    """

    location: str
    cases: tuple[CasePublished, ...]
    kept: tuple[str, ...] = ()
    lacks: str = ""


def publish(
    store: Location,
    target: Location,
    *,
    storage_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    private: bool = False,
    workers: int = 1,
    executor: AnyExecutor | None = None,
    on_case: _Listener | None = None,
) -> Published:
    """Bring a store to another place; what is there already, of an interrupted run too, is kept.

    In a bucket or folder every object that is sent is read back and compared with its receipt; of
    what was there, the receipt and the sizes are. On the Hub the record of every file is. The
    catalog and the root come last, and a catalog goes before a case it speaks of is replaced. Whoever
    copies the cases, the bytes are the same, and catalog and root are copied by this process.

    A card, the licence, the citation, a description as Croissant and a list of digests go along, beside
    the store. What somebody changed of them there stays as it is.

    A page, `index.html` and what is below `viewer/`, goes along: on a web server it shows the store. There is
    none where zarrita was not bundled, or beside an `index.html` of others.

    Args:
        store: any that opens; for the Hub one in a local folder.
        target: s3://, gs://, az://, a path, a zarr Store, or hf://datasets/USER/NAME[@BRANCH][/PATH].
        storage_options, target_options: of either; see `open_store`.
        private: a repository on the Hub that is made.
        workers: processes, each of which holds the objects of a case; 1 to the Hub, where commits
            follow one another.
        executor: what copies cases in their place, see `build_store`; none to the Hub. A case that it has
            begun when this is interrupted it may end later: run it again when it has.
        on_case: told of each case that is there, in this thread.

    Raises:
        NotAStore, DamagedStore: there is no store, or an object is not what its receipt says.
        StoreUpdated: it is not, since the store was updated meanwhile.
        StoreMismatch: the target holds something else.
        UnknownValue: workers or an executor for the Hub, or for what other processes do not see.
        NoWorkers: processes cannot start, the executor broke, or the workers of a case died of it;
            whole cases are kept, and a rerun goes on.
        StorageError, HubError: either side cannot be read or written.
    """
    runner = runner_of(workers, executor)
    whole = WholeStore(open_store(store, storage_options=storage_options))
    # What is wrong above the cases is told before any is sent.
    _ = whole.top, whole.columns
    options = target_options or {}
    if isinstance(target, str) and target.lower().startswith(_HUB):
        _require_alone(target, runner)
        return _to_hub(whole, target, options, on_case, private=private)
    storage = open_storage(target, options=options)
    cases = _announced(whole, copy_cases(whole, storage, runner), on_case)
    return Published(storage.location, cases, copy_top(whole, storage), why_no_page())


def _to_hub(
    whole: WholeStore, target: str, options: Mapping[str, Any], on_case: _Listener | None, *, private: bool
) -> Published:
    # Half a second to import, which a copy need not wait for.
    from ctspine_zarr.hub.repository import Repository
    from ctspine_zarr.publishing.hub import upload_cases, upload_top

    repository = Repository.at(target, options)
    repository.create(private=private)
    cases = _announced(whole, upload_cases(whole, repository), on_case)
    return Published(str(repository), cases, upload_top(whole, repository), why_no_page())


def _require_alone(target: str, runner: Runner) -> None:
    if not runner.is_alone:
        message = (
            f"an executor or several workers for {target}, where commits follow one another; legal: none"
        )
        raise UnknownValue(message)


def _announced(
    whole: WholeStore, cases: Generator[tuple[WholeCase, int]], on_case: _Listener | None
) -> tuple[CasePublished, ...]:
    done: dict[str, CasePublished] = {}
    # Where the listener ends the run, processes end with it, not when the error is forgotten.
    with closing(cases):
        for case, sent in cases:
            done[case.id] = CasePublished(case.id, case.bytes, sent)
            if on_case is not None:
                on_case(done[case.id])
    return tuple(done[case.id] for case in whole.cases)
