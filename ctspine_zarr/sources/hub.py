"""A repository on the Hub as a source: listed at one commit, brought here case by case, checked, let go."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, override

from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.datasets.cases import CaseFile, Listing, SourceCase
from ctspine_zarr.datasets.dataset import MAX_DOCUMENT_BYTES
from ctspine_zarr.datasets.naming import FilesMissing
from ctspine_zarr.digest import file_sha256, sha256
from ctspine_zarr.errors import CaseRefused, HubUnreachable, SourceError
from ctspine_zarr.hub.repository import Repository, cache_folder, download_folder
from ctspine_zarr.sources.source import Fetched, Source

# A file that arrives altered is asked for again.
_TRIES: Final = 3
# Seconds after each failure, beside the client's own: a night's build outlives ten minutes without a net.
_WAITS: Final = (5, 15, 40, 120, 420)


@dataclass(frozen=True)
class HubSource(Source):
    """A dataset repository.

    Attributes:
        repository: at one commit.
        build: name of what is built from it, which tells its downloads from those of other builds.
        keep: leave what is downloaded in the Hub's cache; else it is deleted once built.
    """

    ahead: ClassVar[int] = 2

    repository: Repository
    build: str
    keep: bool = False
    _documents: set[str] = field(default_factory=set, repr=False, compare=False)
    _remembered: set[str] = field(default_factory=set, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.repository} at commit {self.repository.commit[:7]}"

    @classmethod
    def at(cls, location: str, options: Mapping[str, Any], build: str, *, keep: bool) -> HubSource:
        """The repository that a location names, at the commit that its revision names now.

        Raises:
            HubError: there is none, or the Hub cannot be reached.
        """
        repository = Repository.at(location, options)
        _ = repository.commit
        return cls(repository, build, keep)

    @property
    @override
    def name(self) -> str:
        return str(self.repository)

    @property
    @override
    def pinned(self) -> str:
        return str(dataclasses.replace(self.repository, revision=self.repository.commit))

    @cached_property
    def paths(self) -> Sequence[str]:
        """Of every file of the repository.

        Raises:
            HubError: the Hub cannot be reached.
        """
        return sorted(self.repository.files)

    @override
    def read(self, path: str) -> bytes | None:
        """A document, of which nothing is left on this machine unless downloads are kept."""
        record = self.repository.files.get(path)
        if record is None:
            return None
        if record.size > MAX_DOCUMENT_BYTES:
            message = (
                f"{path} of {self.name} has {record.size} bytes; legal: a document of {MAX_DOCUMENT_BYTES}"
            )
            raise SourceError(message)
        self._documents.add(path)
        cached = self.repository.cached(path)
        if cached is not None:
            return cached.read_bytes()
        return self.repository.read(path, (0, record.size)) if record.size else b""

    @property
    def documents(self) -> frozenset[str]:
        """Paths of the documents that were read, as far as they are there."""
        return frozenset(self._documents)

    @override
    def describe(self, path: str) -> CaseFile:
        record = self.repository.files.get(path)
        if record is None:
            name = path.rpartition("/")[2]
            message = f"{path}: not in {self.name}"
            raise FilesMissing(message, (name,))
        return CaseFile(path, record.size, record.sha256)

    @property
    @override
    def disk(self) -> Path | None:
        return cache_folder() if self.keep else self._downloads

    @override
    def disk_bytes(self, cases: Iterable[SourceCase], workers: int) -> int:
        sizes = sorted((self._missing_bytes(case) for case in cases), reverse=True)
        return sum(sizes if self.keep else sizes[: workers + self.ahead + 1])

    def _missing_bytes(self, case: SourceCase) -> int:
        return sum(file.bytes for file in case.files if self.local(file) is None)

    @override
    def missing(self, chosen: Listing) -> Sequence[str]:
        """What cases are refused for want of: a listing may come back in part."""
        return [name for refusal in chosen.refused for name in refusal.missing]

    @override
    def fetch(self, case: SourceCase) -> Fetched:
        self._remember()
        mask = case.segmentation
        return Fetched(case, self._proven(case.image), None if mask is None else self._proven(mask))

    @override
    def release(self, fetched: Fetched) -> None:
        for path in fetched.paths:
            if path.is_relative_to(self._downloads):
                path.unlink(missing_ok=True)

    @override
    def local(self, file: CaseFile) -> Path | None:
        return self.repository.cached(file.path)

    @override
    def close(self) -> None:
        own = self._downloads
        # Parts of one build may run on one machine; what a killed one left goes with this one's.
        names = [path.name for path in own.parent.iterdir()] if own.parent.is_dir() else []
        for name in (own.name, *Identity.own().outlived(names)):
            shutil.rmtree(own.parent / name, ignore_errors=True)
        with suppress(OSError):
            own.parent.rmdir()

    def _remember(self) -> None:
        """Let the cache know, once, what the revision names: another build can then do without the Hub."""
        if self._remembered or not self.keep or self.repository.is_offline:
            return
        files = self.repository.files
        paths = sorted(self._documents) or [min(files, key=lambda path: files[path].size)]
        for path in paths:
            self.repository.remember(path)
        self._remembered.update(paths)

    @property
    def _downloads(self) -> Path:
        """Of this process alone, whichever one has a copy of this source."""
        return (
            download_folder() / sha256(f"{self.repository} {self.build}".encode())[:16] / Identity.own().tag
        )

    def _proven(self, file: CaseFile) -> Path:
        """A file of the size and sha256 that the Hub has a record of."""
        for number in range(_TRIES):
            path = self._downloaded(file.path, again=True) if number else self._fetched(file.path)
            if _matches(file, path):
                return path
        message = (
            f"{path.name}: came {_TRIES} times with another size or sha256 than the Hub's record, "
            f"{file.bytes} bytes and {file.sha256}"
        )
        raise CaseRefused(message)

    def _fetched(self, path: str) -> Path:
        return self.repository.cached(path) or self._downloaded(path)

    def _downloaded(self, path: str, *, again: bool = False) -> Path:
        to = None if self.keep or self.repository.is_offline else self._downloads
        for wait in _WAITS:
            try:
                return self.repository.download(path, to, again=again)
            except HubUnreachable:
                time.sleep(wait)
        return self.repository.download(path, to, again=again)


def _matches(file: CaseFile, path: Path) -> bool:
    return path.stat().st_size == file.bytes and file.sha256 in {None, file_sha256(path)}
