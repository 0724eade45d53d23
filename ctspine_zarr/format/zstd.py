"""Plain zstd, the core `zstd` codec of Zarr v3: written by numcodecs, read by zstandard.

A thread keeps one decompression context, which the blosc codec uses too: making one for each
chunk would cost a fifth of its decoding.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

import numcodecs
import numpy as np
import zstandard
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.codecs import CHECKSUM, LITTLE, MOST_KERNEL_BYTES, KernelForm, PlainChunk
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.geometry import Shape


@dataclass(frozen=True)
class Zstd:
    """One zstd frame a chunk, without zstd's own checksum, at a level from 1 to 22."""

    name: ClassVar[str] = "zstd"

    level: int
    dtype: np.dtype[Any]
    chunk: Shape

    @property
    def metadata(self) -> list[Document]:
        """zarr-python's `bytes`, `zstd` and `crc32c`."""
        configuration = {"level": self.level, "checksum": False}
        return [LITTLE, {"name": "zstd", "configuration": configuration}, CHECKSUM]

    @property
    def kernel_form(self) -> KernelForm | None:
        """See `Codec`."""
        is_written = self.dtype == np.uint8 and self._size <= MOST_KERNEL_BYTES
        return (self.name, self.level) if is_written else None

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """See `Codec`."""
        return bytes(self._numcodecs.encode(chunk))

    def decompress(self, data: memoryview) -> PlainChunk:
        """See `Codec`."""
        voxels = inflate(data, self._size).view(self._stored_dtype)
        return PlainChunk(voxels.reshape(self.chunk))

    @cached_property
    def _numcodecs(self) -> numcodecs.Zstd:
        return numcodecs.Zstd(level=self.level)

    @cached_property
    def _size(self) -> int:
        return math.prod(self.chunk) * self.dtype.itemsize

    @cached_property
    def _stored_dtype(self) -> np.dtype[Any]:
        return self.dtype.newbyteorder("<")


class _Context(threading.local):
    def __init__(self) -> None:
        self.zstd = zstandard.ZstdDecompressor()


_context: Final = _Context()


def inflate(frame: memoryview, size: int) -> NDArray[np.uint8]:
    """The bytes of a zstd frame, read-only; no more memory is taken than for `size` of them.

    Raises:
        Malformed: it is no frame of so many bytes.
    """
    try:
        if zstandard.frame_content_size(frame) != size:
            message = f"zstd frame of another size; legal: {size} bytes"
            raise Malformed(message)
        return np.frombuffer(_context.zstd.decompress(frame), np.uint8)
    except zstandard.ZstdError as error:
        raise Malformed(str(error)) from error
