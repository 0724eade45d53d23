"""A dataset's own files brought to a folder, each compared with the Hub's record of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Literal

from ctspine_zarr.concurrency.background import Background
from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.datasets.raw import KeptFile, KeptRefusal, RawFile, TreeDocument
from ctspine_zarr.errors import HubUnreachable, NoSpace, StorageError, UnknownValue, integer
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.raw.listing import RawListing
from ctspine_zarr.raw.tree import Partial, Tree, open_tree
from ctspine_zarr.text import size

type How = Literal["fetched", "replaced", "whole", "failed"]

MOST_WORKERS: Final = 32
"""Files that are downloaded at once."""

# Times that a file may come with other bytes than the Hub's record.
_TRIES: Final = 3
# Seconds after each failure that brought nothing: as for a build, a night outlives ten minutes without a net.
_WAITS: Final = (5, 15, 40, 120, 420)
# Seconds between looks at whether the user has interrupted, and those that threads get to end in.
_LOOK: Final = 0.25
_ENDING: Final = 3


@dataclass(frozen=True, slots=True)
class FileDownloaded:
    """What became of a file.

    Attributes:
        file: as the Hub records it.
        how: `fetched`; `replaced`, what was there being another file; `whole`, there before; or `failed`.
        sha256: of the file; None of one that failed.
        reason: why it failed; None of others.
    """

    file: RawFile
    how: How
    sha256: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The result of a download.

    Attributes:
        output: the folder.
        commit: of every file.
        files: in the order of the listing.
        refused: cases that were ever asked for and are not there: the repository has not all of their files.
        missing: paths of earlier downloads to the folder that are not there, or not any more.
        is_whole: whether all is there that was ever asked for.
    """

    output: Path
    commit: str
    files: tuple[FileDownloaded, ...]
    refused: tuple[Refusal, ...]
    missing: tuple[str, ...]
    is_whole: bool

    @property
    def failed(self) -> tuple[FileDownloaded, ...]:
        """Those that came with other bytes than the Hub's record, again and again."""
        return tuple(one for one in self.files if one.how == "failed")

    @property
    def fetched_bytes(self) -> int:
        """Size of the files that were not there before."""
        return sum(one.file.size for one in self.files if one.how in {"fetched", "replaced"})


def download_raw(
    listing: RawListing,
    output: str | Path,
    *,
    workers: int = 4,
    on_file: Callable[[FileDownloaded], None] | None = None,
) -> Downloaded:
    """The files of a listing brought to a folder, where they lie as in the repository.

    Each is compared with the Hub's record: its size, and its sha256, or git's id of a small one. It appears
    under its name only then; until then it lies in `.ctspine-zarr-raw`, from where an interrupted download
    goes on. Run again, whole files are read and compared, not fetched; another file that has the name of one
    is replaced. `ctspine-zarr-raw.json` is written last: it has the commit, and the sha256 of each file.
    Several selections of one commit can be brought to one folder, one after another.

    429 is waited out as the Hub asks, what breaks off is gone on with; after ten minutes without any byte the
    download ends, and what came is kept.

    Args:
        listing: of the repository at one commit.
        output: made where it does not exist. A build takes it as its source.
        workers: files that are downloaded, or compared, at once: 1 to 32.
        on_file: told of each file as it is done, in this thread.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        SourceError: the folder has a document of another kind.
        StorageError: the folder has files of another commit or repository, another process downloads to it,
            it cannot be written, or something else has the name of a file.
        NoSpace: the files do not fit on the disk; nothing was downloaded.
        UnknownValue: no legal number of workers.
    """
    threads = integer("workers", workers, 1, f" to {MOST_WORKERS}")
    if threads > MOST_WORKERS:
        message = f"workers {workers}; legal: an integer from 1 to {MOST_WORKERS}"
        raise UnknownValue(message)
    tree = open_tree(Path(output))
    run = _Run(tree, listing.at)
    try:
        before = tree.document()
        _require_same(listing, before, tree.root)
        _require_room(listing, tree)
        tree.write_document(_document(listing, _begun(listing, before), before, is_whole=False))
        done = {one.file.path: one for one in _told(run.all(listing.files, threads), on_file)}
        found = _result(listing, before, tree, [done[file.path] for file in listing.files])
        if found.is_whole:
            tree.clean()
        tree.write_document(_document(listing, _ended(before, found), before, is_whole=found.is_whole))
        return found
    finally:
        # Of one that hangs its thread has the lock, until it ends.
        if run.has_ended():
            tree.close()


