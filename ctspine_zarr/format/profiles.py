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
from ctspine_zarr.format.predict.codec import Predict
from ctspine_zarr.format.zstd import Zstd
from ctspine_zarr.geometry import Shape

_CODECS: Final[dict[str, Callable[[np.dtype[Any], Shape], Codec]]] = {
    Blosc.name: partial(Blosc, 1, "shuffle"),
    Predict.name: Predict,
    Zstd.name: partial(Zstd, 9),
}


def codec_of(name: str, dtype: np.dtype[Any], chunk: Shape) -> Codec | None:
    """The codec of an array, from what the catalog says of it; None where there is none here.

    A name may be unknown, or its codec one that cannot store the dtype.

    Args:
        name: of the codec.
        dtype: of the array.
        chunk: (z, y, x) voxels of one chunk.
    """
    make = _CODECS.get(name)
    is_storable = name != Predict.name or dtype == np.dtype("i2")
    return make(dtype, chunk) if make and is_storable else None


@dataclass(frozen=True)
class Profile:
    """How a store's images and masks are encoded.

    Attributes:
        name: as given to `--codec`.
        image_codec: name of the codec of int16 images.
        other_codec: name of that of images of other dtypes.
        segmentation_codec: name of that of masks.
        image_ratio: measured bytes of an encoded image per byte of its `.nii.gz`.
    """

    name: str
    image_codec: str
    other_codec: str
    segmentation_codec: str
    image_ratio: float

    def image(self, dtype: np.dtype[Any], chunk: Shape = DEFAULT_CHUNK) -> Codec:
        """The codec for images of a dtype."""
        return _CODECS[self.image_codec_of(dtype)](dtype, chunk)

    def image_codec_of(self, dtype: np.dtype[Any]) -> str:
        """The name of the codec for images of a dtype."""
        return self.image_codec if dtype == np.dtype("i2") else self.other_codec

    def segmentation(self, chunk: Shape = DEFAULT_CHUNK) -> Codec:
        """The codec for masks."""
        return _CODECS[self.segmentation_codec](MASK_DTYPE, chunk)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("portable", Blosc.name, Blosc.name, Zstd.name, image_ratio=0.80),
        Profile("compact", Predict.name, Blosc.name, Zstd.name, image_ratio=0.66),
    )
}
"""`portable` has core codecs only and opens anywhere; `compact` opens in Python with this package."""


DEFAULT: Final = "portable"
"""The profile where nothing else is asked for."""


def profile_of(image_codec: str) -> Profile:
    """The profile whose images have this codec.

    Raises:
        UnknownValue: the message lists the legal ones.
    """
    return choose("codec", image_codec, {one.image_codec: one for one in PROFILES.values()})


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UnknownValue: the message lists the legal names.
    """
    return choose("codec", name, PROFILES)
