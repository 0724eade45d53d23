"""Stores of zarr-python's: memory, and whatever else a user hands over."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeGuard, override

import zarr.storage
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ctspine_zarr.concurrency.requests import all_at_once
from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage.backend import DISTANT, Backend, Merging, Span
from ctspine_zarr.storage.folder import Folder
from ctspine_zarr.storage.fork_safety import require_own_threads
from ctspine_zarr.storage.handle import Storage
from ctspine_zarr.storage.keys import require_size


@dataclass(frozen=True)
class ZarrStore(Backend):
    """A zarr store object of any class, through its asynchronous methods."""

    store: Store

    @property
    @override
    def is_shared(self) -> bool:
        return False

    @property
    @override
    def is_fork_safe(self) -> bool:
        return not isinstance(self.store, zarr.storage.ObjectStore)

    @override
    def get(self, key: str, most: int) -> bytes | None:
        return _get(self.store, self.size(key), key, most)

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes]:
        self._require_threads()
        yield from all_at_once(lambda span: _ask(self.store, key, span) or b"", list(spans))

    @override
    def size(self, key: str) -> int | None:
        self._require_threads()
        try:
            return int(sync(self.store.getsize(key)))
        except FileNotFoundError:
            return None

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        self._require_threads()
        return sync(_sizes(self.store, prefix))

    @override
    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self._require_threads()
        _put(self.store, key, data)

    @override
    def remove(self, key: str) -> None:
        self._require_threads()
        sync(self.store.delete(key))

    def _require_threads(self) -> None:
        if not self.is_fork_safe:
            require_own_threads()


@dataclass(frozen=True)
class GivenFolder(Folder):
    """A folder whose objects a class derived from zarr's LocalStore reads and writes.

    All else is as with any folder: what is no object of the store never comes to that class.
    """

    # What its reads cost nobody knows, but the file is near: nothing is read that is not wanted soon.
    merging: ClassVar[Merging] = dataclasses.replace(DISTANT, small_bytes=0)

    store: Store = field()

    @override
    def __reduce__(self) -> tuple[Callable[..., Folder], tuple[Any, ...]]:
        return type(self), (self.path, self.read_only, self.store)

    @override
    def get(self, key: str, most: int) -> bytes | None:
        return _get(self.store, self.size(key), key, most)

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes]:
        yield from (self._span(key, span) for span in spans)

    def _span(self, key: str, span: Span) -> bytes:
        # Of what is not there, zarr would make the folder at a mere look; room is made for all of a range.
        start, stop = span[0], min(span[1], self.size(key) or 0)
        return (_ask(self.store, key, (start, stop)) or b"") if start < stop else b""

    @override
    def _write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self._require_folders(key.rpartition("/")[0])
        _put(self.store, key, data)


@functools.cache
def memory(name: str) -> zarr.storage.MemoryStore:  # noqa: ARG001 - the key
    """The objects that this process keeps under a name, as long as it lives."""
    return zarr.storage.MemoryStore()


def _get(store: Store, size: int | None, key: str, most: int) -> bytes | None:
    if size is None:
        return None
    require_size(size, most)
    return _ask(store, key)


def _ask(store: Store, key: str, span: Span | None = None) -> bytes | None:
    part = None if span is None else RangeByteRequest(*span)
    found = sync(store.get(key, default_buffer_prototype(), part))
    return None if found is None else found.to_bytes()


def _put(store: Store, key: str, data: bytes | bytearray | memoryview) -> None:
    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))


async def _sizes(store: Store, prefix: str) -> dict[str, int]:
    keys: AsyncIterator[str] = store.list_prefix(prefix)
    return {key: await store.getsize(key) async for key in keys}


def is_store(location: object) -> TypeGuard[Store]:
    """Whether a location is a zarr store object."""
    return isinstance(location, Store)


def given(store: Store, *, read_only: bool) -> Storage:
    """The storage that a zarr store object is.

    Raises:
        StorageError: it was opened to be read alone, and is to be written.
    """
    if store.read_only and not read_only:
        message = f"{store} was opened read-only; legal: a store that can be written"
        raise StorageError(message)
    if not isinstance(store, zarr.storage.LocalStore):
        return Storage(ZarrStore(store), str(store))
    path = Path(store.root).absolute()
    if type(store) is zarr.storage.LocalStore:
        # As good from any other working directory.
        return Storage(Folder(path, store.read_only), str(zarr.storage.LocalStore(path)))
    return Storage(GivenFolder(path, store.read_only, store), str(store))
