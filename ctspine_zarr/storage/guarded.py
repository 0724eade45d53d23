"""A storage as zarr-python reads it: with the checks of keys, links and sizes that `Storage` makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Final, NoReturn, override

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from ctspine_zarr.concurrency.background import pool
from ctspine_zarr.storage.backend import Span
from ctspine_zarr.storage.handle import Storage
from ctspine_zarr.storage.keys import MOST_BYTES, checked, require_size

_METADATA: Final = "zarr.json"
# Threads of their own: those that `Storage` uses are waited for here.
_MOST_AT_ONCE: Final = 64


class GuardedStore(Store):
    """The objects of a storage for zarr-python, to be read by their keys; none is written or listed.

    What zarr-python asks for is asked of the storage, in daemon threads of this process: a forked child
    has its own, and Ctrl-C waits for none.

    Args:
        storage: where the objects are.
        most_bytes: of an object, or of a range that is asked for.
        most_metadata_bytes: of a `zarr.json`.
    """

    def __init__(
        self, storage: Storage, most_bytes: int = MOST_BYTES, most_metadata_bytes: int = MOST_BYTES
    ) -> None:
        super().__init__(read_only=True)
        self._storage = storage
        self._most_bytes = most_bytes
        self._most_metadata_bytes = most_metadata_bytes

    def __str__(self) -> str:
        return self._storage.location

    @override
    def __eq__(self, value: object) -> bool:
        return isinstance(value, GuardedStore) and self._identity == value._identity

    @override
    def __hash__(self) -> int:
        return hash(self._storage.location)

    @property
    def _identity(self) -> tuple[Storage, int, int]:
        return self._storage, self._most_bytes, self._most_metadata_bytes

    @override
    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of an object, or of a part of it; None where there is none.

        Raises:
            StorageError: it cannot be read, or is longer than it may be.
        """
        data = await _in_thread(partial(self._read, key, byte_range))
        return None if data is None else prototype.buffer.from_bytes(data)

    @override
    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    @override
    async def exists(self, key: str) -> bool:
        return await _in_thread(partial(self._storage.size, key)) is not None

    @override
    async def getsize(self, key: str) -> int:
        size = await _in_thread(partial(self._storage.size, key))
        if size is None:
            raise FileNotFoundError(key)
        return size

    @property
    @override
    def supports_writes(self) -> bool:
        return False

    @property
    @override
    def supports_deletes(self) -> bool:
        return False

    @property
    @override
    def supports_listing(self) -> bool:
        return False

    @override
    async def set(self, key: str, value: Buffer) -> NoReturn:
        raise NotImplementedError

    @override
    async def delete(self, key: str) -> NoReturn:
        raise NotImplementedError

    @override
    def list(self) -> AsyncIterator[str]:
        raise NotImplementedError

    @override
    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError

    @override
    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError

    def _read(self, key: str, part: ByteRequest | None) -> bytes | memoryview | None:
        most = self._most_metadata_bytes if key.rpartition("/")[2] == _METADATA else self._most_bytes
        if part is None:
            return self._storage.get(key, most)
        span = self._span(key, part)
        if span is None:
            return None
        require_size(span[1] - span[0], most)
        [data] = self._storage.ranges(key, [checked(span)])
        is_missing = not data and self._storage.size(key) is None
        return None if is_missing else data

    def _span(self, key: str, part: ByteRequest) -> Span | None:
        """Where a part begins and ends; None where its end is to be found, and there is no object."""
        if isinstance(part, RangeByteRequest):
            return part.start, part.end
        size = self._storage.size(key)
        if size is None:
            return None
        if isinstance(part, OffsetByteRequest):
            return min(part.offset, size), size
        return max(0, size - part.suffix), size


async def _in_thread[Answer](ask: Callable[[], Answer]) -> Answer:
    return await asyncio.wrap_future(pool("zarr", _MOST_AT_ONCE).submit(ask))
