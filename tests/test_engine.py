"""The read engine: equal to zarr-python on any selection, sparing, and loud about every fault."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import pickle
import random
import re
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import psutil
import pytest
import zarr
from arrays import CHUNKS, CODECS, PATH, counts, decoded, dtypes_of, keys, known_codec, stored, volume
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from servers import folder, served
from stores import CountingStore
from trees import Tree
from zarr.abc.store import Store
from zarr.codecs import GzipCodec
from zarr.storage import LocalStore, MemoryStore

import ctspine_zarr as cz
from ctspine_zarr import kernel as native
from ctspine_zarr.arrays import targets
from ctspine_zarr.arrays import threads as read_threads
from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.native import NativeRead
from ctspine_zarr.arrays.reading import ArraySpec, Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, MissingDependency, StorageError, StoreUpdated, UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.format.blosc import Blosc
from ctspine_zarr.format.catalog import (
    CatalogFile,
    Entry,
    decode_catalog,
    decode_root,
    encode_catalog,
    encode_root,
)
from ctspine_zarr.format.profiles import PROFILES
from ctspine_zarr.format.shard import index_size
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Storage, open_storage
from ctspine_zarr.storage.backend import DISTANT
from ctspine_zarr.storage.keys import require_key

pytestmark = pytest.mark.usefixtures("engine")

SHARD = f"{PATH}/{layout.SHARD}"
SHAPES = st.tuples(st.sampled_from([1, 15, 16, 17, 40]), *[st.sampled_from([1, 63, 64, 65, 130])] * 2)
# Of few chunks: numpy takes 0.1 s for each that zarr-python asks it for.
SMALL_SHAPES = st.tuples(
    st.sampled_from([1, 7, 8, 9]), st.sampled_from([1, 63, 65]), st.sampled_from([1, 64])
)


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_selection_is_zarr_pythons(
    profile: str, engine: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dtype = data.draw(st.sampled_from(["int16", "int32", "float32", "float64", "uint8"]))
    is_slow = (profile, engine, dtype) == ("compact", "python", "int16")
    shape = data.draw(SMALL_SHAPES if is_slow else SHAPES)
    array = volume(shape, dtype, data.draw(st.sampled_from([0.0, 0.5, 1.0])))
    cache = data.draw(st.sampled_from([None, 200_000, 10**9]))
    reading = Reading(data.draw(st.sampled_from([1, 3])), ArrayCache(cache) if cache else None)
    store = MemoryStore() if data.draw(st.booleans()) else LocalStore(tmp_path_factory.mktemp("any"))
    voxels = stored(array, store, profile=profile, keep_empty=data.draw(st.booleans()), reading=reading)
    theirs = zarr.open_array(store, path=PATH, mode="r")
    require_equal(voxels, array, theirs, data.draw(st.lists(keys(shape), min_size=1, max_size=4)))


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_selection_of_any_codec_and_chunk_is_zarr_pythons(
    name: str, engine: str, data: st.DataObject
) -> None:
    chunk = data.draw(st.sampled_from(CHUNKS))
    # Few chunks: zarr-python takes a millisecond for one of a few voxels, numpy 0.1 s for one of predict.
    most = 12 if name == "predict" and engine == "python" else 130
    shape = tuple(data.draw(st.integers(1, min(2 * edge + 3, most))) for edge in chunk)
    array = volume(shape, data.draw(dtypes_of(name)), data.draw(st.sampled_from([0.0, 0.5, 1.0])), chunk)
    reading = Reading(
        data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([None, ArrayCache(10**6)]))
    )
    store, codec = MemoryStore(), known_codec(name, array.dtype, chunk)
    voxels = stored(array, store, codec=codec, keep_empty=data.draw(st.booleans()), reading=reading)
    theirs = zarr.open_array(store, path=PATH, mode="r")
    require_equal(voxels, array, theirs, data.draw(st.lists(keys(shape), min_size=1, max_size=4)))


def require_equal(voxels: Voxels, array: NDArray[Any], theirs: Any, selections: list[Any]) -> None:
    """Each selection is that of the array, and that of zarr-python's reading."""
    for key in selections:
        found = voxels[key]
        assert np.array_equal(found, array[key])
        # zarr-python has no negative steps: there it is asked for everything.
        backward = any(isinstance(part, slice) and (part.step or 1) < 0 for part in key)
        assert np.array_equal(found, np.asarray(theirs[...])[key] if backward else theirs[key])
        assert found.dtype == array.dtype
        assert found.flags.c_contiguous
        assert found.flags.writeable


