"""The Zarr v3 codec `ctspine_zarr.predict`, for zarr-python: it finds this class by its entry point.

With this package installed zarr-python reads and writes such arrays; nothing is to be imported.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration
from zarr.core.dtype import Int16, TBaseDType, TBaseScalar, ZDType
from zarr.core.metadata.v3 import ChunkGridMetadata

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.predict.codec import Predict
from ctspine_zarr.geometry import Shape


@dataclass(frozen=True)
class PredictCodec(ArrayBytesCodec):
    """Lossless coding of int16 chunks of up to three axes, as `docs/codec.md` specifies it."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec of an array's metadata; it has no options.

        Raises:
            ValueError: there are some.
        """
        _, configuration = parse_named_configuration(data, Predict.zarr_name, require_configuration=False)
        if configuration:
            message = f"{Predict.zarr_name} has no options; seen: {configuration}"
            raise ValueError(message)
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """The codec as an array's metadata has it."""
        return {"name": Predict.zarr_name, "configuration": {}}

    def validate(
        self,
        *,
        shape: tuple[int, ...],
        dtype: ZDType[TBaseDType, TBaseScalar],
        chunk_grid: ChunkGridMetadata,  # noqa: ARG002
    ) -> None:
        """Refuses arrays that it cannot store.

        Raises:
            ValueError: another dtype than int16, or more than three axes.
        """
        if not isinstance(dtype, Int16) or not 1 <= len(shape) <= 3:
            message = f"{Predict.zarr_name} of {dtype}, {len(shape)} axes; legal: int16, 1 to 3"
            raise ValueError(message)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        data = memoryview(chunk_data.as_numpy_array()).cast("B")
        try:
            voxels = _codec(chunk_spec).decompress(data).voxels
        except Malformed as error:
            raise ValueError(str(error)) from error
        native = voxels.reshape(chunk_spec.shape).astype(chunk_spec.dtype.to_native_dtype(), copy=False)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(native)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _encode_sync(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        codec = _codec(chunk_spec)
        voxels = np.ascontiguousarray(chunk_data.as_numpy_array().reshape(codec.chunk), np.int16)
        return chunk_spec.prototype.buffer.from_bytes(codec.compress(voxels))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known: chunks differ.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError


def _codec(spec: ArraySpec) -> Predict:
    """The codec of a chunk, whose axes are filled up to three by ones in front."""
    z, y, x = (*[1] * (3 - len(spec.shape)), *spec.shape)
    chunk: Shape = z, y, x
    return Predict(np.dtype("i2"), chunk)
