"""Voxels straight from a shard as `format.shard` writes it: its index once, then byte ranges; from afar
both at once, where the catalog tells of slabs.

A codec that the catalog names and this version knows is a promise of that layout: the array's
own `zarr.json` is not read, and a shard that lies otherwise is damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Buffer, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import batched, tee
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import fill_with
from ctspine_zarr.arrays.indexing import Ranges, Request, touched_numbers
from ctspine_zarr.arrays.native import Extent, NativeRead
from ctspine_zarr.arrays.reading import ArraySpec, Reading
from ctspine_zarr.arrays.runs import runs, spans
from ctspine_zarr.arrays.slabs import Held, beside_index
from ctspine_zarr.arrays.targets import Targets
from ctspine_zarr.arrays.threads import default_threads, share_out
from ctspine_zarr.errors import DamagedStore, Malformed
from ctspine_zarr.format.codecs import BatchCodec, Box, Chunk, Codec, PlainChunk, without_checksum
from ctspine_zarr.format.layout import SHARD
from ctspine_zarr.format.shard import decode_index, index_checksum, index_size, place
from ctspine_zarr.scaling import Scaling
from ctspine_zarr.storage import Merging, Span

# With fewer chunks a thread, telling a helper costs more than it saves.
_LEAST_CHUNKS: Final = 8
# Bytes; of 65,536 chunks.
_LARGE_INDEX: Final = 1 << 20
# What caches hold of a shard beside its chunks, which have numbers from 0 on.
_ALL_BYTES, _INDEX = -1, -2
_NOTHING: Final = Held()
_FULL_CHUNK: Final[Box] = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Shard:
    """The one shard of an array.

    Attributes:
        array: as the catalog has it.
        codec: of its chunks.
        reading: how it is read.
    """

    array: ArraySpec
    codec: Codec
    reading: Reading

    def read(self, requests: Sequence[Request], scaling: Scaling | None = None) -> None:
        """Fill the requests' targets; a chunk that several touch is decoded once for all.

        What fails a check is asked for once more where it came over a net: a cache or a proxy may
        be to blame.

        Args:
            requests: what is wanted; targets do not overlap.
            scaling: of the values, for targets of floats.

        Raises:
            DamagedStore: the shard is missing, cut, or fails a checksum; targets are part filled.
            StorageError: the storage itself fails.
            MissingDependency: the codec needs a library that is not installed.
        """
        try:
            self._read(requests, scaling)
        except DamagedStore:
            if not self._merging.at_once:
                raise
            self._distrust()
            self._read(requests, scaling)

    def _read(self, requests: Sequence[Request], scaling: Scaling | None) -> None:
        if not self.array.stored_bytes:
            for request in requests:
                fill_with(request.target, 0, self.array.dtype, scaling)
            return
        # A catalog that lies must not take memory for chunks that no shard has: its index comes first.
        held = self._with_index(requests)
        left, held = self._by_kernel(requests, scaling, held)
        if left is None:
            self._by_python(self._targets(requests, scaling), held)
        elif left:
            self._by_python(self._targets(requests, scaling).only(left), held)

    def _with_index(self, requests: Sequence[Request]) -> Held:
        """Have the index known; what came together with it of what is wanted."""
        merging, held = self._merging, _NOTHING
        is_known = "_bounds" in self.__dict__ or self._is_small or self._body < 0
        if not merging.at_once or is_known or self.array.stored_bytes - self._body > _LARGE_INDEX:
            _ = self._bounds
            return held

        def fetch() -> NDArray[np.int64]:
            nonlocal held
            index, held = self._fetched_with_index(requests)
            return self._decoded_index(index)

        self.__dict__["_bounds"] = self.reading.shard_cache.get_or_make((self.array.path, _INDEX), fetch)
        return held

    def _by_kernel(
        self, requests: Sequence[Request], scaling: Scaling | None, held: Held
    ) -> tuple[list[int] | None, Held]:
        """Read by the kernel: the chunks that it leaves, None for all; and what is there by then."""
        native = None if self.reading.cache else self._native(requests, scaling)
        if native is None:
            return None, held
        if not self._merging.at_once:
            with self.array.storage.file(self._key) as file:
                if file is None:
                    return None, held
                return native.from_file(file, self._merging, self._threads(None)), held
        numbers = touched_numbers(requests, self.array.shape, self.codec.chunk)
        wanted = spans(self._bounds[numbers], self._bounds[numbers + 1], self._merging)
        found = Held(list(self._parts(wanted, held)))
        return native.from_memory(found.parts, numbers.tolist(), self._threads(len(numbers))), found

    def _by_python(self, targets: Targets, held: Held) -> None:
        if self._merging.at_once:
            self._read_at_once(targets, held)
        else:
            self._read_in_turn(targets)

    def _native(self, requests: Sequence[Request], scaling: Scaling | None) -> NativeRead | None:
        """The kernel's part in a read; None where it has none."""
        return NativeRead.of(self.array, self.codec, self._bounds, requests, scaling)

    def _targets(self, requests: Sequence[Request], scaling: Scaling | None) -> Targets:
        return Targets.of(requests, self.array.shape, self.codec.chunk, self.array.dtype, scaling)

    def _read_at_once(self, targets: Targets, held: Held) -> None:
        """Ask for all that is wanted and not held, then decode it."""
        chunks = list(self._fetch(self._runs(targets), held))
        share_out(lambda chunks: self._fill(chunks, targets), chunks, self._threads(len(chunks)))

    def _read_in_turn(self, targets: Targets) -> None:
        """Ask for some of what is wanted, decode it, and so on."""
        runs = self._runs(targets)
        threads = self._threads(sum(map(len, runs)))
        share_out(lambda runs: self._fetch_and_fill(runs, targets), runs, threads)

    def _threads(self, chunks: int | None) -> int:
        """For so many chunks, or for as many as there may be."""
        most = self.reading.threads or default_threads()
        return most if chunks is None else min(most, 1 + chunks // _LEAST_CHUNKS)

    def _runs(self, targets: Targets) -> list[list[Extent]]:
        """Chunks that have to be read; what is absent or cached is written to its targets now."""
        wanted = [
            found
            for found in self._extents(sorted(targets.parts))
            if not self._fill_from_memory(*found, targets)
        ]
        _, starts, stops = np.array(wanted, np.int64).reshape(-1, 3).T
        return [wanted[first:last] for first, last in runs(starts, stops, self._merging)]

    def _fill_from_memory(self, number: int, start: int, stop: int, targets: Targets) -> bool:
        """Whether the chunk is absent or cached, and so needs no reading."""
        if start == stop:
            targets.fill_empty(number)
            return True
        voxels = self.reading.cache.get((self.array.path, number)) if self.reading.cache else None
        if voxels is not None:
            targets.fill(number, PlainChunk(voxels))
        return voxels is not None

    def _extents(self, numbers: Sequence[int]) -> list[Extent]:
        first = np.array(numbers, np.intp)
        return list(zip(numbers, self._bounds[first].tolist(), self._bounds[first + 1].tolist(), strict=True))

    def _fetch(
        self, taken: Iterable[Sequence[Extent]], held: Held = _NOTHING
    ) -> Generator[tuple[Extent, memoryview]]:
        """Each chunk of the runs and its bytes; a run is taken when the one before is used up."""
        taken, again = tee(taken)
        wanted = ((run[0][1], run[-1][2]) for run in again)
        for run, (first, data) in zip(taken, self._parts(wanted, held), strict=True):
            for extent in run:
                _, start, stop = extent
                yield extent, data[start - first : stop - first]

    def _fill(self, chunks: Iterable[tuple[Extent, memoryview]], targets: Targets) -> None:
        if isinstance(self.codec, BatchCodec) and self.codec.batch > 1:
            for batch in batched(chunks, self.codec.batch):
                self._fill_at_once(batch, self.codec, targets)
            return
        for extent, data in chunks:
            # No name holds the chunk, so that the next one finds its memory, still in the cache.
            targets.fill(extent[0], self._decoded(extent, data))

    def _fill_at_once(
        self, batch: Sequence[tuple[Extent, memoryview]], codec: BatchCodec, targets: Targets
    ) -> None:
        try:
            chunks = codec.decompress_batch([without_checksum(data) for _, data in batch])
        except Malformed:
            # One by one, the damaged one is named.
            for extent, data in batch:
                targets.fill(extent[0], self._decoded(extent, data))
            return
        for ((number, _, _), _), voxels in zip(batch, chunks, strict=True):
            if self.reading.cache is not None:
                self.reading.cache.put((self.array.path, number), voxels.copy())
            targets.fill(number, PlainChunk(voxels))

    def _fetch_and_fill(self, runs: Iterable[Sequence[Extent]], targets: Targets) -> None:
        # A kept exception keeps the generator: closed, it keeps no file.
        with contextlib.closing(self._fetch(runs)) as chunks:
            self._fill(chunks, targets)

    def _decoded(self, extent: Extent, data: memoryview) -> Chunk:
        """A chunk, which the cache has from now on, where there is one."""
        if self.reading.cache is None:
            return self._decompressed(extent, data)
        voxels = np.empty(self.codec.chunk, self.array.dtype)
        native = self._native([Request(self._box(extent), voxels)], None)
        if native is None or native.from_memory([(extent[1], data)], [extent[0]], 1):
            self._decompressed(extent, data).copy_to(voxels, _FULL_CHUNK)
        self.reading.cache.put((self.array.path, extent[0]), voxels)
        return PlainChunk(voxels)

    def _box(self, extent: Extent) -> Ranges:
        """Positions of all voxels of a chunk, padding included."""
        at = place(extent[0], self.array.shape, self.codec.chunk)
        z, y, x = (
            range(one * edge, (one + 1) * edge) for one, edge in zip(at, self.codec.chunk, strict=True)
        )
        return z, y, x

    def _decompressed(self, extent: Extent, data: memoryview) -> Chunk:
        try:
            return self.codec.decompress(without_checksum(data))
        except Malformed as error:
            at = place(extent[0], self.array.shape, self.codec.chunk)
            message = f"{self.array.name}, chunk {at}: {error}; run verify"
            raise DamagedStore(message) from error

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """Kept for as long as this object: 8 bytes a chunk, 16 kB for 500 slices of 512 x 512."""
        if self._body < 0:
            stored = f"the catalog says {self.array.stored_bytes} bytes"
            message = f"{self.array.name}: {stored}, fewer than its index has"
            raise DamagedStore(message)
        if not self._merging.at_once:
            return self._decoded_index(self._fetched(self._body))
        if self._is_small:
            return self._decoded_index(memoryview(self._all_bytes)[self._body :])
        return self.reading.shard_cache.get_or_make(
            (self.array.path, _INDEX), lambda: self._decoded_index(self._fetched(self._body))
        )

    @property
    def _all_bytes(self) -> NDArray[np.uint8]:
        """The bytes of a small shard, its index included: one request, and then none."""
        return self.reading.shard_cache.get_or_make(
            # In memory of its own: what it came in may be larger, and serves others.
            (self.array.path, _ALL_BYTES),
            lambda: np.array(memoryview(self._fetched(0))),
        )

    @property
    def _merging(self) -> Merging:
        return self.array.storage.merging

    @property
    def _is_small(self) -> bool:
        return self.array.stored_bytes <= self._merging.small_bytes

    @property
    def _body(self) -> int:
        """Bytes before the index."""
        return self.array.stored_bytes - index_size(self.array.shape, self.codec.chunk)

    def _parts(self, wanted: Iterable[Span], held: Held = _NOTHING) -> Iterator[tuple[int, memoryview]]:
        """For each span of the shard, in order, where it starts, and its bytes, all of them."""
        wanted, again = tee(wanted)
        for (start, stop), data in zip(wanted, self._stored(again, held), strict=True):
            self._require_all(data, start, stop)
            yield start, memoryview(data)

    def _stored(self, wanted: Iterable[Span], held: Held) -> Iterable[bytes | memoryview]:
        """The bytes of the shard from start to stop, for each span; fewer where it has no more."""
        if self._is_small:
            data = memoryview(self._all_bytes)
            return (data[start:stop] for start, stop in wanted)
        if not held.parts:
            return self.array.storage.ranges(self._key, wanted)
        found = [(span, held.get(span)) for span in wanted]
        # A catalog that lies of slabs costs another round trip, and no more.
        asked = self.array.storage.ranges(self._key, [span for span, data in found if data is None])
        return (next(asked) if data is None else data for _, data in found)

    def _fetched_with_index(self, requests: Sequence[Request]) -> tuple[memoryview, Held]:
        """The bytes of the index, and those that are best asked for together with it."""
        slabs = beside_index(self.array, self.codec.chunk, requests, self._merging)
        (_, index), *found = self._parts([(self._body, self.array.stored_bytes), *slabs])
        return index, Held(found)

    def _fetched(self, start: int) -> bytes | memoryview:
        """The bytes from `start` to the end, all of them."""
        stop = self.array.stored_bytes
        # A catalog that lies must not take memory for an index that no shard has.
        if stop - start > _LARGE_INDEX and self.array.storage.size(self._key) != stop:
            self._require_all(b"", start, stop)
        [data] = self.array.storage.ranges(self._key, [(start, stop)])
        self._require_all(data, start, stop)
        return data

    def _decoded_index(self, data: Buffer) -> NDArray[np.int64]:
        try:
            bounds = decode_index(data, self.array.shape, self.codec.chunk, self._body)
        except Malformed as error:
            message = f"{self.array.name}, index of its shard: {error}; run verify"
            raise DamagedStore(message) from error
        if self.array.index_crc32c not in (None, index_checksum(data)):
            message = f"{self.array.name}: its index is not the one the catalog has; run verify"
            raise DamagedStore(message)
        return bounds

    def _distrust(self) -> None:
        """Ask anew for all that was read of the shard."""
        self.array.storage.distrust(self._key)
        for part in (_INDEX, _ALL_BYTES):
            self.reading.shard_cache.drop((self.array.path, part))
        self.__dict__.pop("_bounds", None)

    def _require_all(self, data: bytes | memoryview, start: int, stop: int) -> None:
        if len(data) == stop - start:
            return
        size = self.array.storage.size(self._key)
        seen = "is missing" if size is None else f"has {size} bytes"
        if size == self.array.stored_bytes:
            seen = f"gave {len(data)} bytes of {stop - start} asked for"
        expected = f"the catalog says {self.array.stored_bytes}"
        message = f"{self.array.name}: its shard {seen}; {expected}; run verify"
        raise DamagedStore(message)

    @property
    def _key(self) -> str:
        return f"{self.array.path}/{SHARD}"
