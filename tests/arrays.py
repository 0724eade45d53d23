"""Single arrays in memory or a folder, as the writer stores them, and their readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.abc.store import Store

from ctspine_zarr.arrays.shards import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.blosc import Blosc
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.shard import encode_shard, slabs
from ctspine_zarr.storage import open_storage

PATH = "train/MSD-T10/liver_1/image"


def chosen_codec(profile: str, dtype: np.dtype[Any]) -> Codec:
    """The profile's codec for masks where the dtype is theirs, else for images."""
    return PROFILES[profile].segmentation if dtype == MASK_DTYPE else PROFILES[profile].image(dtype)


def stored(
    array: NDArray[Any],
    location: Path | Store,
    *,
    profile: str = "portable",
    keep_empty: bool = True,
    reading: Reading | None = None,
) -> Voxels:
    """The array as the writer stores it, at `PATH` of the location, and its reader."""
    z, y, x = array.shape
    codec = chosen_codec(profile, array.dtype)
    shard = encode_shard(slabs(array), codec, keep_empty=keep_empty)
    storage = open_storage(location)
    storage.put(f"{PATH}/zarr.json", encode(documents.array((z, y, x), array.dtype, codec)))
    if shard:
        storage.put(f"{PATH}/{layout.SHARD}", shard)
    return Voxels(storage, PATH, (z, y, x), array.dtype, len(shard), codec, reading or Reading(threads=1))


def volume(shape: tuple[int, ...], dtype: Any = "int16", share_empty: float = 0.0) -> NDArray[Any]:
    """Noise with some whole chunks of zeros."""
    random = np.random.default_rng(0)
    array = random.integers(0, 100, shape).astype(dtype)
    empty = (
        random.random([-(-n // chunk) for n, chunk in zip(shape, layout.CHUNK, strict=True)]) < share_empty
    )
    mask = np.kron(empty, np.ones(layout.CHUNK, bool))[tuple(slice(n) for n in shape)]
    array[mask] = 0
    return array


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Any basic index of an array, with or without an Ellipsis."""
    steps = st.sampled_from([None, 1, 2, 7, 40, -1, -3, -70])
    parts = [
        st.integers(-n, n - 1)
        | st.builds(slice, *[st.none() | st.integers(-2 * n, 2 * n)] * 2, steps)
        | st.just(slice(None))
        for n in shape
    ]
    whole = st.tuples(*parts)
    cut = st.builds(lambda key, count: key[:count], whole, st.integers(0, 3))
    return whole | cut | st.builds(lambda key: (..., *key), st.tuples(*parts[1:]))


@contextmanager
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts chunks that are decompressed."""
    count = [0]
    decompress = Blosc.decompress

    def counted(*arguments: Any) -> Any:
        count[0] += 1
        return decompress(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Blosc, "decompress", counted)
        yield count
