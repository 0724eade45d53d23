"""The codec `predict` of an array, by the native kernel where it is there, else by numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.codecs import CHECKSUM, MOST_KERNEL_BYTES, KernelForm, PlainChunk
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.predict.decode import decode_batch
from ctspine_zarr.format.predict.encode import encode
from ctspine_zarr.geometry import Shape

# Their decoding takes 30 MB.
_BATCH_VOXELS: Final = 1 << 21


@dataclass(frozen=True)
class Predict:
    """Lossless coding of int16 chunks: linear prediction, and rANS by the local spread of errors."""

    name: ClassVar[str] = "predict"
    zarr_name: ClassVar[str] = "ctspine_zarr.predict"

    dtype: np.dtype[Any]
    chunk: Shape

    @property
    def metadata(self) -> list[Document]:
        """Our own `ctspine_zarr.predict`, and `crc32c`."""
        return [{"name": self.zarr_name, "configuration": {}}, CHECKSUM]

    @property
    def kernel_form(self) -> KernelForm | None:
        """See `Codec`."""
        size = math.prod(self.chunk) * self.dtype.itemsize
        return (self.name, 0) if size <= MOST_KERNEL_BYTES else None

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """See `Codec`."""
        voxels = np.ascontiguousarray(chunk, np.int16)  # of this machine's byte order, whatever a file's is
        if native.kernel is None:
            return encode(voxels)
        return native.kernel.predict_encode(voxels, self.chunk)

    def decompress(self, data: memoryview) -> PlainChunk:
        """See `Codec`."""
        return PlainChunk(self.decompress_batch([data])[0])

    @property
    def batch(self) -> int:
        """See `BatchCodec`: numpy's calls cost more than what they do for one chunk."""
        return 1 if native.kernel is not None else max(1, _BATCH_VOXELS // math.prod(self.chunk))

    def decompress_batch(self, chunks: Sequence[memoryview]) -> NDArray[np.int16]:
        """See `BatchCodec`."""
        if native.kernel is None:
            return decode_batch(chunks, self.chunk)
        voxels = np.empty((len(chunks), *self.chunk), np.int16)
        try:
            for data, target in zip(chunks, voxels, strict=True):
                native.kernel.predict_decode(data.toreadonly(), self.chunk, target)
        except ValueError as error:
            message = f"{error}; legal: a chunk of {self.chunk}"
            raise Malformed(message) from error
        return voxels
