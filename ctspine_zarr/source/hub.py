"""The dataset on the Hub: listed at one commit, brought here case by case, checked, and let go."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, override

from ctspine_zarr.digest import file_sha256, sha256
from ctspine_zarr.errors import CaseRefused, SourceError
from ctspine_zarr.hub import Repository, cache_folder, download_folder, patiently
from ctspine_zarr.source.cases import CaseFile, Fetched, Listing, Source, SourceCase
from ctspine_zarr.source.listing import MASK_SUFFIX, SPLIT_FILE, SPREADSHEET, Tables, list_cases
from ctspine_zarr.source.splits import SUFFIX, parse_splits
from ctspine_zarr.source.spreadsheet import read_spreadsheet
from ctspine_zarr.source.tree import read_splits

DATASET: Final = "hf://datasets/alexanderdann/CTSpine1K"
"""CTSpine1K on the Hub."""

# A file that arrives altered is asked for again.
_TRIES: Final = 3
# Seconds after each failure, beside the client's own: a night's build outlives ten minutes without a net.
_WAITS: Final = (5, 15, 40, 120, 420)


@dataclass(frozen=True)
class HubSource(Source):
    """A dataset repository laid out as CTSpine1K.

    Attributes:
        repository: at one commit.
        name: of what is built from it, which tells its downloads from those of other builds.
        split_file: a split list on this machine, in place of the repository's own.
        keep: leave what is downloaded in the Hub's cache; else it is deleted once built.
    """

    ahead: ClassVar[int] = 2

    repository: Repository
    name: str
    split_file: Path | None = None
    keep: bool = False

    def __str__(self) -> str:
        return f"{self.repository} at commit {self.repository.commit[:7]}"

    @classmethod
    def at(
        cls,
        location: str,
        options: Mapping[str, Any],
        name: str,
        *,
        split_file: Path | None,
        keep: bool,
    ) -> HubSource:
        """The repository that a location names, at the commit that its revision names now.

        Raises:
            HubError: there is none, or the Hub cannot be reached.
        """
        repository = Repository.at(location, options)
        _ = repository.commit
        return cls(repository, name, split_file, keep)

    @override
    def listing(self) -> Listing:
        splits = read_splits(self.split_file) if self.split_file else parse_splits(self._split_list())
        sheet = self._read(SPREADSHEET)
        rows = read_spreadsheet(io.BytesIO(sheet), SPREADSHEET) if sheet is not None else {}
        return list_cases(str(self.repository), self.repository.files, Tables(splits, rows), self._described)

    @property
    @override
    def disk(self) -> Path | None:
        return cache_folder() if self.keep else self._downloads

    @override
    def disk_bytes(self, cases: Iterable[SourceCase], workers: int) -> int:
        sizes = sorted((self._missing_bytes(case) for case in cases), reverse=True)
        return sum(sizes if self.keep else sizes[: workers + self.ahead + 1])

    def _missing_bytes(self, case: SourceCase) -> int:
        return sum(file.bytes for file in (case.image, case.segmentation) if self.local(file) is None)

    @override
    def missing(self, chosen: Listing) -> Sequence[str]:
        """Every case chosen must have both its files: a listing may come back in part."""
        names = {path.rpartition("/")[2] for path in self.repository.files}
        endings = (SUFFIX, MASK_SUFFIX + SUFFIX)
        expected = [case + ending for case in sorted(chosen.ids) for ending in endings]
        return [name for name in expected if name not in names]

    @override
    def fetch(self, case: SourceCase) -> Fetched:
        _ = self._remembered
        return Fetched(case, self._proven(case.image), self._proven(case.segmentation))

    @override
    def release(self, fetched: Fetched) -> None:
        for path in (fetched.image, fetched.segmentation):
            if path.is_relative_to(self._downloads):
                path.unlink(missing_ok=True)

    @override
    def local(self, file: CaseFile) -> Path | None:
        return self.repository.cached(file.path)

    @override
    def close(self) -> None:
        shutil.rmtree(self._downloads, ignore_errors=True)

    @cached_property
    def _remembered(self) -> bool:
        """Whether the cache knows what the revision names, so that another build can do without the Hub."""
        wanted = self.keep and SPLIT_FILE in self.repository.files and not self.repository.is_offline
        if wanted:
            self.repository.remember(SPLIT_FILE)
        return wanted

    @cached_property
    def _downloads(self) -> Path:
        return download_folder() / sha256(f"{self.repository} {self.name}".encode())[:16]

    def _split_list(self) -> str:
        data = self._read(SPLIT_FILE)
        try:
            if data is not None:
                return data.decode()
            reason = "not found"
        except UnicodeDecodeError as error:
            reason = str(error)
        message = f"no {SPLIT_FILE} in {self.repository} ({reason}); give a split list with --split-file FILE"
        raise SourceError(message)

    def _read(self, path: str) -> bytes | None:
        """A small file, of which nothing is left on this machine."""
        if path not in self.repository.files:
            return None
        cached = self.repository.cached(path)
        return self.repository.read(path) if cached is None else cached.read_bytes()

    def _described(self, path: str) -> CaseFile:
        file = self.repository.files[path]
        return CaseFile(path, file.size, file.sha256)

    def _proven(self, file: CaseFile) -> Path:
        """A file of the size and sha256 that the Hub has a record of."""
        for number in range(_TRIES):
            path = self._downloaded(file.path, again=True) if number else self._fetched(file.path)
            if _is(file, path):
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
        return patiently(lambda: self.repository.download(path, to, again=again), _WAITS)


def _is(file: CaseFile, path: Path) -> bool:
    return path.stat().st_size == file.bytes and file.sha256 in {None, file_sha256(path)}
