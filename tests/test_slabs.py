"""Slabs in the catalog: true where they are told, refused where they cannot be, used only to ask."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import known_codec
from hostile import Author
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stores import objects

import ctspine_zarr as cz
from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.reading import ArraySpec
from ctspine_zarr.arrays.slabs import Held, beside_index
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format.layout import grid
from ctspine_zarr.format.shard import (
    SMALL_SHARD,
    decode_index,
    encode_shard,
    index_size,
    packed_slabs,
    slabs,
    unpacked_slabs,
)
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import open_storage
from ctspine_zarr.storage.backend import DISTANT

CASE = "1.3.6.1.4.1.9328.50.4.0001"
CHUNK = (8, 64, 64)
CODEC = known_codec("blosc-zstd", "int16", CHUNK)


def shard_of(volume: NDArray[Any], *, keep_empty: bool = True) -> memoryview:
    return encode_shard(slabs(volume, CHUNK), CODEC, keep_empty=keep_empty)


def noise(shape: Shape) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 3000, shape).astype(np.int16)


def test_slabs_are_those_of_the_index() -> None:
    volume = noise((29, 130, 200))
    volume[8:16] = 0
    shard = shard_of(volume, keep_empty=False)
    body = len(shard) - index_size(volume.shape, CHUNK)
    bounds = decode_index(shard[body:], volume.shape, CHUNK, body).tolist()
    found = unpacked_slabs(packed_slabs(shard, volume.shape, CHUNK))
    assert found == tuple(bounds[3 * 4 * (z + 1)] - bounds[3 * 4 * z] for z in range(4))
    assert found[1] == 0
    assert sum(found) == body


def test_of_a_shard_that_is_read_whole_no_slabs_are_told() -> None:
    volume = noise((8, 64, 64))
    assert packed_slabs(shard_of(volume), volume.shape, CHUNK) == b""
    assert packed_slabs(memoryview(b""), volume.shape, CHUNK) == b""
    assert DISTANT.small_bytes == SMALL_SHARD


@given(st.lists(st.integers(0, 2**32 - 1), max_size=9))
def test_packed_numbers_are_read_as_they_were(sizes: list[int]) -> None:
    assert list(unpacked_slabs(np.array(sizes, "<u4").tobytes())) == sizes


LIES: dict[str, tuple[Any, str]] = {
    "too few": (lambda _, body: [body], r"1 slabs of \d+ bytes in an array of shape"),
    "too many": (lambda count, body: [body, *[0] * count], r"legal: \d+ of \d+, which its chunks have"),
    "a byte less": (lambda count, body: [body - 1, *[0] * (count - 1)], "which its chunks have"),
    "more than any": (lambda count, _: [2**32 - 1] * count, "which its chunks have"),
    "a part of a number": (lambda *_: b"abc", "3 bytes of slabs; legal: 4 for each"),
    "no base64": (lambda *_: "?", "Malformed|slabs"),
}


@pytest.mark.parametrize("lie", LIES)
def test_slabs_that_no_shard_can_have_are_refused(phantom_store: cz.Store, tmp_path: Path, lie: str) -> None:
    make, seen = LIES[lie]
    shutil.copytree(phantom_store.location, tmp_path / "s.zarr")
    author = Author(objects(tmp_path / "s.zarr"))
    record = author.record(CASE)
    array, shape = record["image"], phantom_store[CASE].shape
    found = make(grid(shape, CHUNK)[0], array["bytes"] - index_size(shape, CHUNK))
    packed = np.array(found, "<u4").tobytes() if isinstance(found, list) else found
    array["slabs"] = packed if isinstance(packed, str) else base64.b64encode(packed).decode()
    for key, data in author.case(CASE, record=record).items():
        (tmp_path / "s.zarr" / key).write_bytes(data)
    with pytest.raises(DamagedStore, match=seen):
        cz.open_store(tmp_path / "s.zarr")


def test_a_catalog_that_tells_of_no_slabs_opens(phantom_store: cz.Store) -> None:
    # As those of before 0.2.0, and as small shards everywhere.
    assert all(not record.image.slabs for record in phantom_store.records.values())


class Spans:
    """What is asked for beside the index of an array of 4 slabs of 3 x 4 chunks, of these bytes."""

    def __init__(self, sizes: list[int]) -> None:
        packed = np.array(sizes, "<u4").tobytes()
        storage = open_storage("memory://nothing")
        self.array = ArraySpec(storage, "a", (32, 192, 256), np.dtype(np.int16), 10**9, 0, packed)

    def of(self, *boxes: tuple[slice, slice, slice]) -> list[tuple[int, int]]:
        requests = []
        for box in boxes:
            z, y, x = (range(n)[part] for part, n in zip(box, self.array.shape, strict=True))
            requests.append(Request.of((z, y, x), np.empty((len(z), len(y), len(x)), np.int16)))
        return beside_index(self.array, CHUNK, requests, DISTANT)


MB = 1_000_000


def test_a_slice_is_its_slab() -> None:
    assert Spans([3 * MB, 4 * MB, 5 * MB, 6 * MB]).of(np.s_[17:18, :, :]) == [(7 * MB, 12 * MB)]


def test_slabs_are_not_asked_for_where_little_of_them_is_wanted() -> None:
    spans = Spans([3 * MB] * 4)
    assert spans.of(np.s_[0:1, 0:64, 0:64]) == []
    assert spans.of(np.s_[0:1, 0:128, :]) == [(0, 3 * MB)]
    # A twelfth of each, of little slabs and of all of them.
    assert Spans([MB // 2] * 4).of(np.s_[:, 0:64, 0:64]) == [(0, 2 * MB)]


def test_neighbours_and_what_lies_close_are_one() -> None:
    spans = Spans([MB, 100_000, MB, MB])
    assert spans.of(np.s_[0:1, :, :], np.s_[16:17, :, :]) == [(0, 2 * MB + 100_000)]
    spans = Spans([MB, MB, MB, MB])
    assert spans.of(np.s_[0:1, :, :], np.s_[31:32, :, :]) == [(0, MB), (3 * MB, 4 * MB)]


def test_no_more_is_asked_for_than_a_range_may_have() -> None:
    assert Spans([5 * MB] * 4).of(np.s_[:, :, :]) == []


def test_only_bytes_that_are_all_there_are_held() -> None:
    held = Held([(10, memoryview(b"abcdef")), (30, memoryview(b"xyz"))])
    assert bytes(held.get((12, 15)) or b"") == b"cde"
    assert bytes(held.get((30, 33)) or b"") == b"xyz"
    assert held.get((9, 12)) is held.get((14, 31)) is held.get((31, 34)) is None
