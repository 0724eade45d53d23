"""Stores that zarr-python has: a local folder, memory, and whatever else a user hands over."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ClassVar, Final, override

import zarr.storage
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ctspine_zarr.storage.backend import DISTANT, LOCAL, Backend, Merging, Span
from ctspine_zarr.storage.forks import require_own_threads

# What zarr's LocalStore leaves behind when a process dies between write and rename.
_TORN: Final = ".partial"


@dataclass(frozen=True)
class ZarrStore(Backend):
    """A zarr store object of any class, through its asynchronous methods."""

    store: Store

    @property
    @override
    def zarr(self) -> Store:
        return self.store

    @property
    @override
    def is_shared(self) -> bool:
        return self.path is not None

    @property
    @override
    def forks(self) -> bool:
        return not isinstance(self.store, zarr.storage.ObjectStore)

    @override
    def get(self, key: str) -> bytes | None:
        return self._ask(key, None)

    @override
    def span(self, key: str, span: Span) -> bytes:
        return self._ask(key, RangeByteRequest(*span)) or b""

    def _ask(self, key: str, part: RangeByteRequest | None) -> bytes | None:
        if not self.forks:
            require_own_threads()
        found = sync(self.store.get(key, default_buffer_prototype(), part))
        return None if found is None else found.to_bytes()

    @override
    def size(self, key: str) -> int | None:
        try:
            return int(sync(self.store.getsize(key)))
        except FileNotFoundError:
            return None

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        return sync(_sizes(self.store, prefix))

    @override
    def put(self, key: str, data: bytes | bytearray) -> None:
        sync(self.store.set(key, default_buffer_prototype().buffer.from_bytes(data)))

    @override
    def remove(self, key: str) -> None:
        sync(self.store.delete(key))


@dataclass(frozen=True)
class DerivedFolder(ZarrStore):
    """A store of a class derived from zarr's own for folders, which may well have a `get` of its own."""

    # What its reads cost nobody knows, but the file is near: nothing is read that is not wanted soon.
    merging: ClassVar[Merging] = dataclasses.replace(DISTANT, whole=0)

    path: Path

    @override
    def free_bytes(self) -> int | None:
        return free_bytes(self.path)

    @override
    def get(self, key: str) -> bytes | None:
        # zarr would make the folder at a mere look.
        return super().get(key) if self.path.exists() else None

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        return {key: size for key, size in self._all_sizes(prefix).items() if not key.endswith(_TORN)}

    @override
    def remove_below(self, path: str, keys: Iterable[str]) -> None:
        sync(self.store.delete_dir(path))

    @override
    def torn(self) -> Iterable[str]:
        return [key for key in self._all_sizes("") if key.endswith(_TORN)]

    def _all_sizes(self, prefix: str) -> Mapping[str, int]:
        return super().sizes(prefix) if self.path.exists() else {}


class Folder(DerivedFolder):
    """A local folder, whose files are read directly."""

    merging: ClassVar[Merging] = LOCAL

    @classmethod
    def at(cls, path: Path, *, read_only: bool) -> Folder:
        """The folder at an absolute path; it is made when something is put."""
        return cls(zarr.storage.LocalStore(path, read_only=read_only), path)

    @override
    def get(self, key: str) -> bytes | None:
        try:
            return (self.path / key).read_bytes()
        except FileNotFoundError:
            return None

    @override
    def _all_sizes(self, prefix: str) -> Mapping[str, int]:
        paths = (Path(top, name) for top, _, names in os.walk(self.path / prefix) for name in names)
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in paths}

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes]:
        # Not a memory map: a file cut short under one ends the process with SIGBUS, and its pages
        # count as the process's own memory. It would save 4 % of a read.
        try:
            with FileIO(f"{self.path}/{key}") as file:
                for start, stop in spans:
                    file.seek(start)
                    yield file.read(stop - start)
        except FileNotFoundError:
            yield from (b"" for _ in spans)


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk where a folder lies, or will be made."""
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def share_disk(one: Path, other: Path) -> bool:
    """Whether two folders lie, or will be made, on one disk."""
    devices = [next(p for p in (f, *f.absolute().parents) if p.exists()).stat().st_dev for f in (one, other)]
    return devices[0] == devices[1]


@functools.cache
def memory(name: str) -> zarr.storage.MemoryStore:  # noqa: ARG001 - the key
    """The objects that this process keeps under a name, as long as it lives."""
    return zarr.storage.MemoryStore()


async def _sizes(store: Store, prefix: str) -> dict[str, int]:
    keys: AsyncIterator[str] = store.list_prefix(prefix)
    return {key: await store.getsize(key) async for key in keys}
