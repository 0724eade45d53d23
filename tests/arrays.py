"""Single arrays in memory or a folder, as the writer stores them, and their readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.abc.store import Store

from ctspine_zarr import kernel as native
from ctspine_zarr.arrays.reading import ArraySpec, Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.blosc import Blosc
from ctspine_zarr.format.codecs import MASK_DTYPE, Codec
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.profiles import PROFILES, codec_of
from ctspine_zarr.format.shard import encode_shard, index_checksum, slabs
from ctspine_zarr.format.zstd import Zstd
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import open_storage

PATH = "train/MSD-T10/liver_1/image"


CODECS = ["blosc-zstd", "predict", "zstd"]
CHUNKS = [layout.DEFAULT_CHUNK, (8, 32, 32), (4, 64, 64), (32, 32, 32), (1, 2, 3), (7, 130, 1)]


def chosen_codec(profile: str, dtype: np.dtype[Any]) -> Codec:
    """The profile's codec for masks where the dtype is theirs, else for images."""
    chosen = PROFILES[profile]
    return chosen.segmentation() if dtype == MASK_DTYPE else chosen.image(dtype)


def known_codec(name: str, dtype: Any, chunk: Shape = layout.DEFAULT_CHUNK) -> Codec:
    """The codec of that name, which there is."""
    codec = codec_of(name, np.dtype(dtype), chunk)
    assert codec is not None
    return codec


def dtypes_of(codec: str) -> st.SearchStrategy[str]:
    """Those that a codec can store."""
    others = ["int32", "float32", "float64", "uint8"]
    return st.sampled_from(["int16", *(others if codec != "predict" else ())])


def stored(
    array: NDArray[Any],
    location: Path | Store,
    *,
    path: str = PATH,
    profile: str = "portable",
    codec: Codec | None = None,
    keep_empty: bool = True,
    reading: Reading | None = None,
) -> Voxels:
    """The array as the writer stores it, at `path` of the location, and its reader."""
    z, y, x = array.shape
    codec = codec or chosen_codec(profile, array.dtype)
    shard = encode_shard(slabs(array, codec.chunk), codec, keep_empty=keep_empty)
    storage = open_storage(location)
    storage.put(f"{path}/zarr.json", encode(documents.array((z, y, x), array.dtype, codec)))
    if shard:
        storage.put(f"{path}/{layout.SHARD}", shard)
    told = ArraySpec(storage, path, (z, y, x), array.dtype, len(shard), index_checksum(shard))
    return Voxels(told, codec, reading or Reading(threads=1))


def volume(
    shape: tuple[int, ...],
    dtype: Any = "int16",
    share_empty: float = 0.0,
    chunk: Shape = layout.DEFAULT_CHUNK,
) -> NDArray[Any]:
    """Noise with some chunks all zeros."""
    random = np.random.default_rng(0)
    array = random.integers(0, 100, shape).astype(dtype)
    empty = random.random([-(-n // edge) for n, edge in zip(shape, chunk, strict=True)]) < share_empty
    mask = np.kron(empty, np.ones(chunk, bool))[tuple(slice(n) for n in shape)]
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
    """Counts chunks that are decompressed, of images and of masks, in Python and by the kernel."""
    count = [0]
    before = counts()[0]

    def counting(decompress: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            count[0] += 1
            return decompress(*arguments)

        return counted

    with monkeypatch.context() as patch:
        for codec in (Blosc, Zstd):
            patch.setattr(codec, "decompress", counting(codec.decompress))
        yield count
    count[0] += counts()[0] - before


def counts() -> tuple[int, int]:
    """Chunks that the kernel has decoded, and bytes that it has read from files; none without it."""
    return (0, 0) if native.kernel is None else native.kernel.counts()
