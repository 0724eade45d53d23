"""Pcodec, as zarr-python's `numcodecs.pcodec`: smaller, for Python readers only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed, MissingDependency
from ctspine_zarr.format.codecs import CHECKSUM, PlainChunk
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.layout import CHUNK


@dataclass(frozen=True)
class Pcodec:
    """Pcodec at a level from 0 to 12."""

    level: int
    dtype: np.dtype[Any]

    @property
    def metadata(self) -> list[Document]:
        """zarr-python's `numcodecs.pcodec` and `crc32c`."""
        return [{"name": "numcodecs.pcodec", "configuration": {"level": self.level}}, CHECKSUM]

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """See `Codec`."""
        return bytes(self._numcodecs.encode(chunk))

    def decompress(self, data: memoryview) -> PlainChunk:
        """See `Codec`."""
        codec = self._numcodecs
        try:
            chunk: NDArray[Any] = codec.decode(data)
            return PlainChunk(chunk.view(self.dtype).reshape(CHUNK))
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise Malformed(str(error)) from error

    @cached_property
    def _numcodecs(self) -> Any:
        try:
            from numcodecs.pcodec import PCodec
        except ImportError as error:
            message = "codec 'compact' needs pcodec: pip install 'ctspine-zarr[compact]'"
            raise MissingDependency(message) from error
        return PCodec(level=self.level)