@pytest.mark.parametrize("name", ["noise", "constant", "extremes"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64", "uint8"])
def test_chunks_that_compress_badly_or_wholly_are_read(tmp_path: Path, name: str, dtype: str) -> None:
    shape = (17, 70, 70)
    random_bytes = np.random.default_rng(1).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    kinds = {
        "noise": np.nan_to_num(np.frombuffer(random_bytes, dtype)).reshape(shape),
        "constant": np.full(shape, 7, dtype),
        "extremes": np.resize([0, 1, 127, 255], shape).astype(dtype) * (-1 if dtype != "uint8" else 1),
    }
    array = kinds[name].astype(dtype)
    assert np.array_equal(stored(array, tmp_path)[...], array)


def test_big_reads_by_many_threads_are_equal(tmp_path: Path) -> None:
    array = volume((100, 200, 200))
    voxels = stored(array, tmp_path, reading=Reading(threads=4))
    assert np.array_equal(voxels[...], array)
    assert np.array_equal(voxels[::-3, 5:150:7], array[::-3, 5:150:7])


def test_a_read_uses_as_many_threads_as_it_may_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "kernel", None)
    array = volume((100, 200, 200))
    decompress = Blosc.decompress
    for count in (1, 2, 3):
        voxels = stored(array, tmp_path / str(count), reading=Reading(threads=count))
        busy: set[int] = set()
        most = [0]

        def watched(*arguments: Any, busy: set[int] = busy, most: list[int] = most) -> Any:
            busy.add(threading.get_ident())
            time.sleep(0.001)
            most[0] = max(most[0], len(busy))
            try:
                return decompress(*arguments)
            finally:
                busy.discard(threading.get_ident())

        with monkeypatch.context() as patch:
            patch.setattr(Blosc, "decompress", watched)
            assert np.array_equal(voxels[...], array)
        assert most[0] == count


def test_the_number_of_threads_and_the_cache_must_be_possible(phantom_store: cz.Store) -> None:
    for threads in (0, 2.5, "4"):
        with pytest.raises(UnknownValue, match=f"threads {threads!r}; legal: an integer from 1, or None"):
            cz.open_store(phantom_store.location, threads=threads)  # type: ignore[arg-type]
    for cache in (-1, 1e9, "1GB"):
        with pytest.raises(
            UnknownValue, match=f"cache_bytes {cache!r}; legal: an integer from 0".replace("+", ".")
        ):
            cz.open_store(phantom_store.location, cache_bytes=cache)  # type: ignore[arg-type]
    assert read_threads.default_threads() >= 1


@pytest.mark.parametrize("bad", [0, 3, 399])
def test_a_failure_in_one_thread_is_raised_when_all_have_ended(bad: int) -> None:
    ended: list[int] = []

    def work(items: Iterator[int]) -> None:
        for item in items:
            time.sleep(0.001)
            if item == bad:
                message = "bad"
                raise ValueError(message)
            ended.append(item)

    with pytest.raises(ValueError, match="bad"):
        read_threads.share_out(work, range(400), threads=4)
    when_raised = len(ended)
    time.sleep(0.05)
    assert len(ended) == when_raised < 400


def test_a_read_goes_on_alone_where_no_thread_can_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "cannot schedule new futures after shutdown"
        raise RuntimeError(message)

    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", refuse)
        read_threads.share_out(seen.extend, range(40), threads=4)
    assert sorted(seen) == list(range(40))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 60), threads=st.integers(1, 9))
def test_threads_take_each_item_once(count: int, threads: int) -> None:
    seen: list[int] = []
    read_threads.share_out(seen.extend, range(count), threads)
    assert sorted(seen) == list(range(count))


# Requests, bytes and decoding


@pytest.fixture
def counted(tmp_path: Path) -> tuple[CountingStore, Voxels]:
    """A store that counts, and an array of 6 x 3 x 4 chunks of noise in it."""
    voxels = stored(volume((45, 180, 250)), tmp_path)
    store = CountingStore(tmp_path)
    storage = open_storage(store, read_only=True)
    array = dataclasses.replace(voxels.array, storage=storage)
    return store, dataclasses.replace(voxels, array=array)


def extents(location: Path, shape: Shape) -> NDArray[np.uint64]:
    """Offset and size of every chunk of a shard, (z, y, x, 2), read by hand."""
    data = (location / SHARD).read_bytes()
    count = layout.grid(shape, layout.DEFAULT_CHUNK)
    index = np.frombuffer(
        data, "<u8", int(np.prod(count)) * 2, len(data) - index_size(shape, layout.DEFAULT_CHUNK)
    )
    return index.reshape(*count, 2)


