"""One array as one `sharding_indexed` object: chunks in C order, then their index.

The layout is that of the Zarr v3 sharding codec: for every chunk of the grid, in C order,
its offset and size as two little-endian uint64 (both 2**64 - 1 where the chunk is absent),
then the crc32c of those bytes.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections import deque
from collections.abc import Buffer, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.codecs import (
    CHECKSUM,
    CHECKSUM_BYTES,
    LITTLE,
    Codec,
    with_checksum,
    without_checksum,
)
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.layout import grid
from ctspine_zarr.format.strips import Encoded, encode_strip, strips
from ctspine_zarr.geometry import Shape

type Mapper = Callable[[Callable[[NDArray[Any]], Encoded], Iterable[NDArray[Any]]], Iterable[Encoded]]

_ABSENT: Final = 2**64 - 1
ENTRY_BYTES: Final = 16
"""Of a chunk in the index."""

SMALL_SHARD: Final = 1 << 19
"""Bytes of a shard that from afar is read whole: where its slabs lie is of no use then."""

_SLAB: Final = struct.Struct("<I")


def slabs[T: np.generic](volume: NDArray[T], chunk: Shape) -> Iterator[NDArray[T]]:
    """The (z, y, x) volume in views as thick as a chunk; the last may be thinner."""
    for start in range(0, len(volume), chunk[0]):
        yield volume[start : start + chunk[0]]


def _ignore(data: memoryview) -> None:
    """The default of `see`, which does nothing."""


def encode_shard(
    rows: Iterable[NDArray[Any]],
    codec: Codec,
    *,
    keep_empty: bool,
    each: Mapper = map,
    see: Callable[[memoryview], object] = _ignore,
    room: int = 0,
) -> memoryview:
    """The bytes of an array's one shard, from its slabs in order of z.

    Equal to what zarr-python writes for the same array and codecs with
    `subchunk_write_order="lexicographic"`.

    Args:
        rows: as `slabs` gives them for the codec's chunk, little-endian. One may be changed once the next
            but one is asked for.
        codec: for the rows' dtype.
        keep_empty: store chunks that are all zero; otherwise they are absent from the index.
        each: `map`, or an executor's, which compresses the strips of a slab side by side.
        see: told of the shard's bytes, part by part in order.
        room: bytes that the shard will not exceed, see `most_bytes`. They are set aside without being
            written to: what grows instead leaves holes behind.

    Returns:
        The shard; no bytes at all where every chunk is absent.
    """
    encode = partial(encode_strip, codec=codec, keep_empty=keep_empty)
    body = _Body(room)
    index: list[tuple[int, int]] = []
    for encoded in _one_ahead(each(encode, strips(row, codec.chunk)) for row in rows):
        for data, sizes in encoded:
            ends = itertools.accumulate(sizes, initial=body.size)
            index += [
                (end, size) if size else (_ABSENT, _ABSENT) for end, size in zip(ends, sizes, strict=False)
            ]
            body.append(data)
        see(body.rest())
    if body.size:
        data = with_checksum(np.array(index, dtype="<u8").tobytes())
        body.append(data)
        see(body.rest())
    return body.content()


class _Body:
    """Bytes that come part by part.

    Attributes:
        size: how many there are.
    """

    def __init__(self, room: int) -> None:
        self.size = self._given = 0
        self._memory = np.empty(room, np.uint8)

    def append(self, data: bytes) -> None:
        end = self.size + len(data)
        if end > len(self._memory):
            grown = np.empty(2 * end, np.uint8)
            grown[: self.size] = self._memory[: self.size]
            self._memory = grown
        self._memory[self.size : end] = np.frombuffer(data, np.uint8)
        self.size = end

    def rest(self) -> memoryview:
        """What was not given before; it stays as it is."""
        begin, self._given = self._given, self.size
        return self.content()[begin:]

    def content(self) -> memoryview:
        return memoryview(self._memory)[: self.size]


def most_bytes(shape: Shape, codec: Codec, dtype: np.dtype[Any]) -> int:
    """Bytes of a shard at the most: chunks that do not compress, with what codecs add to them."""
    size = math.prod(codec.chunk) * dtype.itemsize
    chunks = math.prod(grid(shape, codec.chunk))
    return chunks * (size + size // 128 + 128) + index_size(shape, codec.chunk)


def index_size(shape: Shape, chunk: Shape) -> int:
    """Bytes of the index of an array's shard."""
    return math.prod(grid(shape, chunk)) * ENTRY_BYTES + CHECKSUM_BYTES


