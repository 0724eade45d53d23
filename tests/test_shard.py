"""Our shards are zarr-python's, byte for byte."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import zarr
from arrays import chosen_codec, volume
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import ShardingCodec
from zarr.core.metadata.v3 import ArrayV3Metadata

from ctspine_zarr.format import documents, layout
from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.shard import encode_shard, slabs

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 130), st.integers(1, 130))


def written_by_zarr(array: NDArray[Any], codec: Codec, *, keep_empty: bool) -> tuple[bytes | None, Any]:
    store = zarr.storage.MemoryStore()
    sharding = ShardingCodec(
        chunk_shape=layout.CHUNK, codecs=codec.metadata, subchunk_write_order="lexicographic"
    )
    z, y, x = array.shape
    target = zarr.create_array(
        store,
        shape=array.shape,
        dtype=array.dtype,
        chunks=layout.shard_shape((z, y, x)),
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
    codec = chosen_codec(profile, array.dtype)
    ours = encode_shard(slabs(array), codec, keep_empty=keep_empty)
    theirs, metadata = written_by_zarr(array, codec, keep_empty=keep_empty)
    assert (bytes(ours) or None) == theirs
    document = json.loads(encode(documents.array(shape, array.dtype, codec)))
    assert ArrayV3Metadata.from_dict(document) == metadata


def test_compressing_side_by_side_gives_the_same_bytes() -> None:
    array = volume((40, 130, 130), "int16", 0.2)
    codec = PROFILES["portable"].image(array.dtype)
    with ThreadPoolExecutor(4) as helpers:
        beside = encode_shard(slabs(array), codec, keep_empty=True, each=helpers.map)
    assert beside == encode_shard(slabs(array), codec, keep_empty=True)


def test_an_axial_slab_is_one_contiguous_range() -> None:
    array = volume((48, 130, 130), "int16", 0.0)
    shard = encode_shard(slabs(array), PROFILES["portable"].image(array.dtype), keep_empty=True)
    count = int(np.prod(layout.grid((48, 130, 130))))
    index = np.frombuffer(shard, "<u8", count * 2, len(shard) - 4 - count * 16).reshape(count, 2)
    assert np.array_equal(index[1:, 0], index[:-1].sum(axis=1))
    assert index[0, 0] == 0
