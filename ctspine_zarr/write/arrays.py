"""One array of a case: a volume's voxels converted, hashed, measured and compressed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.digest import BackgroundSha256, VoxelDigest
from ctspine_zarr.format import documents
from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.receipt import NiftiSource, SourceFile
from ctspine_zarr.format.record import StoredArray, rows_of
from ctspine_zarr.format.shard import encode_shard, index_checksum, most_bytes, packed_slabs, slabs
from ctspine_zarr.geometry import Shape
from ctspine_zarr.memory.pages import pages
from ctspine_zarr.nifti import Volume
from ctspine_zarr.write.case_objects import EncodedArray
from ctspine_zarr.write.values import convert, is_restorable


@dataclass(frozen=True)
class Encoding:
    """How one array is encoded; see `encode_shard`."""

    dtype: np.dtype[Any]
    codec: Codec
    keep_empty: bool


def encode_array(
    volume: Volume,
    encoding: Encoding,
    see: Callable[[NDArray[Any]], None],
    helpers: Executor,
    *,
    into: NDArray[Any] | None = None,
) -> EncodedArray:
    """Convert, hash, measure (`see`) and compress slab by slab, each while it is in the cache.

    Args:
        volume: read whole.
        encoding: of its values.
        see: called with each slab in turn, in another thread; it must not keep it.
        helpers: threads that compress and measure.
        into: where the converted volume is left; by default it is not.
    """
    header, codec = volume.header, encoding.codec
    shape = header.reorientation.shape(header.shape)
    digest, shard_digest = VoxelDigest(), BackgroundSha256()
    measuring = _InTurn(see, helpers)
    kept = _slab_memory(shape, encoding) if into is None else slabs(into, codec.chunk)

    def rows() -> Iterator[NDArray[Any]]:
        for slab, target in zip(
            slabs(header.reorientation.apply(volume.stored), codec.chunk), kept, strict=False
        ):
            row = convert(header, slab, encoding.dtype, target[: len(slab)])
            digest.update(row)
            measuring.begin(row)
            yield row

    shard = encode_shard(
        rows(),
        codec,
        keep_empty=encoding.keep_empty,
        each=helpers.map,
        see=shard_digest.update,
        room=most_bytes(shape, codec, encoding.dtype),
    )
    measuring.end()
    stored = StoredArray(
        dtype=encoding.dtype.name,  # type: ignore[arg-type]  # one of the ladder of `values`
        bytes=len(shard),
        index_crc32c=index_checksum(shard),
        chunk=codec.chunk,
        codec=codec.name,
        slabs=packed_slabs(shard, shape, codec.chunk),
    )
    return EncodedArray(
        metadata=documents.array(shape, encoding.dtype, codec),
        shard=shard,
        digest=shard_digest.hexdigest(),
        stored=stored,
        voxels=digest.hexdigest(),
        source=_nifti_source(volume, encoding.dtype),
    )


def _slab_memory(shape: Shape, encoding: Encoding) -> Iterator[NDArray[Any]]:
    """Memory for each slab in turn: two are in use, as `encode_shard` says."""
    size = (encoding.codec.chunk[0], *shape[1:])
    return itertools.cycle([pages(size, encoding.dtype) for _ in range(2)])


class _InTurn:
    """Calls of a function in another thread, in order and one at a time."""

    def __init__(self, function: Callable[[NDArray[Any]], None], threads: Executor) -> None:
        self._function, self._threads = function, threads
        self._last: Future[None] | None = None

    def begin(self, slab: NDArray[Any]) -> None:
        """Call it soon, once the call before has ended."""
        self.end()
        self._last = self._threads.submit(self._function, slab)

    def end(self) -> None:
        """Wait until all have ended, and raise what one raised."""
        if self._last is not None:
            self._last.result()


def _nifti_source(volume: Volume, dtype: np.dtype[Any]) -> NiftiSource:
    header = volume.header
    return NiftiSource(
        file=SourceFile(volume.name, volume.file_bytes, volume.file_sha256, volume.file_ending),
        inflated_sha256=volume.inflated_sha256,
        dtype=header.dtype.str,
        shape=header.disk_shape,
        affine=rows_of(header.affine),
        sform_code=header.sform_code,
        qform_code=header.qform_code,
        slope=header.slope,
        inter=header.inter,
        axes=header.reorientation.axes,
        flips=header.reorientation.flips,
        prefix=header.prefix,
        trailer=volume.trailer,
        restorable=is_restorable(volume, dtype),
    )
