"""Pcodec, as zarr-python's `numcodecs.pcodec`: smaller, for Python readers only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed, MissingDependency
from ctspine_zarr.format.codecs import CHECKSUM, KernelForm, PlainChunk
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.geometry import Shape


@dataclass(frozen=True)
class Pcodec:
    """Pcodec at a level from 0 to 12."""

    name: ClassVar[str] = "pcodec"

    level: int
    dtype: np.dtype[Any]
    chunk: Shape

    @property
    def metadata(self) -> list[Document]:
        """zarr-python's `numcodecs.pcodec` and `crc32c`."""
        return [{"name": "numcodecs.pcodec", "configuration": {"level": self.level}}, CHECKSUM]

    @property
    def kernel_form(self) -> KernelForm | None:
        """See `Codec`."""
        return None

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """See `Codec`."""
        return bytes(self._numcodecs.encode(chunk))

    def decompress(self, data: memoryview) -> PlainChunk:
        """See `Codec`."""
        decompress_into, voxels = self._decompress_into, np.empty(math.prod(self.chunk), self.dtype)
        try:
            progress = decompress_into(bytes(data), voxels)
        except (RuntimeError, TypeError) as error:
            raise Malformed(str(error)) from error
        if (progress.n_processed, progress.finished) != (voxels.size, True):
            message = f"pcodec of another number of values; legal: {voxels.size}"
            raise Malformed(message)
        return PlainChunk(voxels.reshape(self.chunk))

    @cached_property
    def _numcodecs(self) -> Any:
        with _naming_the_extra():
            from numcodecs.pcodec import PCodec
        return PCodec(level=self.level)

    @cached_property
    def _decompress_into(self) -> Callable[[bytes, NDArray[Any]], Any]:
        # numcodecs' own decoding takes memory for as many values as the bytes say there are.
        with _naming_the_extra():
            from pcodec import standalone  # type: ignore[import-untyped]
        decompress_into: Callable[[bytes, NDArray[Any]], Any] = standalone.simple_decompress_into
        return decompress_into


@contextmanager
def _naming_the_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        message = "codec 'compact' needs pcodec: pip install 'ctspine-zarr[compact]'"
        raise MissingDependency(message) from error
