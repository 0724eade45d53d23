"""Blosc with zstd: written by numcodecs, read by zstandard where one zstd frame holds the chunk.

The layout of a C-Blosc 1 buffer is that of its README_CHUNK_FORMAT.rst: a header of 16 bytes
(version, codec's version, flags, typesize, then uint32 decompressed size, block size and
compressed size), a uint32 offset for each block, and for each block its int32 size and bytes.

Reading the frame ourselves is a fifth faster than numcodecs, which makes a zstd context for
each chunk, and un-shuffles no more of a chunk than is asked for.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import numcodecs
import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.codecs import CHECKSUM, LITTLE, MOST_KERNEL_BYTES, Box, Chunk, KernelForm, PlainChunk
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.zstd import inflate
from ctspine_zarr.geometry import Shape

type Shuffle = Literal["shuffle", "bitshuffle"]

_SHUFFLE: Final[dict[Shuffle, int]] = {
    "shuffle": numcodecs.Blosc.SHUFFLE,
    "bitshuffle": numcodecs.Blosc.BITSHUFFLE,
}
_HEADER: Final = struct.Struct("<BBBBIII")
# The offset of the first block, and its size, which stands there.
_FIRST_BLOCK: Final = struct.Struct("<Ii")
_ONE_BLOCK_AT: Final = 20
_FRAME_AT: Final = 24
# zstd, bytes shuffled, streams not split.
_SHUFFLED_ZSTD: Final = 0x91
_UNSIGNED: Final = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class Blosc:
    """Blosc with zstd, a chunk one block: blocks of 8 KiB would decode three times slower."""

    name: ClassVar[str] = "blosc-zstd"

    level: int
    shuffle: Shuffle
    dtype: np.dtype[Any]
    chunk: Shape

    @property
    def metadata(self) -> list[Document]:
        """zarr-python's `bytes`, `blosc` and `crc32c`."""
        configuration = {
            "typesize": self.dtype.itemsize,
            "cname": "zstd",
            "clevel": self.level,
            "shuffle": self.shuffle,
            "blocksize": self._size,
        }
        return [LITTLE, {"name": "blosc", "configuration": configuration}, CHECKSUM]

    @property
    def kernel_form(self) -> KernelForm | None:
        """See `Codec`."""
        # At other levels blosc has zstd work at others than its own.
        is_written = (self.level, self.shuffle, self.dtype) == (1, "shuffle", np.dtype("<i2"))
        return (self.name, 1) if is_written and self._size <= MOST_KERNEL_BYTES else None

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """See `Codec`."""
        encoded: bytes = self._numcodecs.encode(chunk)
        return encoded

    def decompress(self, data: memoryview) -> Chunk:
        """See `Codec`."""
        if len(data) < _HEADER.size:
            message = f"it has {len(data)} bytes, fewer than a blosc header"
            raise Malformed(message)
        _, _, *kind, size, block, stored = _HEADER.unpack_from(data)
        if (size, stored) != (self._size, len(data)):
            message = f"blosc of {size} bytes in {stored}; legal: {self._size} in {len(data)}"
            raise Malformed(message)
        frame, typesize = data[_FRAME_AT:], self.dtype.itemsize
        is_alone = data[_HEADER.size : _FRAME_AT] == _FIRST_BLOCK.pack(_ONE_BLOCK_AT, len(frame))
        is_as_written = is_alone and (*kind, block) == (_SHUFFLED_ZSTD, typesize, size)
        if is_as_written and len(frame) < size and typesize in _UNSIGNED:
            return _Shuffled(inflate(frame, size).reshape(typesize, *self.chunk))
        return self._by_numcodecs(data)

    def _by_numcodecs(self, data: memoryview) -> PlainChunk:
        """Chunks of bytes, and those that did not compress."""
        chunk = np.empty(self.chunk, self.dtype.newbyteorder("<"))
        try:
            self._numcodecs.decode(data, chunk)
        except (RuntimeError, ValueError) as error:
            raise Malformed(str(error)) from error
        return PlainChunk(chunk)

    @cached_property
    def _numcodecs(self) -> numcodecs.Blosc:
        return numcodecs.Blosc("zstd", self.level, _SHUFFLE[self.shuffle], self._size)

    @cached_property
    def _size(self) -> int:
        return math.prod(self.chunk) * self.dtype.itemsize


@dataclass(slots=True)
class _Shuffled:
    """The bytes of a chunk's voxels: all lowest ones, then all next ones, to the highest."""

    planes: NDArray[np.uint8]

    def copy_to(self, target: NDArray[Any], box: Box) -> None:
        """See `Chunk`."""
        lowest, *between, highest = self.planes
        unsigned = _UNSIGNED[target.itemsize]
        # Each operation gives up and takes back the GIL: as few as can be.
        voxels = np.left_shift(highest[box], 8, dtype=unsigned)
        for plane in reversed(between):
            voxels |= plane[box]
            voxels <<= 8
        np.bitwise_or(voxels, lowest[box], out=target.view(unsigned))
