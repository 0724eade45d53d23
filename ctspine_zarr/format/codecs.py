"""Codec profiles: how a chunk becomes bytes, in code and as Zarr v3 metadata.

Every chain ends in crc32c, so that an altered byte is an error and never a wrong voxel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import google_crc32c
import numcodecs
import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency, choose
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.layout import CHUNK

type Shuffle = Literal["shuffle", "bitshuffle"]

MASK_DTYPE: Final = np.dtype("u1")
"""Every segmentation's dtype; labels are 0 to 25."""

CHECKSUM: Final[Document] = {"name": "crc32c"}
LITTLE: Final[Document] = {"name": "bytes", "configuration": {"endian": "little"}}
_SHUFFLE: Final[dict[Shuffle, int]] = {
    "shuffle": numcodecs.Blosc.SHUFFLE,
    "bitshuffle": numcodecs.Blosc.BITSHUFFLE,
}
_CHUNK_VOXELS: Final = math.prod(CHUNK)


@dataclass(frozen=True)
class Codec:
    """One chunk codec for one dtype.

    Attributes:
        metadata: the chain of codecs in an array's `zarr.json`, checksum included.
        compress: a whole C-contiguous little-endian chunk to bytes, checksum not included.
    """

    metadata: list[Document]
    compress: Callable[[NDArray[Any]], bytes]

    def encode(self, chunk: NDArray[Any]) -> bytes:
        """The chunk as stored: compressed, then its crc32c in four little-endian bytes."""
        return with_checksum(self.compress(chunk))


@dataclass(frozen=True)
class Profile:
    """How a store's images and masks are encoded.

    Attributes:
        name: as given to `--codec`.
        image, segmentation: the codec for voxels of a dtype.
        image_ratio: measured bytes of an encoded image per byte of its `.nii.gz`.
    """

    name: str
    image: Callable[[np.dtype[Any]], Codec]
    segmentation: Callable[[np.dtype[Any]], Codec]
    image_ratio: float


def with_checksum(data: bytes) -> bytes:
    """`data` followed by its crc32c in four little-endian bytes."""
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")


def blosc(level: int, shuffle: Shuffle) -> Callable[[np.dtype[Any]], Codec]:
    """Blosc with zstd, a whole chunk one block: 8 KiB blocks would decode three times slower."""

    def for_dtype(dtype: np.dtype[Any]) -> Codec:
        size = _CHUNK_VOXELS * dtype.itemsize
        codec = numcodecs.Blosc(cname="zstd", clevel=level, shuffle=_SHUFFLE[shuffle], blocksize=size)
        configuration = {
            "typesize": dtype.itemsize,
            "cname": "zstd",
            "clevel": level,
            "shuffle": shuffle,
            "blocksize": size,
        }
        metadata = [LITTLE, {"name": "blosc", "configuration": configuration}, CHECKSUM]
        return Codec(metadata, codec.encode)

    return for_dtype


def pcodec(level: int) -> Callable[[np.dtype[Any]], Codec]:
    """Pcodec, as zarr-python's `numcodecs.pcodec`: smaller, for Python readers only."""

    def for_dtype(dtype: np.dtype[Any]) -> Codec:  # noqa: ARG001 - pcodec reads it off the chunk
        codec = _pcodec_class()(level=level)
        metadata = [{"name": "numcodecs.pcodec", "configuration": {"level": level}}, CHECKSUM]
        return Codec(metadata, lambda chunk: bytes(codec.encode(chunk)))

    return for_dtype


def _pcodec_class() -> Any:
    try:
        from numcodecs.pcodec import PCodec
    except ImportError as error:
        message = "codec 'compact' needs pcodec: pip install 'ctspine-zarr[compact]'"
        raise MissingDependency(message) from error
    return PCodec


_MASKS: Final = blosc(5, "bitshuffle")

PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("portable", blosc(1, "shuffle"), _MASKS, image_ratio=0.80),
        Profile("compact", pcodec(8), _MASKS, image_ratio=0.74),
    )
}
"""`portable` has core codecs only and opens anywhere; `compact` needs Python with pcodec."""


def profile(name: str) -> Profile:
    """The profile of that name, able to encode here.

    Raises:
        UnknownValue: the message lists the legal names.
        MissingDependency: it needs a library that is not installed.
    """
    chosen = choose("codec", name, PROFILES)
    chosen.image(np.dtype("i2"))
    return chosen
