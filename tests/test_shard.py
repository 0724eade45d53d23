"""Our shards are zarr-python's, byte for byte."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import crc32c
import numcodecs
import numpy as np
import pytest
import zarr
from arrays import CHUNKS, CODECS, chosen_codec, dtypes_of, known_codec, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import ShardingCodec
from zarr.core.metadata.v3 import ArrayV3Metadata

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.profiles import PROFILES, codec_of
from ctspine_zarr.format.shard import encode_shard, index_checksum, index_size, slabs
from ctspine_zarr.geometry import Shape

pytestmark = pytest.mark.usefixtures("engine")

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 130), st.integers(1, 130))


def written_by_zarr(array: NDArray[Any], codec: Codec, *, keep_empty: bool) -> tuple[bytes | None, Any]:
    store = zarr.storage.MemoryStore()
    sharding = ShardingCodec(
        chunk_shape=codec.chunk, codecs=codec.metadata, subchunk_write_order="lexicographic"
    )
    z, y, x = array.shape
    target = zarr.create_array(
        store,
        shape=array.shape,
        dtype=array.dtype,
        chunks=layout.shard_shape((z, y, x), codec.chunk),
        filters=None,
        compressors=None,
        serializer=sharding,
        fill_value=0,
        dimension_names=layout.AXES,
        config={"write_empty_chunks": keep_empty},
    )
    target[...] = array
    shard = store._store_dict.get(layout.SHARD)
    return None if shard is None else shard.to_bytes(), target.metadata


def require_equal(array: NDArray[Any], codec: Codec, *, keep_empty: bool) -> None:
    """Our shard, our metadata and our checksum of the index are those of zarr-python."""
    z, y, x = array.shape
    ours = encode_shard(slabs(array, codec.chunk), codec, keep_empty=keep_empty)
    theirs, metadata = written_by_zarr(array, codec, keep_empty=keep_empty)
    assert (bytes(ours) or None) == theirs
    document = json.loads(encode(documents.array((z, y, x), array.dtype, codec)))
    assert ArrayV3Metadata.from_dict(document) == metadata
    if theirs is None:
        assert index_checksum(ours) == 0
    else:
        index = theirs[-index_size((z, y, x), codec.chunk) :]
        assert index_checksum(ours) == crc32c.crc32c(index[:-4])


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=20, deadline=None)
@given(
    shape=SHAPES,
    dtype=st.sampled_from(["int16", "int32", "float32", "float64", "uint8"]),
    share_empty=st.sampled_from([0.0, 0.5, 1.0]),
    keep_empty=st.booleans(),
)
def test_a_shard_is_zarr_pythons_byte_for_byte(
    profile: str, shape: tuple[int, int, int], dtype: str, share_empty: float, keep_empty: bool
) -> None:
    array = volume(shape, dtype, share_empty)
    require_equal(array, chosen_codec(profile, array.dtype), keep_empty=keep_empty)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_shard_of_any_codec_and_chunk_is_zarr_pythons(name: str, data: st.DataObject) -> None:
    chunk = data.draw(st.sampled_from(CHUNKS))
    # Of chunks of a few voxels, few: zarr-python takes a millisecond for each.
    shape = tuple(data.draw(st.integers(1, min(2 * edge + 3, 130))) for edge in chunk)
    array = volume(shape, data.draw(dtypes_of(name)), data.draw(st.sampled_from([0.0, 0.5, 1.0])), chunk)
    require_equal(array, known_codec(name, array.dtype, chunk), keep_empty=data.draw(st.booleans()))


def test_a_codec_is_known_by_the_name_it_has_in_the_catalog_and_no_other_is() -> None:
    for chosen in PROFILES.values():
        for dtype, name in (("i2", chosen.image_codec), ("i4", chosen.other_codec)):
            image = chosen.image(np.dtype(dtype), (8, 9, 10))
            assert codec_of(image.name, np.dtype(dtype), (8, 9, 10)) == image
            assert (image.name, image.chunk) == (name, (8, 9, 10))
        mask = chosen.segmentation((1, 2, 3))
        assert codec_of(mask.name, np.dtype("u1"), (1, 2, 3)) == mask
        assert mask.name == chosen.segmentation_codec
    assert codec_of("predict", np.dtype("f4"), (8, 9, 10)) is None
    assert codec_of("nobodys.codec", np.dtype("i2"), (8, 9, 10)) is None


BOMBS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "blosc-zstd": lambda voxels: bytes(numcodecs.Blosc("zstd", 1, 1, voxels.nbytes).encode(voxels)),
    "predict": lambda voxels: b"\x01" + voxels.tobytes(),
    "zstd": lambda voxels: bytes(numcodecs.Zstd(level=9).encode(voxels)),
}


VOXELS = math.prod(layout.DEFAULT_CHUNK)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("count", [VOXELS - 1, VOXELS + 1, 2**24])
def test_bytes_of_another_number_of_voxels_are_an_error_and_take_no_memory(name: str, count: int) -> None:
    codec = known_codec(name, "int16")
    data = memoryview(BOMBS[name](np.full(count, 7, "int16")))
    codec.decompress(memoryview(codec.compress(np.zeros(codec.chunk, "int16"))))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="legal: "):
            codec.decompress(data)
        assert tracemalloc.get_traced_memory()[1] < 2 * VOXELS * 2
    finally:
        tracemalloc.stop()


def test_compressing_side_by_side_gives_the_same_bytes() -> None:
    array = volume((40, 130, 130), "int16", 0.2)
    codec = PROFILES["portable"].image(array.dtype)
    with ThreadPoolExecutor(4) as helpers:
        beside = encode_shard(slabs(array, codec.chunk), codec, keep_empty=True, each=helpers.map)
    assert beside == encode_shard(slabs(array, codec.chunk), codec, keep_empty=True)


@pytest.mark.parametrize("chunk", CHUNKS[:4])
def test_an_axial_slab_is_one_contiguous_range(chunk: Shape) -> None:
    array = volume((48, 130, 130), "int16", 0.0)
    codec = PROFILES["portable"].image(array.dtype, chunk)
    shard = encode_shard(slabs(array, chunk), codec, keep_empty=True)
    count = int(np.prod(layout.grid((48, 130, 130), chunk)))
    index = np.frombuffer(shard, "<u8", count * 2, len(shard) - 4 - count * 16).reshape(count, 2)
    assert np.array_equal(index[1:, 0], index[:-1].sum(axis=1))
    assert index[0, 0] == 0
