"""Where the time of a read goes without the kernel: clocks inside the engine's own path, one thread."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar
from unittest import mock

from numpy.typing import NDArray

import ctspine_zarr as cz
from benchmarks.peers import Box, Material
from ctspine_zarr.format.codecs import Box as Inside
from ctspine_zarr.format.codecs import Chunk, Codec, without_checksum
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Storage

READING, CHECKSUMS, ZSTD, UNSHUFFLING, REST = (
    "reading bytes",
    "checksums",
    "zstd",
    "un-shuffling to its place",
    "indexing, Python",
)
OUTSIDE = "outside checksums and decoding"


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys((READING, CHECKSUMS, ZSTD, UNSHUFFLING), 0.0)

    def timed[**P, T](self, name: str, work: Callable[P, T]) -> Callable[P, T]:
        def wrapped(*arguments: P.args, **options: P.kwargs) -> T:
            begun = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                self.seconds[name] += time.perf_counter() - begun

        return wrapped


@dataclasses.dataclass(frozen=True)
class TimedChunk:
    """A chunk that is timed as it is un-shuffled to its place."""

    chunk: Chunk
    clock: Clock

    def copy_to(self, target: NDArray[Any], box: Inside) -> None:
        self.clock.timed(UNSHUFFLING, self.chunk.copy_to)(target, box)


@dataclasses.dataclass(frozen=True)
class TimedCodec:
    """A codec that is timed as it decompresses."""

    name: ClassVar[str] = "timed"

    codec: Codec
    clock: Clock

    @property
    def chunk(self) -> Shape:
        return self.codec.chunk

    @property
    def metadata(self) -> list[dict[str, Any]]:
        return self.codec.metadata

    @property
    def kernel_form(self) -> None:
        return None

    def compress(self, chunk: NDArray[Any]) -> bytes:
        return self.codec.compress(chunk)

    def decompress(self, data: memoryview) -> TimedChunk:
        return TimedChunk(self.clock.timed(ZSTD, self.codec.decompress)(data), self.clock)


@dataclasses.dataclass(frozen=True)
class TimedStorage(Storage):
    """A storage that is timed as it reads."""

    clock: Clock = dataclasses.field(default_factory=Clock)

    def ranges(self, key: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | memoryview]:
        found = super().ranges(key, ranges)
        take = self.clock.timed(READING, lambda: next(found, None))
        while (data := take()) is not None:
            yield data


def shares(material: Material, boxes: list[Box]) -> dict[str, float]:
    """Median share of each part of the engine's time, over the boxes; they may not add up to 1."""
    clock = Clock()
    voxels = cz.open_store(material.store, threads=1)[material.record.id].voxels("image")
    storage = voxels.array.storage
    timed = dataclasses.replace(
        voxels,
        codec=TimedCodec(voxels.codec, clock) if voxels.codec else None,
        array=dataclasses.replace(
            voxels.array, storage=TimedStorage(storage.backend, storage.location, clock)
        ),
    )
    _ = timed[boxes[0]]
    found: dict[str, list[float]] = {}
    checksums = clock.timed(CHECKSUMS, without_checksum)
    with mock.patch("ctspine_zarr.arrays.shards.without_checksum", checksums):
        for box in boxes:
            clock.seconds = dict.fromkeys(clock.seconds, 0.0)
            begun = time.perf_counter()
            _ = timed[box]
            total = time.perf_counter() - begun
            parts = clock.seconds | {REST: total - sum(clock.seconds.values())}
            parts[OUTSIDE] = parts[READING] + parts[REST]
            for part, seconds in parts.items():
                found.setdefault(part, []).append(seconds / total)
    return {part: statistics.median(values) for part, values in found.items()}


def report(shares: dict[str, float]) -> None:
    parts = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    print(f"\nwhere the time of a 96-cube goes without the kernel, one thread: {parts}\n")
