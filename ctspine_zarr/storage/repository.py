"""A store in a dataset repository on the Hub, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import override

import zarr.storage
from zarr.abc.store import Store

from ctspine_zarr.hub import Repository
from ctspine_zarr.storage.backend import Backend, Span
from ctspine_zarr.storage.keys import require_size


@dataclass(frozen=True)
class RepositoryFiles(Backend):
    """The files of a repository's folder, at one commit."""

    repository: Repository

    @property
    @override
    def zarr(self) -> Store:
        one = self.repository
        inside = f"/{one.folder}" if one.folder else ""
        location = f"hf://datasets/{one.id}@{one.commit}{inside}"
        return zarr.storage.FsspecStore.from_url(location, dict(one.options), read_only=True)

    @override
    def get(self, key: str, most: int) -> bytes | None:
        # Asked for as a part, an object that is longer than it may be does not come to memory.
        data = self.repository.read(key, (0, most + 1))
        if data is not None and len(data) > most:
            require_size(max(len(data), self.size(key) or 0), most)
        return data

    @override
    def span(self, key: str, span: Span) -> bytes:
        return b"" if span[0] == span[1] else self.repository.read(key, span) or b""

    @override
    def size(self, key: str) -> int | None:
        return self.sizes("").get(key)

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        files = self.repository.files
        return {path: file.size for path, file in files.items() if path.startswith(prefix)}