def index_checksum(shard: Buffer) -> int:
    """The crc32c that ends a shard's index, and so the shard; 0 where it has no bytes at all."""
    return int.from_bytes(memoryview(shard)[-CHECKSUM_BYTES:], "little")


def decode_index(data: Buffer, shape: Shape, chunk: Shape, body_size: int) -> NDArray[np.int64]:
    """Where each chunk of an array's shard lies.

    Args:
        data: the shard's last `index_size` bytes.
        shape, chunk: of the array and of its chunks.
        body_size: bytes of the shard before its index.

    Returns:
        int64, read-only, one bound more than there are chunks: chunk i in C order is the bytes from bound
        bound i + 1, and absent where both are equal.

    Raises:
        Malformed: its checksum fails, or the chunks do not lie as `encode_shard` puts them, in
            C order without gap from the first byte to the index.
    """
    if native.kernel is not None:
        known = native.kernel.decode_index(
            memoryview(data).toreadonly(), math.prod(grid(shape, chunk)), body_size
        )
        if known is not None:
            return np.frombuffer(known, np.int64)
    index = np.frombuffer(without_checksum(data), "<u8").reshape(-1, 2)
    offsets, sizes = index.T
    absent = (index == _ABSENT).all(axis=1)
    bounds = np.zeros(len(index) + 1, np.int64)
    # Sizes beyond the body would overflow the sum; cut to it, they still break the order.
    np.cumsum(np.where(absent, 0, np.minimum(sizes, body_size + 1)).astype(np.int64), out=bounds[1:])
    lies = ~absent & ((offsets != bounds[:-1]) | (sizes == 0) | (bounds[1:] > body_size))
    if lies.any():
        number = int(lies.argmax())
        offset, size = index[number].tolist()
        seen = f"chunk {place(number, shape, chunk)} at byte {offset} in {size} bytes"
        message = f"it has {seen}; legal: at byte {bounds[number]}, ending by {body_size}"
        raise Malformed(message)
    if bounds[-1] != body_size:
        message = f"its chunks end at byte {bounds[-1]}; legal: {body_size}, where its index begins"
        raise Malformed(message)
    bounds.flags.writeable = False
    return bounds


def packed_slabs(shard: memoryview, shape: Shape, chunk: Shape) -> bytes:
    """Bytes of each slab of chunks of a shard, in order of z, as `unpacked_slabs` reads them.

    Empty for a small shard, and for one with a slab of 4 GiB or more.
    """
    if len(shard) <= SMALL_SHARD:
        return b""
    body = len(shard) - index_size(shape, chunk)
    edges = decode_index(shard[body:], shape, chunk, body)[:: math.prod(grid(shape, chunk)[1:])]
    sizes = np.diff(edges)
    return b"" if sizes.max() >= 1 << 8 * _SLAB.size else sizes.astype("<u4").tobytes()


def unpacked_slabs(packed: bytes) -> tuple[int, ...]:
    """The inverse: bytes of each slab, packed as little-endian uint32.

    Raises:
        ValueError: there is a part of a number.
    """
    count, rest = divmod(len(packed), _SLAB.size)
    if rest:
        message = f"{len(packed)} bytes of slabs; legal: {_SLAB.size} for each"
        raise ValueError(message)
    return struct.unpack(f"<{count}I", packed)


def place(number: int, shape: Shape, chunk: Shape) -> Shape:
    """A chunk's place in the grid of an array, from its number in C order."""
    z, y, x = (int(i) for i in np.unravel_index(number, grid(shape, chunk)))
    return z, y, x


def sharding_metadata(codec: Codec) -> Document:
    """The `sharding_indexed` entry of an array's `zarr.json`."""
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(codec.chunk),
            "codecs": codec.metadata,
            "index_codecs": [LITTLE, CHECKSUM],
            "index_location": "end",
        },
    }


def _one_ahead[T](items: Iterable[T]) -> Iterator[T]:
    """The items, each yielded once the next is made: a slab is made while others compress the last."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting
