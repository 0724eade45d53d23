"""The codec `predict`: lossless, the same bytes from both implementations, and no harm from other bytes."""

from __future__ import annotations

import importlib
import json
import math
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctspine_zarr import kernel
from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.predict.codec import Predict
from ctspine_zarr.format.predict.decode import decode_batch
from ctspine_zarr.format.predict.encode import encode
from ctspine_zarr.format.predict.tables import CLASSES, SLOTS, TABLES, class_of, family
from ctspine_zarr.zarr_codec import PredictCodec

VECTORS = Path(__file__).parent / "vectors"
KINDS = ["smooth", "noise", "wide", "constant", "extremes", "steps", "sparse", "edge"]

shapes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 70))


def content(kind: str, shape: tuple[int, ...], seed: int) -> NDArray[np.int16]:
    """A chunk of a kind."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 12, shape)
    fields: dict[str, Any] = {
        "smooth": 400 + np.cumsum(noise, axis=-1) + np.cumsum(noise, axis=-2) / 2,
        "noise": noise * 4,
        "wide": random.integers(-32768, 32768, shape),
        "constant": np.full(shape, random.integers(-32768, 32768)),
        "extremes": random.choice([-32768, 32767], shape),
        "steps": random.integers(-90, 90, shape) * 7 - 3,
        "sparse": np.where(random.random(shape) < 0.02, 20_000, -1024),
        "edge": np.where(np.indices(shape)[-1] * 2 < shape[-1], noise - 900, 0),
    }
    values: NDArray[np.float64] = np.asarray(fields[kind], np.float64)
    return values.round().astype(np.int64).astype(np.int16)


def decoded(data: bytes, shape: tuple[int, ...]) -> NDArray[np.int16]:
    z, y, x = shape
    (chunk,) = decode_batch([memoryview(data)], (z, y, x))
    return np.asarray(chunk, np.int16)


@pytest.fixture(scope="module", name="native")
def built_native() -> ModuleType:
    module: ModuleType = pytest.importorskip("ctspine_zarr_native", reason="the native kernel is not built")
    if not hasattr(module, "predict_decode"):
        pytest.skip("the native kernel is an older one")
    return module


def natively_decoded(native: ModuleType, data: bytes, shape: tuple[int, ...]) -> NDArray[np.int16]:
    out = np.full(shape, 77, np.int16)
    native.predict_decode(data, shape, out)
    return out


@settings(deadline=None, max_examples=40)
@given(shape=shapes, kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_every_content_of_every_shape_comes_back(shape: tuple[int, ...], kind: str, seed: int) -> None:
    chunk = content(kind, shape, seed)
    data = encode(chunk)
    assert len(data) <= 2 * chunk.size + 1
    np.testing.assert_array_equal(decoded(data, shape), chunk)


@settings(deadline=None, max_examples=40)
@given(shape=shapes, kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_both_implementations_make_and_read_the_same_bytes(
    native: ModuleType, shape: tuple[int, ...], kind: str, seed: int
) -> None:
    chunk = content(kind, shape, seed)
    data = native.predict_encode(chunk, shape)
    assert data == encode(chunk)
    np.testing.assert_array_equal(natively_decoded(native, data, shape), chunk)


@pytest.mark.parametrize("shape", [(8, 64, 64), (3, 20, 95), (16, 16, 128)])
@pytest.mark.parametrize("kind", ["smooth", "edge"])
def test_the_usual_chunks_are_the_same_in_both(native: ModuleType, shape: Any, kind: str) -> None:
    chunk = content(kind, shape, 1)
    data = native.predict_encode(chunk, shape)
    assert data == encode(chunk)
    np.testing.assert_array_equal(decoded(data, shape), chunk)
    np.testing.assert_array_equal(natively_decoded(native, data, shape), chunk)


@settings(deadline=None, max_examples=80)
@given(
    kind=st.sampled_from(["smooth", "sparse", "edge", "steps", "constant", "wide"]),
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), max_size=3),
    end=st.none() | st.integers(0, 2**16),
    more=st.binary(max_size=4),
)
def test_altered_bytes_are_malformed_or_another_chunk(
    kind: str, flips: list[tuple[int, int]], end: int | None, more: bytes
) -> None:
    shape = (2, 4, 37)
    data = bytearray(encode(content(kind, shape, 5)))
    for at, bits in flips:
        data[at % len(data)] ^= bits
    data = data[: end if end is None else end % len(data)] + more
    outcomes: list[Any] = [outcome(lambda: decoded(bytes(data), shape))]
    if kernel.kernel is not None:
        codec = Predict(np.dtype("i2"), shape)
        outcomes.append(outcome(lambda: codec.decompress(memoryview(data)).voxels))
    assert all(np.array_equal(outcomes[0], other) for other in outcomes)


def outcome(decode: Any) -> Any:
    """The voxels, or that there are none: any other error fails the test."""
    try:
        return decode().tolist()
    except Malformed:
        return "malformed"


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_malformed_or_a_chunk(data: bytes) -> None:
    outcome(lambda: decoded(bytes([2]) + data, (2, 3, 20)))
    outcome(lambda: decoded(data, (2, 3, 20)))


def test_every_truncation_is_malformed() -> None:
    shape = (2, 4, 37)
    data = encode(content("smooth", shape, 3))
    for end in range(0, len(data), 3):
        with pytest.raises(Malformed):
            decoded(data[:end], shape)
    with pytest.raises(Malformed):
        decoded(data + bytes(2), shape)


def test_a_batch_mixes_all_kinds_of_chunks() -> None:
    shape = (3, 8, 40)
    chunks = [content(kind, shape, seed) for kind in KINDS for seed in (1, 2)]
    batch = decode_batch([memoryview(encode(chunk)) for chunk in chunks], shape)
    np.testing.assert_array_equal(batch, chunks)


def test_what_lies_beyond_the_volume_costs_nothing() -> None:
    whole = content("noise", (8, 32, 32), 1)
    cut = whole[:3, :20, :25]
    filled = np.zeros_like(whole)
    filled[:3, :20, :25] = cut
    assert len(encode(filled)) <= len(encode(np.ascontiguousarray(cut))) + 12


def test_tables_share_out_their_slots() -> None:
    tables = family()
    slots = tables.slots.reshape(TABLES, SLOTS)
    ranks, ks, frequencies = slots & 0x1FF, slots >> 9 & 7, slots >> 23
    assert (ranks < frequencies).all()
    assert not (frequencies % (1 << np.maximum(ks - 6, 0))).any()
    assert np.array_equal(np.unique(class_of(np.arange(-32768, 32768).astype(np.int16))), np.arange(CLASSES))


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / "predict.json").read_text())
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
@pytest.mark.parametrize("implementation", ["numpy", "native"])
def test_vectors(vector: dict[str, Any], implementation: str, request: pytest.FixtureRequest) -> None:
    data, shape = bytes.fromhex(vector["bytes"]), tuple(vector["shape"])
    voxels = np.array(vector["voxels"], np.int16).reshape(shape)
    if implementation == "numpy":
        made, read = encode(voxels), decoded(data, shape)
    else:
        native = request.getfixturevalue("native")
        made, read = native.predict_encode(voxels, shape), natively_decoded(native, data, shape)
    assert made == data
    np.testing.assert_array_equal(read, voxels)


@pytest.mark.parametrize("shape", [(20, 70, 65), (33, 40), (100,)])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_zarr_python_writes_and_reads(tmp_path: Path, shape: Any, is_sharded: bool) -> None:
    chunk = tuple(min(n, 16) for n in shape)
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=shape,
        chunks=chunk,
        shards=tuple(-(-n // 16) * 16 for n in shape) if is_sharded else None,
        dtype="int16",
        serializer=PredictCodec(),
        compressors=None,
    )
    voxels = content("smooth", shape if len(shape) > 1 else (1, *shape), 1).reshape(shape)
    array[...] = voxels
    again = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert again.metadata == array.metadata
    np.testing.assert_array_equal(again[...], voxels)


def test_zarr_python_is_told_of_what_is_not_legal(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="legal: int16, 1 to 3"):
        zarr.create_array(
            tmp_path / "a.zarr", shape=(4,), dtype="int32", serializer=PredictCodec(), compressors=None
        )
    with pytest.raises(ValueError, match="has no options"):
        PredictCodec.from_dict({"name": Predict.zarr_name, "configuration": {"level": 3}})


def test_the_codec_of_an_array_can_be_pickled_and_says_what_is_malformed() -> None:
    codec = Predict(np.dtype("i2"), (2, 3, 20))
    assert pickle.loads(pickle.dumps(codec)) == codec  # noqa: S301
    chunk = content("smooth", (2, 3, 20), 1)
    np.testing.assert_array_equal(codec.decompress(memoryview(codec.compress(chunk))).voxels, chunk)
    with pytest.raises(Malformed):
        codec.decompress(memoryview(b"\x09"))
    assert math.prod(codec.chunk) == chunk.size
    assert importlib.import_module("ctspine_zarr.zarr_codec").PredictCodec is PredictCodec


@pytest.mark.parametrize("order", ["<", ">", "="])
def test_voxels_of_a_file_of_any_byte_order_are_compressed(order: Any) -> None:
    shape = (2, 4, 37)
    chunk = content("smooth", shape, 5)
    codec = Predict(np.dtype("i2"), shape)
    said = chunk.astype(chunk.dtype.newbyteorder(order))
    assert codec.compress(said) == codec.compress(chunk) == encode(chunk)
