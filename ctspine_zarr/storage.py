"""Where a store lives: a location to a handle that gets, puts, lists and deletes objects.

The only module that knows about storage. A handle is a thin blocking face over a zarr store,
so that everything zarr can reach has one way in; it can be pickled where the zarr store can.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import zarr.storage
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ctspine_zarr.errors import NotAStore, StorageError

type Location = str | Path | Store

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LEGAL: Final = "a local path, file://PATH or a zarr Store object"
# What zarr's LocalStore leaves behind when a process dies between write and rename.
_TORN: Final = ".partial"


@dataclass(frozen=True, slots=True)
class Merging:
    """Which byte ranges of an object are better read as one.

    Attributes:
        gap: ranges at most this many unwanted bytes apart.
        longest: bytes of the result, unless one range alone is longer.
        at_once: whether all ranges of a read are best asked for together.
    """

    gap: int
    longest: int
    at_once: bool


# From the page cache, short reads find their bytes in the processor's cache again. Elsewhere
# each read is a round trip.
_LOCAL: Final = Merging(gap=1 << 12, longest=1 << 18, at_once=False)
_DISTANT: Final = Merging(gap=1 << 16, longest=1 << 24, at_once=True)


@dataclass(frozen=True)
class Storage:
    """The objects of one store.

    Attributes:
        zarr: the zarr store, for readers that want one.
        location: what a user would type to come here.
        path: the local folder, None where it is not one.
    """

    zarr: Store
    location: str
    path: Path | None = None

    def get(self, key: str) -> bytes | None:
        """An object; None where there is none.

        Raises:
            StorageError: it is there, or may be, and cannot be read.
        """
        if self._is_absent:
            return None
        with self._naming("read", key):
            found = sync(self.zarr.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def ranges(self, key: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """The bytes from start to stop for each range, in order; fewer, or none, where the object ends.

        From a disk, a range is taken when its bytes are asked for; elsewhere all are, at once.

        No handle outlives the iteration and no lock is held: any thread may read, and so may a
        process forked at any time.

        Raises:
            StorageError: the object is there, or may be, and cannot be read.
        """
        with self._naming("read", key):
            if self._is_plain_folder:
                yield from _read_ranges(f"{self.path}/{key}", ranges)
            else:
                yield from sync(_get_ranges(self.zarr, key, ranges))

    @property
    def merging(self) -> Merging:
        """What `ranges` reads fastest."""
        return _LOCAL if self._is_plain_folder else _DISTANT

    def put(self, key: str, data: bytes | bytearray) -> None:
        """Write an object whole; a reader sees all of it or none.

        Raises:
            StorageError: it could not be written.
        """
        with self._naming("write", key):
            buffer = default_buffer_prototype().buffer.from_bytes(data)
            sync(self.zarr.set(key, buffer))

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        try:
            with self._naming("measure", key):
                return int(sync(self.zarr.getsize(key)))
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise

    def keys(self, prefix: str = "") -> list[str]:
        """Keys that start with `prefix`, sorted; objects torn by a killed process are left out."""
        return sorted(key for key in self._listed(prefix) if not key.endswith(_TORN))

    def remove_below(self, path: str) -> None:
        """Remove every object of a group, torn ones included."""
        with self._naming("remove", path):
            sync(self.zarr.delete_dir(path))

    def remove(self, key: str) -> None:
        """Remove one object; no error where there is none."""
        with self._naming("remove", key):
            sync(self.zarr.delete(key))

    def remove_torn(self) -> None:
        """Remove what killed processes left half-written anywhere."""
        for key in self._listed(""):
            if key.endswith(_TORN):
                self.remove(key)

    @property
    def is_shared(self) -> bool:
        """Whether another process that gets this handle sees the same objects."""
        return self.path is not None

    def free_bytes(self) -> int | None:
        """Bytes free where the store lies; None where nobody can say."""
        if self.path is None:
            return None
        existing = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        return shutil.disk_usage(existing).free

    @property
    def _is_plain_folder(self) -> bool:
        # A class derived from LocalStore may well have a `get` of its own.
        return type(self.zarr) is zarr.storage.LocalStore

    @property
    def _is_absent(self) -> bool:
        """Whether the folder is yet to be made; zarr would make it at a mere look."""
        return self.path is not None and not self.path.exists()

    def _listed(self, prefix: str) -> list[str]:
        if self._is_absent:
            return []
        with self._naming("list", prefix):
            return sync(_collect(self.zarr.list_prefix(prefix)))

    @contextmanager
    def _naming(self, action: str, key: str) -> Iterator[None]:
        try:
            yield
        except NotImplementedError as error:
            message = f"cannot {action} {key!r}: {type(self.zarr).__name__} has no such operation"
            raise StorageError(message) from error
        # What a store object raises is its own affair: BadZipFile is no OSError.
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            message = f"cannot {action} {key!r} in {self.location}: {reason}"
            raise StorageError(message) from error


def open_storage(location: Location, *, read_only: bool = False) -> Storage:
    """The storage at a location; nothing is created before the first put.

    Args:
        location: a local path, a file:// URL or a zarr Store object.
        read_only: nothing will be put.

    Raises:
        NotAStore: read-only and there is nothing.
        StorageError: a kind of location that is not supported, a file, or a store object
            that cannot be written where it must be.
    """
    if isinstance(location, Store):
        return _given(location, read_only=read_only)
    if not str(location):
        message = f"the store's location is empty; legal: {_LEGAL}"
        raise StorageError(message)
    path = _local_path(location).absolute()
    if read_only and not path.exists():
        message = f"no store at {path}: there is no such folder"
        raise NotAStore(message)
    if path.exists() and not path.is_dir():
        message = f"{path} is a file; legal: a folder, there or to be made"
        raise StorageError(message)
    return Storage(zarr.storage.LocalStore(path, read_only=read_only), str(path), path)


def _given(store: Store, *, read_only: bool) -> Storage:
    if store.read_only and not read_only:
        message = f"{store} was opened read-only; legal: a store that can be written"
        raise StorageError(message)
    if not isinstance(store, zarr.storage.LocalStore):
        return Storage(store, str(store))
    path = Path(store.root).absolute()
    if type(store) is zarr.storage.LocalStore:
        # As good from any other working directory.
        store = zarr.storage.LocalStore(path, read_only=store.read_only)
    return Storage(store, str(store), path)


def _local_path(location: object) -> Path:
    if not isinstance(location, str | Path):
        message = f"location {location!r}; legal: {_LEGAL}"
        raise StorageError(message)
    if isinstance(location, Path) or _SCHEME.match(location) is None:
        return Path(location).expanduser()
    parts = urllib.parse.urlsplit(location)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        message = f"cannot open {location}: {parts.scheme}:// is not supported; legal: {_LEGAL}"
        raise StorageError(message)
    return Path(urllib.request.url2pathname(parts.path))


async def _collect(keys: AsyncIterator[str]) -> list[str]:
    return [key async for key in keys]


def _read_ranges(path: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    # Not a memory map: a file cut short under one ends the process with SIGBUS, and its pages
    # count as the process's own memory. It would save 4 % of a read.
    try:
        with FileIO(path) as file:
            for start, stop in ranges:
                file.seek(start)
                yield file.read(stop - start)
    except FileNotFoundError:
        yield from (b"" for _ in ranges)


async def _get_ranges(store: Store, key: str, ranges: Iterable[tuple[int, int]]) -> list[bytes]:
    prototype = default_buffer_prototype()
    requests = (store.get(key, prototype, RangeByteRequest(start, stop)) for start, stop in ranges)
    return [b"" if found is None else found.to_bytes() for found in await asyncio.gather(*requests)]
