"""Codec profiles: how a store's images and masks are encoded, and the codecs by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from ctspine_zarr.errors import choose
from ctspine_zarr.format.blosc import Blosc
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.format.pcodec import Pcodec
from ctspine_zarr.format.zstd import Zstd
from ctspine_zarr.geometry import Shape

_CODECS: Final[dict[str, Callable[[np.dtype[Any], Shape], Codec]]] = {
    Blosc.name: partial(Blosc, 1, "shuffle"),
    Pcodec.name: partial(Pcodec, 8),
    Zstd.name: partial(Zstd, 9),
}


def codec_of(name: str, dtype: np.dtype[Any], chunk: Shape) -> Codec | None:
    """The codec of an array, from what the catalog says of it; None where its name is unknown here.

    Args:
        name: of the codec.
        dtype: of the array.
        chunk: (z, y, x) voxels of one chunk.
    """
    make = _CODECS.get(name)
    return make(dtype, chunk) if make else None


@dataclass(frozen=True)
class Profile:
    """How a store's images and masks are encoded.

    Attributes:
        name: as given to `--codec`.
        image_codec, segmentation_codec: names of their codecs.
        image_ratio: measured bytes of an encoded image per byte of its `.nii.gz`.
    """

    name: str
    image_codec: str
    segmentation_codec: str
    image_ratio: float

    def image(self, dtype: np.dtype[Any], chunk: Shape = DEFAULT_CHUNK) -> Codec:
        """The codec for images of a dtype."""
        return _CODECS[self.image_codec](dtype, chunk)

    def segmentation(self, chunk: Shape = DEFAULT_CHUNK) -> Codec:
        """The codec for masks."""
        return _CODECS[self.segmentation_codec](MASK_DTYPE, chunk)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("portable", Blosc.name, Zstd.name, image_ratio=0.80),
        Profile("compact", Pcodec.name, Zstd.name, image_ratio=0.74),
    )
}
"""`portable` has core codecs only and opens anywhere; `compact` needs Python with pcodec."""


DEFAULT: Final = "portable"
"""The profile where nothing else is asked for."""


def profile_of(image_codec: str) -> Profile:
    """The profile whose images have this codec.

    Raises:
        UnknownValue: the message lists the legal ones.
    """
    return choose("codec", image_codec, {one.image_codec: one for one in PROFILES.values()})


def profile(name: str) -> Profile:
    """The profile of that name, able to encode here.

    Raises:
        UnknownValue: the message lists the legal names.
        MissingDependency: it needs a library that is not installed.
    """
    chosen = choose("codec", name, PROFILES)
    codec = chosen.image(np.dtype("i2"))
    codec.compress(np.zeros(codec.chunk, "i2"))
    return chosen
