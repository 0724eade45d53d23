"""A store in a dataset repository on the Hub, for reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import override

import zarr.storage
from zarr.abc.store import Store

from ctspine_zarr.hub import Repository
from ctspine_zarr.storage.backend import Backend, Span


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
    def get(self, key: str) -> bytes | None:
        return self.repository.read(key)

    @override
    def span(self, key: str, span: Span) -> bytes:
        return self.repository.read(key, span) or b""

    @override
    def size(self, key: str) -> int | None:
        return self.sizes("").get(key)

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        files = self.repository.files
        return {path: file.size for path, file in files.items() if path.startswith(prefix)}