def test_a_slab_is_two_requests_and_then_one(counted: tuple[CountingStore, Voxels], tmp_path: Path) -> None:
    store, voxels = counted
    _ = voxels[20]
    slab = int(extents(tmp_path, voxels.shape)[20 // voxels.chunk[0], ..., 1].sum())
    assert store.reads == [(SHARD, index_size(voxels.shape, voxels.chunk)), (SHARD, slab)]
    _ = voxels[21]
    assert store.reads[2:] == [(SHARD, slab)]


@pytest.mark.parametrize("key", [(20,), (slice(None), 100), (slice(None), slice(None), 100), (0, 0, 0)])
def test_from_a_disk_only_the_chunks_touched_are_read(
    key: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = stored(volume((45, 180, 250)), tmp_path)
    sizes = extents(tmp_path, voxels.shape)[..., 1]
    chunks = tuple(
        part // n if isinstance(part, int) else part for part, n in zip(key, voxels.chunk, strict=False)
    )
    read: list[int] = []
    ranges = Storage.ranges

    def noted(storage: Storage, name: str, wanted: Any) -> Iterator[bytes | memoryview]:
        for data in ranges(storage, name, wanted):
            read.append(len(data))
            yield data

    monkeypatch.setattr(Storage, "ranges", noted)
    before = counts()[1]
    _ = voxels[key]
    assert sum(read) + counts()[1] - before == int(sizes[chunks].sum()) + index_size(
        voxels.shape, voxels.chunk
    )


@settings(max_examples=40, deadline=None)
@given(key=keys((45, 180, 250)))
def test_only_what_is_touched_is_decoded_once(key: Any) -> None:
    array = volume((45, 180, 250))
    voxels = stored(array, MemoryStore())
    positions = np.broadcast_to(np.arange(45)[:, None, None] // layout.DEFAULT_CHUNK[0] * 1000, array.shape)
    rows = np.arange(180)[None, :, None] // 64 * 100
    columns = np.arange(250)[None, None, :] // 64
    expected = len(np.unique((positions + rows + columns)[key]))
    with pytest.MonkeyPatch.context() as patch, decoded(patch) as count:
        assert np.array_equal(voxels[key], array[key])
    assert count[0] == expected


def test_many_slices_decode_each_chunk_once(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = np.prod(layout.grid(case.shape, layout.DEFAULT_CHUNK))
    with decoded(monkeypatch) as count:
        image = case.slices(range(case.shape[0]))["image"]
    assert everything <= count[0] <= 2 * everything
    assert np.array_equal(image, case.image.compute())


def test_slices_come_in_the_order_asked_for(case: cz.Case) -> None:
    volume = case.image.compute()
    mask = case.segmentation.compute()
    for axis, number in (("axial", 0), ("coronal", 1), ("sagittal", 2)):
        wanted = [7, -1, 0, 7, 20]
        sample = case.slices(wanted, axis)  # type: ignore[arg-type]
        assert np.array_equal(sample["image"], np.stack([volume.take(i, number) for i in wanted]))
        assert np.array_equal(sample["segmentation"], np.stack([mask.take(i, number) for i in wanted]))
    assert case.slices([])["image"].shape == (0, *case.shape[1:])
    assert case.slices(np.arange(3), "coronal")["segmentation"].shape == (3, 45, 96)


def test_many_patches_are_those_read_one_by_one(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    starts = random.integers(-10, 40, (12, 3)).tolist()
    alone = [case.patch(start=start, size=(20, 30, 40)) for start in starts]
    with decoded(monkeypatch) as count:
        together = case.patches(starts=np.array(starts), size=(20, 30, 40))
    assert np.array_equal(together["image"], np.stack([one["image"] for one in alone]))
    assert np.array_equal(together["segmentation"], np.stack([one["segmentation"] for one in alone]))
    assert count[0] <= 2 * np.prod(layout.grid(case.shape, layout.DEFAULT_CHUNK))
    middle = case.patches(centers=[(5, 5, 5)], size=4)["image"]
    assert np.array_equal(middle[0], case.patch(center=(5, 5, 5), size=4)["image"])
    with pytest.raises(UnknownValue, match="neither of centers and starts; legal: exactly one of them"):
        case.patches(size=4)
    with pytest.raises(UnknownValue, match="both of centers and starts; legal: exactly one of them"):
        case.patches(size=4, centers=starts, starts=starts)


def test_with_a_cache_a_walk_decodes_each_chunk_once(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cz.open_store(phantom_store.location, cache_bytes=8_000_000)
    case = store["1.3.6.1.4.1.9328.50.4.0001"]
    with decoded(monkeypatch) as count:
        walked = [case.slice(i)["image"] for i in range(case.shape[0])]
    everything = np.prod(layout.grid(case.shape, layout.DEFAULT_CHUNK))
    assert everything <= count[0] <= 2 * everything
    assert np.array_equal(np.stack(walked), case.image.compute())


def test_without_a_cache_nothing_is_kept(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with decoded(monkeypatch) as first:
        _ = case.voxels("image")[0]
    with decoded(monkeypatch) as second:
        _ = case.voxels("image")[0]
    assert second[0] == first[0] > 0


@settings(max_examples=40, deadline=None)
@given(limit=st.integers(1, 50), puts=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 60)), max_size=40))
def test_a_cache_never_outgrows_its_limit_and_keeps_what_was_used_last(
    limit: int, puts: list[tuple[int, int]]
) -> None:
    cache = ArrayCache(limit)
    for number, size in puts:
        cache.put(("a", number), np.zeros(size, "u1"))
        assert cache.bytes <= limit
        assert (cache.get(("a", number)) is not None) == (size <= limit)
    kept = [cache.get(("a", number)) for number in range(9)]
    assert cache.bytes == sum(chunk.nbytes for chunk in kept if chunk is not None)
    assert pickle.loads(pickle.dumps(cache)).bytes == 0  # noqa: S301 - our own


def test_eight_threads_share_one_case(phantom_store: cz.Store) -> None:
    expected = phantom_store["1.3.6.1.4.1.9328.50.4.0001"].image.compute()
    for cache_bytes in (0, 300_000):
        case = cz.open_store(phantom_store.location, threads=2, cache_bytes=cache_bytes)[
            "1.3.6.1.4.1.9328.50.4.0001"
        ]

        def check(seed: int, case: cz.Case = case) -> bool:
            start = np.random.default_rng(seed).integers(0, 30, 3)
            box = tuple(slice(s, s + 40) for s in start)
            return np.array_equal(case.voxels("image")[box], expected[box])

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(check, range(200)))


# Faults


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[Any]]:
    """A folder with one array of 2 x 2 x 2 chunks, and its voxels."""
    folder = tmp_path_factory.mktemp("whole")
    array = volume((12, 70, 66))
    stored(array, folder)
    return folder, array


@pytest.fixture
def damaged(whole: tuple[Path, NDArray[Any]], tmp_path: Path) -> Callable[[bytes | None], Voxels]:
    """A reader of the same array whose shard is other bytes, or is not there."""
    folder, array = whole
    size = (folder / SHARD).stat().st_size
    shutil.copytree(folder, tmp_path / "s")
    voxels = stored(array, tmp_path / "s")

    def with_shard(data: bytes | None) -> Voxels:
        (tmp_path / "s" / SHARD).unlink(missing_ok=True)
        if data is not None:
            (tmp_path / "s" / SHARD).write_bytes(data)
        fresh: Voxels = pickle.loads(pickle.dumps(voxels))  # noqa: S301 - our own
        assert fresh.array.stored_bytes == size
        return fresh

    return with_shard


def corner(number: int) -> tuple[slice, ...]:
    """A box of voxels inside one of the 2 x 2 x 2 chunks."""
    places = np.unravel_index(number, (2, 2, 2))
    return tuple(slice(int(p) * n, int(p) * n + 2) for p, n in zip(places, layout.DEFAULT_CHUNK, strict=True))


def test_a_flipped_byte_is_reported_by_the_read_that_touches_it_and_by_no_other(
    whole: tuple[Path, NDArray[Any]], damaged: Callable[[bytes | None], Voxels]
) -> None:
    folder, array = whole
    data = (folder / SHARD).read_bytes()
    body = len(data) - index_size((12, 70, 66), layout.DEFAULT_CHUNK)
    starts = np.frombuffer(data[body:-4], "<u8").reshape(8, 2)[:, 0]
    chooser = random.Random(0)
    edges = [*starts.tolist(), *(starts[1:] - 1).tolist(), body - 1]
    for at in [*edges, *chooser.sample(range(body), 100)]:
        altered = bytearray(data)
        altered[at] ^= 1 << chooser.randrange(8)
        voxels = damaged(bytes(altered))
        hit = int(np.searchsorted(starts, at, "right")) - 1
        place = tuple(int(i) for i in np.unravel_index(hit, (2, 2, 2)))
        for number in range(8):
            if number == hit:
                message = (
                    rf"{PATH}, chunk \({place[0]}, {place[1]}, {place[2]}\): its checksum fails; run verify"
                )
                with pytest.raises(DamagedStore, match=message):
                    voxels[corner(number)]
            else:
                assert np.array_equal(voxels[corner(number)], array[corner(number)])
    for at in range(body, len(data)):
        altered = bytearray(data)
        altered[at] ^= 1 << chooser.randrange(8)
        with pytest.raises(DamagedStore, match=f"{PATH}, index of its shard: its checksum fails; run verify"):
            damaged(bytes(altered))[corner(at % 8)]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_every_single_bit_of_a_shard_is_guarded(profile: str, dtype: str) -> None:
    store = MemoryStore()
    voxels = stored(volume((2, 3, 4), dtype), store, profile=profile)
    data = store._store_dict[SHARD].to_bytes()
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        voxels.array.storage.put(SHARD, altered)
        with pytest.raises(DamagedStore, match="its checksum fails"):
            dataclasses.replace(voxels)[...]


def sealed(data: bytes, edit: Callable[[NDArray[np.uint64]], object]) -> bytes:
    """The shard with an edited index whose checksum is right again."""
    body = len(data) - index_size((12, 70, 66), layout.DEFAULT_CHUNK)
    index = np.frombuffer(data[body:-4], "<u8").reshape(8, 2).copy()
    edit(index)
    entries = index.tobytes()
    return data[:body] + entries + crc32c.crc32c(entries).to_bytes(4, "little")


LIES: dict[str, Callable[[NDArray[np.uint64]], object]] = {
    "two chunks swapped": lambda index: index.__setitem__([0, 1], index[[1, 0]]),
    "one chunk twice": lambda index: index.__setitem__(3, index[2]),
    "a chunk denied": lambda index: index.__setitem__(4, 2**64 - 1),
    "a chunk without bytes": lambda index: index.__setitem__((2, 1), 0),
    "a chunk beyond the end": lambda index: index.__setitem__((7, 1), index[7, 1] + 1),
    "a chunk cut short": lambda index: index.__setitem__((7, 1), index[7, 1] - 1),
    "a chunk of endless size": lambda index: index.__setitem__((0, 1), 2**64 - 2),
    "all chunks of endless size": lambda index: index.__setitem__((slice(None), 1), 2**63),
    "half a mark of absence": lambda index: index.__setitem__((5, 0), 2**64 - 1),
    "no chunks at all": lambda index: index.__setitem__(..., 2**64 - 1),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_is_an_error(
    whole: tuple[Path, NDArray[Any]], damaged: Callable[[bytes | None], Voxels], lie: str
) -> None:
    voxels = damaged(sealed((whole[0] / SHARD).read_bytes(), LIES[lie]))
    for number in range(8):
        where = f"s, array {PATH}, index of its shard: "
        told = where + "(it has chunk|its chunks end at byte) .*; legal: .*run verify"
        with pytest.raises(DamagedStore, match=told):
            voxels[corner(number)]


def test_a_cut_or_lost_shard_is_an_error(
    whole: tuple[Path, NDArray[Any]], damaged: Callable[[bytes | None], Voxels]
) -> None:
    data = (whole[0] / SHARD).read_bytes()
    for length in (0, 1, 1000, len(data) - 1):
        message = f"its shard has {length} bytes; the catalog says {len(data)}; run verify"
        with pytest.raises(DamagedStore, match=message):
            damaged(data[:length])[0]
    with pytest.raises(DamagedStore, match="its shard is missing; the catalog says"):
        damaged(None)[0]


def test_errors_that_are_kept_keep_no_file(tmp_path: Path) -> None:
    voxels = stored(volume((100, 200, 200)), tmp_path, reading=Reading(threads=4))
    data = bytearray((tmp_path / SHARD).read_bytes())
    for at in range(100, len(data) - index_size(voxels.shape, voxels.chunk), 10_000):
        data[at] ^= 1
    (tmp_path / SHARD).write_bytes(data)
    kept = []
    for _ in range(10):
        with pytest.raises(DamagedStore) as caught:
            voxels[...]
        kept.append(caught.value)
    assert [file for file in psutil.Process().open_files() if file.path.endswith(SHARD)] == []
    assert len(kept) == 10


def test_a_shard_that_the_catalog_makes_too_short_is_an_error(whole: tuple[Path, NDArray[Any]]) -> None:
    voxels = stored(whole[1], MemoryStore())
    short = dataclasses.replace(voxels, array=dataclasses.replace(voxels.array, stored_bytes=20))
    with pytest.raises(DamagedStore, match="the catalog says 20 bytes, fewer than its index has"):
        short[0]


def test_a_shard_cut_or_lost_after_its_index_was_read_is_an_error(
    whole: tuple[Path, NDArray[Any]], damaged: Callable[[bytes | None], Voxels], tmp_path: Path
) -> None:
    data = (whole[0] / SHARD).read_bytes()
    voxels = damaged(data)
    _ = voxels[0]
    (tmp_path / "s" / SHARD).write_bytes(data[:5000])
    with pytest.raises(DamagedStore, match="its shard has 5000 bytes; the catalog says"):
        voxels[11]
    (tmp_path / "s" / SHARD).unlink()
    with pytest.raises(DamagedStore, match="its shard is missing; the catalog says"):
        voxels[0]


def two_of_one_size(location: Path | MemoryStore, codec: str, name: str) -> tuple[Voxels, Voxels]:
    """Two arrays of two chunks each, the same ones in the other order."""
    array = volume((32, 64, 64), "uint8")
    array[16:] //= 10
    paths = (PATH, PATH.replace("liver_1", name))
    one, other = (
        stored(voxels, location, path=path, codec=known_codec(codec, "uint8"))
        for voxels, path in zip((array, np.roll(array, 16, 0)), paths, strict=True)
    )
    assert one.array.stored_bytes == other.array.stored_bytes
    return one, other


@pytest.mark.parametrize("place", ["disk", "far", "far and large"])
@pytest.mark.parametrize("codec", ["blosc-zstd", "zstd"])
def test_two_shards_of_one_size_that_were_swapped_are_found_by_the_first_read(
    tmp_path: Path, codec: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    one, other = two_of_one_size(tmp_path if place == "disk" else store, codec, "liver_2")
    if place != "disk":
        far = dataclasses.replace(DISTANT, small_bytes=0) if place == "far and large" else DISTANT
        monkeypatch.setattr(type(one.array.storage.backend), "merging", far)
    keys = [f"{voxels.array.path}/{layout.SHARD}" for voxels in (one, other)]
    for voxels in (one, other):
        assert np.array_equal(dataclasses.replace(voxels)[5, 6], voxels[...][5, 6])
    shards = [one.array.storage.get(key) for key in keys]
    for key, shard in zip(keys, reversed(shards), strict=True):
        assert shard is not None
        one.array.storage.put(key, shard)
    for voxels in (one, other):
        fresh = dataclasses.replace(voxels, reading=Reading(threads=1))
        with pytest.raises(
            DamagedStore, match=f"{voxels.array.path}: its index is not the one the catalog has; run verify"
        ):
            fresh[0, 0, 0]
        unproven = dataclasses.replace(fresh, array=dataclasses.replace(fresh.array, index_crc32c=None))
        assert unproven[...].shape == (32, 64, 64)


def test_an_index_that_no_shard_can_have_takes_no_memory(tmp_path: Path) -> None:
    voxels = stored(volume((12, 70, 66)), tmp_path)
    lie = dataclasses.replace(voxels.array, shape=(2**14, 2**14, 2**14), stored_bytes=2**40)
    codec = known_codec("zstd", "int16", (1, 1, 1))
    size = voxels.array.stored_bytes
    for array in (lie, dataclasses.replace(lie, stored_bytes=2**60)):
        tracemalloc.start()
        try:
            with pytest.raises(DamagedStore, match=f"its shard has {size} bytes|fewer than its index has"):
                dataclasses.replace(voxels, array=array, codec=codec)[0, 0, 0]
            assert tracemalloc.get_traced_memory()[1] < 10**6
        finally:
            tracemalloc.stop()


def test_an_array_without_a_shard_takes_no_memory_for_its_chunks(tmp_path: Path) -> None:
    voxels = stored(volume((12, 70, 66)), tmp_path)
    array = dataclasses.replace(voxels.array, shape=(2**14, 2**14, 2**14), stored_bytes=0, index_crc32c=0)
    empty = dataclasses.replace(voxels, array=array, codec=known_codec("zstd", "int16", (1, 1, 1)))
    assert np.array_equal(empty[5, :4, ::8000], np.zeros((4, 3)))


# Updates


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a store's manifest knows of updates: it counts how often it is asked."""

    answer: bool
    times: list[int]

    def __call__(self) -> bool:
        self.times.append(1)
        return self.answer


def broken(kind: str, location: Path) -> None:
    """Do to an array what an update does to one that it replaces, or a fault."""
    shard = location / SHARD
    if kind == "removed":
        shard.unlink()
    elif kind == "cut":
        shard.write_bytes(shard.read_bytes()[:100])
    else:
        data = bytearray(shard.read_bytes())
        data[100 if kind == "altered" else -1] ^= 1
        shard.write_bytes(data)


@pytest.mark.parametrize("kind", ["removed", "cut", "altered", "index altered"])
@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_read_of_a_store_that_was_updated_says_so(tmp_path: Path, kind: str, is_foreign: bool) -> None:
    made = stored(volume((12, 70, 66)), tmp_path)
    codec = None if is_foreign else made.codec
    voxels = dataclasses.replace(made, codec=codec)
    updated, other = Asked(answer=True, times=[]), Asked(answer=False, times=[])

    def reader(hook: Asked | None) -> Voxels:
        return dataclasses.replace(voxels, reading=Reading(threads=1, updated=hook))

    assert np.array_equal(reader(updated)[3], made[3])
    assert not updated.times
    broken(kind, tmp_path)
    location = re.escape(made.array.storage.location)
    with pytest.raises(StoreUpdated, match=f"^{location} was updated since it was opened; open it again$"):
        reader(updated)[...]
    for hook in (other, None):
        with pytest.raises(DamagedStore, match=PATH) as caught:
            reader(hook)[...]
        assert not isinstance(caught.value, StoreUpdated)
    assert len(updated.times) == len(other.times) == 1


def test_a_reader_takes_what_tells_of_updates_to_other_processes(tmp_path: Path) -> None:
    voxels = stored(volume((12, 70, 66)), tmp_path, reading=Reading(1, updated=Asked(answer=True, times=[])))
    sent: Voxels = pickle.loads(pickle.dumps(voxels))  # noqa: S301 - our own
    (tmp_path / SHARD).unlink()
    with pytest.raises(StoreUpdated):
        sent[0]


@settings(max_examples=80, deadline=None)
@given(
    at=st.integers(0, 10**6), value=st.integers(0, 255), dtype=st.sampled_from(["int16", "float32", "uint8"])
)
def test_a_chunk_forged_with_a_right_checksum_is_an_error_or_other_voxels_but_never_a_crash(
    at: int, value: int, dtype: str
) -> None:
    array = volume(layout.DEFAULT_CHUNK, dtype)
    store = MemoryStore()
    voxels = stored(array, store)
    data = bytearray(store._store_dict[SHARD].to_bytes())
    end = len(data) - index_size(layout.DEFAULT_CHUNK, layout.DEFAULT_CHUNK) - 4
    at = at % 40 if at % 2 else at % end
    assume(data[at] != value)
    data[at] = value
    data[end : end + 4] = crc32c.crc32c(bytes(data[:end])).to_bytes(4, "little")
    open_storage(store).put(SHARD, data)
    try:
        found = voxels[...]
    except DamagedStore as error:
        assert "chunk (0, 0, 0)" in str(error)  # noqa: PT017 - other voxels are legal too
    else:
        assert found.shape == array.shape


# Foreign stores


@pytest.mark.parametrize("kind", ["gzip", "sharded", "one chunk"])
def test_a_foreign_store_is_read_through_zarr_python(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    tree = Tree(tmp_path / "source")
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    ours = cz.open_store(tmp_path / "s.zarr")["liver_1"].image.compute()
    rewrite(tmp_path / "s.zarr", kind)
    caplog.set_level(logging.DEBUG, "ctspine_zarr")
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    assert case.record.image.codec == "by hand"
    chooser = random.Random(0)
    for _ in range(30):
        key: tuple[Any, ...] = tuple(
            chooser.choice([chooser.randrange(-n, n), slice(chooser.randrange(n), None, 2)])
            for n in case.shape
        )
        assert np.array_equal(case.voxels("image")[key], ours[key])
    assert np.array_equal(case.image.compute(), ours)
    assert np.array_equal(case.slice(3)["image"], ours[3])
    assert np.array_equal(case.slices([3, 1, 3])["image"], ours[[3, 1, 3]])
    assert np.array_equal(case.voxels("image")[::-2, 3, -5:], ours[::-2, 3, -5:])
    assert case.patch(start=(-2, 0, 0), size=8)["image"].shape == (8, 8, 8)
    assert "case liver_1: codec 'by hand' of the catalog is unknown here; reading through" in caplog.text
    metadata = tmp_path / "s.zarr" / PATH / "zarr.json"
    metadata.write_text(metadata.read_text().replace('"int16"', '"uint16"'))
    with pytest.raises(DamagedStore, match="of uint16; the catalog says .* of int16"):
        cz.open_store(tmp_path / "s.zarr")["liver_1"].slice(0)
    document = json.loads(metadata.read_text().replace('"uint16"', '"int16"'))
    document["codecs"].append({"name": "nobodys.codec"})
    metadata.write_text(json.dumps(document))
    with pytest.raises(MissingDependency, match="its codec is missing .*nobodys.codec.*; install"):
        cz.open_store(tmp_path / "s.zarr")["liver_1"].slice(0)
    metadata.unlink()
    with pytest.raises(DamagedStore, match="the array's metadata is missing"):
        cz.open_store(tmp_path / "s.zarr")["liver_1"].slice(0)


def test_a_chunk_missing_from_a_foreign_store_is_an_error(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "source")
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    rewrite(tmp_path / "s.zarr", "gzip")
    next(p for p in (tmp_path / "s.zarr" / PATH / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(DamagedStore, match="a chunk is missing; the catalog says"):
        cz.open_store(tmp_path / "s.zarr")["liver_1"].voxels("image")[...]


def test_a_damaged_foreign_store_is_an_error_of_ours(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "source")
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    rewrite(tmp_path / "s.zarr", "gzip")
    chunk = next(p for p in sorted((tmp_path / "s.zarr" / PATH / "c").rglob("*")) if p.is_file())
    data = chunk.read_bytes()
    chooser = random.Random(0)
    for at in chooser.sample(range(10, len(data)), 60):
        altered = bytearray(data[:at] if at % 2 else data)
        altered[at % len(altered)] ^= 0xFF
        chunk.write_bytes(altered)
        with pytest.raises(DamagedStore, match=rf"s.zarr, array {PATH}, voxels \[.*cannot be decoded"):
            cz.open_store(tmp_path / "s.zarr")["liver_1"].voxels("image")[...]


RAW: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
GZIP: list[dict[str, Any]] = [*RAW, {"name": "gzip", "configuration": {"level": 1}}]


def sharding(chunk: Shape, codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The codec that cuts chunks into such smaller ones."""
    configuration = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": [*RAW, {"name": "crc32c"}]}
    return [{"name": "sharding_indexed", "configuration": configuration}]


def foreign(location: Path | Store | str, chunk: Shape, codecs: list[dict[str, Any]], data: bytes) -> Voxels:
    """A reader of an array of another writer's, of which one chunk is stored."""
    grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
    document = {"zarr_format": 3, "node_type": "array", "shape": [8, 8, 8], "data_type": "int16"}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    document |= {"chunk_grid": grid, "chunk_key_encoding": keys, "fill_value": 0, "codecs": codecs}
    storage = open_storage(location)
    storage.put(f"{PATH}/zarr.json", json.dumps(document).encode())
    storage.put(SHARD, data)
    return Voxels(ArraySpec(storage, PATH, (8, 8, 8), np.dtype("int16"), len(data)), None, Reading())


@pytest.mark.filterwarnings("ignore:Combining a `sharding_indexed` codec")
@pytest.mark.parametrize(
    ("chunk", "codecs", "seen"),
    [
        ((2048, 2048, 256), GZIP, "1 chunks (2048, 2048, 256) in shards (2048, 2048, 256)"),
        ((256, 256, 257), RAW, "1 chunks (256, 256, 257) in"),
        ((2048, 2048, 256), sharding((2048, 2048, 128), RAW), "2 chunks (2048, 2048, 128) in shards (2048,"),
        # All of the shard must be inflated for any of its chunks.
        ((2048, 2048, 256), sharding((8, 8, 8), RAW) + GZIP[1:], "2097152 chunks (2048, 2048, 256) in"),
        ((8192, 8192, 256), sharding((256, 256, 256), RAW), "1024 chunks (256, 256, 256) in shards (8192,"),
        ((256, 256, 128), sharding((1, 1, 1), RAW), "8388608 chunks (1, 1, 1) in shards (256,"),
        ((256, 256, 128), sharding((256, 256, 128), sharding((1, 1, 1), RAW)), "8388608 chunks (256,"),
    ],
)
def test_a_foreign_chunk_larger_than_any_may_be_is_not_inflated(
    chunk: Shape, codecs: list[dict[str, Any]], seen: str
) -> None:
    bomb = gzip.compress(bytes(1 << 25))
    with pytest.raises(DamagedStore, match=re.escape(f"cannot be decoded ({seen}")) as caught:
        foreign(MemoryStore(), chunk, codecs, bomb)[0]
    assert "legal: at most 4194304 chunks of 16777216 voxels, in shards of 8589934592" in str(caught.value)


def test_a_foreign_shard_may_be_larger_than_a_chunk() -> None:
    """As those of this library are: of the chunks that are not stored, none is made."""
    empty = b"\xff" * 16 * 1024
    data = empty + crc32c.crc32c(empty).to_bytes(4, "little")
    voxels = foreign(MemoryStore(), (512, 512, 1024), sharding((64, 64, 64), RAW), data)
    voxels = dataclasses.replace(voxels, array=dataclasses.replace(voxels.array, stored_bytes=0))
    assert not voxels[...].any()


@pytest.mark.timeout(60)
def test_a_foreign_chunk_that_announces_a_petabyte_takes_no_memory(tmp_path: Path) -> None:
    made = foreign(tmp_path, (8, 8, 8), RAW, bytes(1024))

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (b"content-length", b"1000000000000000"),
            (b"last-modified", b"Wed, 21 Oct 2015 07:28:00 GMT"),
        ]
        if not scope["path"].endswith(layout.SHARD):
            await folder(tmp_path)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(1 << 12):
            await send({"type": "http.response.body", "body": b"x" * (1 << 16), "more_body": True})

    with served(endless) as url:
        storage = open_storage(url, read_only=True)
        voxels = dataclasses.replace(made, array=dataclasses.replace(made.array, storage=storage))
        with pytest.raises(StorageError, match="it has 1000000000000000 bytes; legal: at most 67108864$"):
            voxels[0]


@pytest.mark.parametrize("at", [0, 8])
def test_a_foreign_index_that_leads_anywhere_is_an_error_of_ours(at: int) -> None:
    for value in (1 << 40, (1 << 64) - 2):
        index = bytearray((0).to_bytes(8, "little") + (1024).to_bytes(8, "little"))
        index[at : at + 8] = value.to_bytes(8, "little")
        data = bytes(1024) + index + crc32c.crc32c(bytes(index)).to_bytes(4, "little")
        with pytest.raises(DamagedStore, match=f"array {PATH}, voxels .*"):
            foreign(MemoryStore(), (8, 8, 8), sharding((8, 8, 8), RAW), data)[0]


def test_what_zarr_python_cannot_read_together_is_one_error(tmp_path: Path) -> None:
    """Chunks of a shard are read at once, and each fails."""
    made = foreign(tmp_path, (8, 8, 8), sharding((4, 4, 4), RAW), bytes(8 * 128 + 8 * 16 + 4))
    storage = Refusing(made.array.storage.backend, "here")
    voxels = dataclasses.replace(made, array=dataclasses.replace(made.array, storage=storage))
    with pytest.raises(StorageError, match="^refused$"):
        voxels[:, 0, 0]


@dataclasses.dataclass(frozen=True)
class Refusing(Storage):
    """Has an index, and gives no chunk."""

    def ranges(self, key: str, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes | memoryview]:
        require_key(key)
        [(start, stop)] = ranges
        if stop - start != 8 * 16 + 4:
            message = "refused"
            raise StorageError(message)
        index = np.array([[128 * number, 128] for number in range(8)], "<u8").tobytes()
        yield index + crc32c.crc32c(index).to_bytes(4, "little")


def test_a_shard_is_looked_at_before_its_chunks_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that lies of a shape takes neither time nor memory for the chunks of it."""
    made = stored(volume((12, 70, 66)), tmp_path)
    fail = lambda *_: pytest.fail("its chunks were listed")  # noqa: E731
    monkeypatch.setattr(targets, "touched_chunks", fail)
    monkeypatch.setattr(NativeRead, "of", fail)
    for size, seen in ((100, "has 100 bytes"), (None, "is missing")):
        if size is None:
            (tmp_path / SHARD).unlink()
        else:
            (tmp_path / SHARD).write_bytes(bytes(size))
        voxels = dataclasses.replace(made)
        with pytest.raises(DamagedStore, match=f"its shard {seen}; the catalog says"):
            voxels[...]


def rewrite(location: Path, kind: str) -> None:
    """Store both arrays with other chunks and codecs, and say so in the catalog."""
    kinds: dict[str, dict[str, Any]] = {
        "gzip": {"chunks": (5, 7, 9), "compressors": GzipCodec()},
        "sharded": {"chunks": (4, 8, 8), "shards": (8, 16, 16)},
        "one chunk": {"chunks": "auto"},
    }
    storage = open_storage(location)
    root = decode_root(storage.get(layout.ROOT))
    group = zarr.open_group(location, mode="r+")
    for name in (layout.IMAGE, layout.mask_path(root.dataset.mask)):
        path = f"{PATH.removesuffix('image')}{name}"
        voxels: Any = group[path][...]  # type: ignore[index]
        group.create_array(
            path, data=voxels, overwrite=True, config={"write_empty_chunks": True}, **kinds[kind]
        )
    assert root.catalog is not None
    entries = decode_catalog(storage.get(root.catalog.key) or b"", root.dataset)
    catalog = encode_catalog(root.dataset, map(by_hand, entries))
    named = CatalogFile(sha256(catalog), len(catalog), len(entries))
    storage.put(named.key, catalog)
    storage.put(layout.ROOT, encode_root(structs.replace(root, catalog=named)))


def by_hand(entry: Entry) -> Entry:
    """The entry of a case whose arrays are of a codec that nobody knows."""
    record = entry.record
    assert record.segmentation is not None
    image, mask = (structs.replace(each, codec="by hand") for each in (record.image, record.segmentation))
    return structs.replace(entry, record=structs.replace(record, image=image, segmentation=mask))
