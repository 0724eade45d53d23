"""A store in a dataset repository on the Hub, for reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self, override

from ctspine_zarr.hub.files import RemoteFile
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.storage.backend import Backend, Span
from ctspine_zarr.storage.keys import require_size

# Read first by whoever opens a store; a root has kilobytes.
_FIRST: Final = "zarr.json"
_MOST_FIRST: Final = 1 << 20


@dataclass(frozen=True)
class RepositoryFiles(Backend):
    """The files of a repository's folder, at one commit.

    Attributes:
        repository: whose commit is known.
        read: objects that came when it was asked for.
    """

    repository: Repository
    read: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at_one_commit(cls, repository: Repository) -> Self:
        """The files at the commit that the revision names now, also for other processes.

        Raises:
            HubError: there is no such repository or revision, or the Hub cannot be reached.
        """
        data = repository.pin(_FIRST, _MOST_FIRST)
        return cls(repository, {} if data is None else {_FIRST: data})

    @override
    def get(self, key: str, most: int) -> bytes | None:
        if key in self.read and len(self.read[key]) <= most:
            return self.read[key]
        # Asked for as a part, an object that is longer than it may be does not come to memory.
        data = self.repository.read(key, (0, most + 1))
        if data is not None and len(data) > most:
            require_size(max(len(data), self.size(key) or 0), most)
        return data

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes]:
        asked = list(spans)
        found = iter(self.repository.read_each(key, [span for span in asked if span[0] < span[1]]))
        yield from (next(found) or b"" if start < stop else b"" for start, stop in asked)

    @override
    def size(self, key: str) -> int | None:
        return self.sizes("").get(key)

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        files = self.repository.files
        return {path: file.size for path, file in files.items() if path.startswith(prefix)}

    @override
    def recorded(self) -> Mapping[str, RemoteFile]:
        # The cache on this machine is no record of the Hub's.
        return {} if self.repository.is_offline else self.repository.files
