"""Strips: lines of chunks along x, cut and compressed, by the kernel where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.format.codecs import Codec, with_checksum
from ctspine_zarr.geometry import Shape

type Encoded = tuple[bytes, list[int]]


def encode_strip(strip: NDArray[Any], codec: Codec, *, keep_empty: bool) -> Encoded:
    """The bytes of a strip's chunks, each with its checksum, and how many each has: 0 where it is absent.

    Args:
        strip: (z, y, x), as thick and high as a chunk or less, little-endian, of the codec's dtype.
        codec: of the chunks.
        keep_empty: see `encode_shard`.
    """
    if native.kernel is not None and codec.kernel_form is not None:
        return native.kernel.encode_strip(strip, codec.chunk, codec.kernel_form, keep_empty=keep_empty)
    chunks = [
        with_checksum(codec.compress(chunk)) if keep_empty or chunk.any() else b""
        for chunk in _chunks(strip, codec.chunk)
    ]
    return b"".join(chunks), [len(chunk) for chunk in chunks]


def strips(row: NDArray[Any], chunk: Shape) -> Iterator[NDArray[Any]]:
    """The strips of a slab, in views: each is enough work to be worth a thread's while."""
    for y in range(0, row.shape[1], chunk[1]):
        yield row[:, y : y + chunk[1]]


def _chunks(strip: NDArray[Any], chunk: Shape) -> Iterator[NDArray[Any]]:
    """The chunks of a strip along x, each C-contiguous, ragged ones padded with zeros."""
    for x in range(0, strip.shape[2], chunk[2]):
        part = strip[:, :, x : x + chunk[2]]
        voxels = np.ascontiguousarray(part)
        if part.shape != chunk:
            voxels = np.zeros(chunk, dtype=strip.dtype)
            voxels[tuple(slice(size) for size in part.shape)] = part
        yield voxels
