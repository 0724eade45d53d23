"""Codec profiles: how a store's images and masks are encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from ctspine_zarr.errors import choose
from ctspine_zarr.format.blosc import Blosc
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.layout import CHUNK
from ctspine_zarr.format.pcodec import Pcodec


@dataclass(frozen=True)
class Profile:
    """How a store's images and masks are encoded.

    Attributes:
        name: as given to `--codec`.
        image: the codec for voxels of a dtype.
        segmentation: the codec for masks.
        image_ratio: measured bytes of an encoded image per byte of its `.nii.gz`.
    """

    name: str
    image: Callable[[np.dtype[Any]], Codec]
    segmentation: Codec
    image_ratio: float


_MASKS: Final = Blosc(5, "bitshuffle", MASK_DTYPE)

PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile("portable", partial(Blosc, 1, "shuffle"), _MASKS, image_ratio=0.80),
        Profile("compact", partial(Pcodec, 8), _MASKS, image_ratio=0.74),
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
    chosen.image(np.dtype("i2")).compress(np.zeros(CHUNK, "i2"))
    return chosen
