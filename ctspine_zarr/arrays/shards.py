"""Voxels straight from a shard as `format.shard` writes it: its index once, then byte ranges.

A codec that the catalog names and this version knows is a promise of that layout: the array's
own `zarr.json` is not read, and a shard that lies otherwise is damaged.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Buffer, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, tee
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.indexing import Request, touched_chunks
from ctspine_zarr.arrays.threads import default_threads, require_threads, share_out
from ctspine_zarr.errors import DamagedStore, Malformed
from ctspine_zarr.format.codecs import Box, Chunk, Codec, PlainChunk, without_checksum
from ctspine_zarr.format.layout import CHUNK, SHARD, grid
from ctspine_zarr.format.shard import decode_index, index_size, place
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Merging, Storage

type Parts = dict[int, list[tuple[Box, NDArray[Any]]]]
type Extent = tuple[int, int, int]  # a chunk's number, and where its bytes start and stop

# Of indices, and of small shards that are read whole: nearly a thousand masks.
_KEPT_BYTES: Final = 1 << 26
# With fewer chunks a thread, telling a helper costs more than it saves.
_LEAST_CHUNKS: Final = 8
# What is kept of a shard beside its chunks, which have numbers from 0 on.
_WHOLE_SHARD, _INDEX = -1, -2
_WHOLE: Final[Box] = (slice(None), slice(None), slice(None))
# Zeros of any dtype, at no cost in memory.
_ABSENT: Final = np.broadcast_to(np.uint8(0), CHUNK)


@dataclass(frozen=True, slots=True)
class Reading:
    """How, and by which catalog, a store is read.

    Attributes:
        threads: that one read may use; None for every usable core, but 1 in a process that
            multiprocessing started.
        cache: of decoded chunks, where any are kept.
        catalog: sha256 of the catalog; it tells apart two stores that were at one location.
        kept: indices and small shards as stored, where each request is a round trip.
    """

    threads: int | None = None
    cache: ArrayCache | None = None
    catalog: str = ""
    kept: ArrayCache = field(default_factory=functools.partial(ArrayCache, _KEPT_BYTES), compare=False)

    def __post_init__(self) -> None:
        require_threads(self.threads)


@dataclass(frozen=True)
class Shard:
    """The one shard of an array.

    Attributes:
        storage: of the store.
        path: of the array below the store.
        shape, dtype: of the array.
        stored_bytes: size of the shard; 0 where it has none, every voxel being 0.
        codec: of its chunks.
        reading: how it is read.
    """

    storage: Storage
    path: str
    shape: Shape
    dtype: np.dtype[Any]
    stored_bytes: int
    codec: Codec
    reading: Reading

    def read(self, requests: Sequence[Request]) -> None:
        """Fill the requests' targets; a chunk that several touch is decoded once for all.

        What fails a check is asked for once more where it came over a net: a cache or a proxy may
        be to blame.

        Raises:
            DamagedStore: the shard is missing, cut, or fails a checksum; targets are part filled.
            StorageError: the storage itself fails.
            MissingDependency: the codec needs a library that is not installed.
        """
        try:
            self._read(requests)
        except DamagedStore:
            if not self.storage.merging.at_once:
                raise
            self._distrust()
            self._read(requests)

    def _read(self, requests: Sequence[Request]) -> None:
        parts = touched_chunks(requests, self.shape)
        wanted = [
            found for found in self._extents(sorted(parts)) if not self._fill_from_memory(*found, parts)
        ]
        if not wanted:
            return
        runs = list(_merged(wanted, self.storage.merging))
        threads = min(self.reading.threads or default_threads(), 1 + len(wanted) // _LEAST_CHUNKS)
        if self.storage.merging.at_once:
            share_out(lambda pieces: self._fill(pieces, parts), list(self._fetch(runs)), threads)
        else:
            share_out(lambda runs: self._fetch_and_fill(runs, parts), runs, threads)

    def _fill_from_memory(self, number: int, start: int, stop: int, parts: Parts) -> bool:
        """Whether the chunk is absent or cached, and so needs no reading."""
        voxels = _ABSENT if start == stop else None
        if voxels is None and self.reading.cache:
            voxels = self.reading.cache.get((self.path, number))
        if voxels is not None:
            _copy(PlainChunk(voxels), parts[number])
        return voxels is not None

    def _extents(self, numbers: Sequence[int]) -> list[Extent]:
        first = np.array(numbers, np.intp)
        return list(zip(numbers, self._bounds[first].tolist(), self._bounds[first + 1].tolist(), strict=True))

    def _fetch(self, runs: Iterable[Sequence[Extent]]) -> Generator[tuple[int, memoryview]]:
        """Each chunk of the runs and its bytes; a run is taken when the one before is used up."""
        runs, again = tee(runs)
        spans = ((run[0][1], run[-1][2]) for run in again)
        for run, data in zip(runs, self._stored(spans), strict=True):
            first = run[0][1]
            self._require_all(data, first, run[-1][2])
            view = memoryview(data)
            for number, start, stop in run:
                yield number, view[start - first : stop - first]

    def _fill(self, pieces: Iterable[tuple[int, memoryview]], parts: Parts) -> None:
        for number, data in pieces:
            # No name holds the chunk, so that the next one finds its memory, still in the cache.
            _copy(self._decoded(number, data), parts[number])

    def _fetch_and_fill(self, runs: Iterable[Sequence[Extent]], parts: Parts) -> None:
        # A kept exception keeps the generator: closed, it keeps no file.
        with contextlib.closing(self._fetch(runs)) as pieces:
            self._fill(pieces, parts)

    def _decoded(self, number: int, data: memoryview) -> Chunk:
        try:
            chunk = self.codec.decompress(without_checksum(data))
        except Malformed as error:
            message = f"{self._name}, chunk {place(number, self.shape)}: {error}; run verify"
            raise DamagedStore(message) from error
        if self.reading.cache is None:
            return chunk
        voxels = np.empty(CHUNK, self.dtype)
        chunk.copy_to(voxels, _WHOLE)
        self.reading.cache.put((self.path, number), voxels)
        return PlainChunk(voxels)

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """Kept for as long as this object: 8 bytes a chunk, 16 kB for 500 slices of 512 x 512."""
        if not self.stored_bytes:
            return np.zeros(math.prod(grid(self.shape)) + 1, np.int64)
        if self._body < 0:
            message = f"{self._name}: the catalog says {self.stored_bytes} bytes, fewer than its index has"
            raise DamagedStore(message)
        if not self.storage.merging.at_once:
            return self._decoded_index(self._fetched(self._body))
        if self._is_small:
            return self._decoded_index(memoryview(self._whole)[self._body :])
        index = (self.path, _INDEX)
        return self.reading.kept.get_or_make(index, lambda: self._decoded_index(self._fetched(self._body)))

    @property
    def _whole(self) -> NDArray[np.uint8]:
        """Every byte of a small shard, its index included: one request, and then none."""
        return self.reading.kept.get_or_make(
            (self.path, _WHOLE_SHARD), lambda: np.frombuffer(self._fetched(0), np.uint8)
        )

    @property
    def _is_small(self) -> bool:
        return self.stored_bytes <= self.storage.merging.whole

    @property
    def _body(self) -> int:
        """Bytes before the index."""
        return self.stored_bytes - index_size(self.shape)

    def _stored(self, spans: Iterable[tuple[int, int]]) -> Iterable[bytes | memoryview]:
        """The bytes of the shard from start to stop, for each span."""
        if not self._is_small:
            return self.storage.ranges(self._key, spans)
        whole = memoryview(self._whole)
        return (whole[start:stop] for start, stop in spans)

    def _fetched(self, start: int) -> bytes | memoryview:
        """The bytes from `start` to the end, all of them."""
        [data] = self.storage.ranges(self._key, [(start, self.stored_bytes)])
        self._require_all(data, start, self.stored_bytes)
        return data

    def _decoded_index(self, data: Buffer) -> NDArray[np.int64]:
        try:
            return decode_index(data, self.shape, self._body)
        except Malformed as error:
            message = f"{self._name}, index of its shard: {error}; run verify"
            raise DamagedStore(message) from error

    def _distrust(self) -> None:
        """Ask anew for all that was read of the shard."""
        self.storage.distrust(self._key)
        for part in (_INDEX, _WHOLE_SHARD):
            self.reading.kept.drop((self.path, part))
        self.__dict__.pop("_bounds", None)

    def _require_all(self, data: bytes | memoryview, start: int, stop: int) -> None:
        if len(data) == stop - start:
            return
        size = self.storage.size(self._key)
        seen = "is missing" if size is None else f"has {size} bytes"
        if size == self.stored_bytes:
            seen = f"gave {len(data)} bytes of {stop - start} asked for"
        message = f"{self._name}: its shard {seen}; the catalog says {self.stored_bytes}; run verify"
        raise DamagedStore(message)

    @property
    def _key(self) -> str:
        return f"{self.path}/{SHARD}"

    @property
    def _name(self) -> str:
        return f"{self.storage.location}, array {self.path}"


def _copy(chunk: Chunk, parts: list[tuple[Box, NDArray[Any]]]) -> None:
    for box, target in parts:
        chunk.copy_to(target, box)


def _merged(extents: Sequence[Extent], merging: Merging) -> Iterator[list[Extent]]:
    """Chunks in order of start, in runs that are each read as one range."""
    run: list[Extent] = []
    wanted = 0
    for piece in _touching(extents, merging.longest):
        size = piece[-1][2] - piece[0][1]
        if run and not _are_one(run, piece, wanted + size, merging):
            yield run
            run, wanted = [], 0
        run += piece
        wanted += size
    yield run


def _are_one(run: Sequence[Extent], piece: Sequence[Extent], wanted: int, merging: Merging) -> bool:
    """Whether a run and the next piece are better read as one range, of which so many bytes are wanted."""
    gap, total = piece[0][1] - run[-1][2], piece[-1][2] - run[0][1]
    return gap <= merging.gap and total <= merging.longest and total <= merging.waste * wanted


def _touching(extents: Sequence[Extent], longest: int) -> Iterator[list[Extent]]:
    """Chunks in order of start, in pieces without a gap, of at most `longest` bytes."""
    piece = [extents[0]]
    for before, after in pairwise(extents):
        if after[1] != before[2] or after[2] - piece[0][1] > longest:
            yield piece
            piece = []
        piece.append(after)
    yield piece