class _Run:
    """Files on their way, in threads that end with the run.

    Args:
        tree: where they go.
        repository: where they come from.
    """

    def __init__(self, tree: Tree, repository: Repository) -> None:
        self._tree, self._repository = tree, repository
        self._stop = threading.Event()
        self._asked: list[Future[FileDownloaded]] = []

    def all(self, files: Sequence[RawFile], threads: int) -> Iterator[FileDownloaded]:
        """What becomes of each file, as it is done.

        Raises: as `download_raw`.
        """
        pool = Background(threads)
        done: SimpleQueue[Future[FileDownloaded]] = SimpleQueue()
        for file in files:
            # One by one: an interruption finds all that have begun.
            self._asked.append(pool.submit(partial(self._one, file)))
            self._asked[-1].add_done_callback(done.put)
        pool.close()
        left = len(files)
        while left:
            # Without a limit Ctrl-C would not be heeded on every system.
            with suppress(Empty):
                yield done.get(timeout=_LOOK).result()
                left -= 1

    def has_ended(self) -> bool:
        """Whether nothing is under way any more, which is given a moment to end."""
        self._stop.set()
        under_way = [one for one in self._asked if not one.cancel()]
        return not wait(under_way, _ENDING).not_done

    def _one(self, file: RawFile) -> FileDownloaded:
        digest = self._tree.digest_of(file)
        if digest is not None:
            return FileDownloaded(file, "whole", digest)
        self._tree.make_place(file)
        was_there = (self._tree.root / file.path).exists()
        digest = self._fetched(file)
        if digest is None:
            what = f"sha256 {file.sha256}" if file.sha256 else f"git's id {file.blob}"
            reason = (
                f"{file.path}: came {_TRIES} times with other bytes than the Hub's record, {file.size} bytes "
                f"and {what}"
            )
            return FileDownloaded(file, "failed", None, reason)
        return FileDownloaded(file, "replaced" if was_there else "fetched", digest)

    def _fetched(self, file: RawFile) -> str | None:
        """The sha256 of a file that has come; None where it is another, again and again."""
        sink = Partial(self._tree, file, self._stop)
        try:
            for _ in range(_TRIES):
                self._receive(file, sink)
                digest = sink.finish()
                if digest is not None:
                    return digest
                sink.begin_anew()
            sink.discard()
            return None
        finally:
            sink.close()

    def _receive(self, file: RawFile, sink: Partial) -> None:
        """Bring what is missing of a file, or of a shorter one what there is.

        A try that brings some of it is no failure.
        """
        failures = 0
        while sink.size < file.size:
            before = sink.size
            try:
                if not self._repository.receive(file.path, file.size, sink):
                    return
            except HubUnreachable:
                failures = 0 if sink.size > before else failures + 1
                if failures > len(_WAITS):
                    raise
                self._stop.wait(_WAITS[failures - 1] if failures else 0)
            sink.require_wanted()


def _told(
    found: Iterable[FileDownloaded], on_file: Callable[[FileDownloaded], None] | None
) -> Iterator[FileDownloaded]:
    for one in found:
        if on_file is not None:
            on_file(one)
        yield one


def _require_same(listing: RawListing, before: TreeDocument | None, root: Path) -> None:
    """Do nothing where a folder has no files of another repository or commit."""
    if before is None or (before.repository, before.commit) == (listing.repository, listing.commit):
        return
    message = (
        f"{root} has files of {before.repository} at commit {before.commit}; asked for {listing.repository} "
        f"at commit {listing.commit}; legal: another folder, or --revision {before.commit}"
    )
    raise StorageError(message)


def _require_room(listing: RawListing, tree: Tree) -> None:
    missing = [file for file in listing.files if not tree.has_size(file.path, file.size)]
    needed = sum(file.size - _held(tree.partial_path(file)) for file in missing)
    free = shutil.disk_usage(tree.root).free
    if needed > free:
        message = (
            f"{size(needed)} are needed in {tree.root}, {size(free)} are free; free some, or choose fewer"
        )
        raise NoSpace(message)


def _held(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _document(
    listing: RawListing, files: Mapping[str, KeptFile], before: TreeDocument | None, *, is_whole: bool
) -> TreeDocument:
    """What a tree says of itself: of all that was ever brought to it."""
    asked = {*listing.cases, *(refusal.case for refusal in listing.refused)}
    return TreeDocument(
        repository=listing.repository,
        revision=listing.revision,
        commit=listing.commit,
        is_whole=is_whole,
        cases=tuple(sorted(asked if before is None else asked | set(before.cases))),
        refused=_refused(listing, before),
        files=tuple(files[path] for path in sorted(files)),
    )


def _refused(listing: RawListing, before: TreeDocument | None) -> tuple[KeptRefusal, ...]:
    """Cases that the repository has not as a whole, but for those that it listed in part alone before."""
    old = {} if before is None else {refusal.case: refusal for refusal in before.refused}
    new = {refusal.case: KeptRefusal(refusal.case, refusal.reason) for refusal in listing.refused}
    whole = set(listing.cases)
    return tuple(found for case, found in sorted((old | new).items()) if case not in whole)


def _result(
    listing: RawListing, before: TreeDocument | None, tree: Tree, done: Sequence[FileDownloaded]
) -> Downloaded:
    own = {one.file.path for one in done}
    earlier = [one for path, one in _kept(before).items() if path not in own]
    missing = tuple(
        one.path for one in earlier if one.sha256 is None or not tree.has_size(one.path, one.size)
    )
    refused = tuple(Refusal(one.case, one.reason) for one in _refused(listing, before))
    is_whole = not missing and not refused and all(one.how != "failed" for one in done)
    return Downloaded(tree.root, listing.commit, tuple(done), refused, missing, is_whole)


def _begun(listing: RawListing, before: TreeDocument | None) -> dict[str, KeptFile]:
    """Path -> file, of a tree while some are on their way."""
    return {file.path: KeptFile(file.path, file.size, None) for file in listing.files} | _kept(before)


def _ended(before: TreeDocument | None, found: Downloaded) -> dict[str, KeptFile]:
    """Path -> file, of a tree once all has come that will."""
    kept = _kept(before)
    lost = {path: KeptFile(path, kept[path].size, None) for path in found.missing}
    own = {one.file.path: KeptFile(one.file.path, one.file.size, one.sha256) for one in found.files}
    return kept | lost | own


def _kept(before: TreeDocument | None) -> dict[str, KeptFile]:
    return {} if before is None else {one.path: one for one in before.files}
