"""Reading from elsewhere: few requests, the same voxels, and errors where a read would hang."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import mean_of_slice
from conftest import Bucket
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from servers import Watched, folder, served
from stores import catalog_of, write_state
from trees import Tree, labels, nibabel_canonical, voxels

import ctspine_zarr as cz
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import DamagedStore, NotAStore, StorageError, UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.format.shard import decode_index, index_size, unpacked_slabs
from ctspine_zarr.storage import open_storage

SHAPE = (300, 260, 90)
"""(i, j, k): 6 slabs of 5 x 5 chunks, of which a slab is 2 MB."""
CASE = "liver_1"


@dataclasses.dataclass(frozen=True)
class Web:
    """A store behind a web server.

    Attributes:
        path: where its files are.
        server: what it was asked.
        url: what to open.
        volume: the image's voxels, (z, y, x), by nibabel.
    """

    path: Path
    server: Watched
    url: str
    volume: NDArray[Any]

    def asked(self, ending: str = "") -> list[tuple[str, int]]:
        """Key and bytes of every request since the last question."""
        found = [(r.path.lstrip("/"), r.sent) for r in self.server.requests if r.path.endswith(ending)]
        self.server.requests.clear()
        return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A case as large as those in which slabs are worth a request each."""
    root = tmp_path_factory.mktemp("large")
    tree = Tree(root / "source")
    image = tree.add(CASE, voxels(shape=SHAPE), labels(SHAPE))
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    server = Watched(folder(root / "s.zarr"))
    with served(server) as url:
        yield Web(root / "s.zarr", server, url, nibabel_canonical(image))


@pytest.fixture
def web(large: Web) -> Iterator[Web]:
    large.server.requests.clear()
    yield large
    large.server.heal()


def bounds(web: Web) -> NDArray[np.int64]:
    """Where the chunks of the image lie in its shard."""
    record = cz.open_store(web.path)[CASE].record
    shard = (web.path / record.path / layout.IMAGE / layout.SHARD).read_bytes()
    body = len(shard) - index_size(record.shape, record.image.chunk)
    return decode_index(shard[body:], record.shape, record.image.chunk, body)


def test_a_store_of_1005_cases_opens_with_two_requests(web: Web, tmp_path: Path) -> None:
    one = cz.open_store(web.path)
    records = [structs.replace(one.records[CASE], id=f"liver_{n}") for n in range(1005)]
    write_state(tmp_path, one.spec, records)
    server = Watched(folder(tmp_path))
    with served(server) as url:
        store = cz.open_store(url)
        assert len(store.cases) == len(store.select(split="train")) == 1005
        assert [request.path for request in server.requests] == [
            "/zarr.json",
            f"/{catalog_of(tmp_path).name}",
        ]


def test_a_cold_slice_is_three_requests_and_a_warm_one_one(web: Web) -> None:
    case = cz.open_store(web.url)[CASE]
    assert len(web.asked()) == 2
    for index in (40, 41, 3):
        image = case.slice(index)["image"]
        assert np.array_equal(image, web.volume[index])
        shards = [key.rpartition("/c/")[0].rpartition("/")[2] for key, _ in web.asked()]
        # The mask is small: it came whole, its index with it.
        assert sorted(shards) == (["image", "image", "segmentation"] if index == 40 else ["image"])


def test_an_axial_slice_of_one_array_is_its_index_and_its_slab(web: Web) -> None:
    image = cz.open_store(web.url)[CASE].voxels("image")
    _ = web.asked(), image[50]
    edges = bounds(web)
    slab = int(edges[7 * 25] - edges[6 * 25])
    assert sorted(size for _, size in web.asked()) == [index_size(image.shape, image.chunk), slab]


def test_a_cold_slice_takes_one_round_trip_and_a_warm_one_one(web: Web) -> None:
    web.server.latency = 0.05
    case = cz.open_store(web.url)[CASE]
    for index in (40, 41, 3):
        web.asked()
        assert np.array_equal(case.slice(index)["image"], web.volume[index])
        assert web.server.rounds == 1


def test_without_slabs_in_its_catalog_a_cold_slice_takes_two_round_trips(web: Web) -> None:
    web.server.latency = 0.05
    image = told(web, b"")
    web.asked()
    assert np.array_equal(image[40], web.volume[40])
    assert web.server.rounds == 2


def told(web: Web, slabs: bytes) -> Voxels:
    """The image as if the catalog said this of its slabs; nothing of its shard was read."""
    image = cz.open_store(web.url)[CASE].voxels("image")
    return dataclasses.replace(image, array=dataclasses.replace(image.array, slabs=slabs))


def test_slabs_whose_bytes_are_mostly_wanted_come_with_the_index(web: Web) -> None:
    web.server.latency = 0.05
    # Of a slab of a megabyte, a column of chunks is a fifth, and two slabs are all of 16 slices.
    for box, rounds in (
        (np.s_[8:24], 1),
        (np.s_[8:24, :200], 1),
        (np.s_[30:40, 100:120, 70:80], 1),
        (np.s_[:, 100, 70:80], 2),
        (np.s_[::80, :, :], 1),
    ):
        image = cz.open_store(web.url)[CASE].voxels("image")
        web.asked()
        assert np.array_equal(image[box], web.volume[box])
        assert web.server.rounds == rounds, box


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_catalog_that_lies_of_slabs_costs_no_voxel(large: Web, data: st.DataObject) -> None:
    true = unpacked_slabs(cz.open_store(large.path)[CASE].record.image.slabs)
    cuts = data.draw(st.lists(st.integers(0, sum(true)), min_size=len(true) - 1, max_size=len(true) - 1))
    edges = [0, *sorted(cuts), sum(true)]
    lie = np.diff(edges).astype("<u4").tobytes()
    spans = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in large.volume.shape]
    box = tuple(slice(*span) for span in spans)
    large.asked()
    assert np.array_equal(told(large, lie)[box], large.volume[box])


def test_a_slab_that_is_cut_is_damage(bucket: Bucket, tree: Tree) -> None:
    tree.add(CASE, voxels(shape=(200, 200, 40)), labels((200, 200, 40)))
    location = bucket.new()
    cz.build_store(cz.plan_build(tree.root, location, storage_options=bucket.options, workers=1))
    image = cz.open_store(location, storage_options=bucket.options)[CASE].voxels("image")
    assert image.array.slabs
    storage = open_storage(location, options=bucket.options)
    key = f"{image.array.path}/{layout.SHARD}"
    storage.put(key, (storage.get(key) or b"")[:1000])
    with pytest.raises(DamagedStore, match="its shard has 1000 bytes"):
        image[0]


def test_a_cube_is_a_request_a_slab_and_reads_little_else(web: Web) -> None:
    image = cz.open_store(web.url)[CASE].voxels("image")
    _ = image[0], web.asked()
    start = (10, 70, 130)
    box = tuple(slice(s, s + 96) for s in start)
    image = cz.open_store(web.url)[CASE].voxels("image")
    _ = web.asked()
    assert np.array_equal(image[box], web.volume[box])
    index, *slabs = web.asked()
    rows = range(start[0] // 8, (min(start[0] + 96, len(web.volume)) - 1) // 8 + 1)
    assert len(slabs) == len(rows)
    edges = bounds(web).reshape(-1)
    touched = [(z * 5 + y) * 5 + x for z in rows for y in range(70 // 64, 3) for x in range(130 // 64, 4)]
    wanted = sum(int(edges[number + 1] - edges[number]) for number in touched)
    assert wanted <= sum(size for _, size in slabs) < 2.5 * wanted
    assert index[1] == index_size(image.shape, image.chunk)


def test_requests_of_a_read_are_under_way_together(web: Web) -> None:
    web.server.latency = 0.2
    image = cz.open_store(web.url)[CASE].voxels("image")
    _ = image[0]
    web.server.busiest = 0
    _ = image[0:96:16, 0, 0]
    assert web.server.busiest == 6


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_voxels_are_those_of_the_file_whatever_fails(large: Web, data: st.DataObject) -> None:
    every = data.draw(st.integers(2, 5))
    faults: list[int | str] = [503, 429, "cut"]
    fault = data.draw(st.sampled_from(faults))
    # What is asked again may fail again, but not for ever.
    large.server.fault = lambda number, *_: fault if number % every == 0 else None
    case = cz.open_store(large.url)[CASE]
    spans = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in large.volume.shape]
    box = tuple(slice(*span) for span in spans)
    assert np.array_equal(case.voxels("image")[box], large.volume[box])
    large.server.heal()


def test_64_random_patches_at_once(web: Web) -> None:
    web.server.latency = 0.01
    case = cz.open_store(web.url)[CASE]
    random = np.random.default_rng(0)
    starts = [[int(random.integers(0, max(1, n - 40))) for n in web.volume.shape] for _ in range(64)]
    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(lambda start: case.patch(start=start, size=40)["image"], starts))
    for start, patch in zip(starts, found, strict=True):
        assert np.array_equal(patch, web.volume[tuple(slice(s, s + 40) for s in start)])
    assert web.server.busiest <= 64 + 64


def test_a_stream_asks_once_a_slab(web: Web) -> None:
    local, remote = (cz.Stream(cz.open_store(where), cz.Slices(seed=3)) for where in (web.path, web.url))
    web.asked()
    for one, other in zip(local, remote, strict=True):
        assert one["slice_index"] == other["slice_index"]
        assert np.array_equal(one["image"], other["image"])
        assert np.array_equal(one["segmentation"], other["segmentation"])
    slabs = -(-len(web.volume) // layout.DEFAULT_CHUNK[0])
    assert len(web.asked()) == slabs + 2  # the image's index, the mask
    assert len(list(remote)) == len(web.volume)
    assert len(web.asked()) == slabs


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_stream_reads_as_far_ahead_as_it_is_told(web: Web, prefetch: int) -> None:
    web.server.latency = 0.05
    stream = iter(cz.Stream(cz.open_store(web.url), cz.Slices(), buffer=2, prefetch=prefetch))
    next(stream)
    web.server.busiest = 0
    _ = [next(stream) for _ in range(40)]
    assert (web.server.busiest > 1) == (prefetch > 1)


def test_a_stream_that_is_left_ends_its_reading(web: Web) -> None:
    web.server.latency = 0.01

    def leave(streams: int) -> None:
        for _ in range(streams):
            stream = iter(cz.Stream(cz.open_store(web.url), cz.Slices(), prefetch=2))
            next(stream)
            del stream

    # Threads of pools, which stay, begin as they are first needed.
    leave(3)
    before = threading.active_count()
    leave(20)
    while threading.active_count() > before + 4:
        time.sleep(0.01)


def test_an_error_ahead_comes_where_its_samples_would(web: Web) -> None:
    stream = cz.Stream(
        cz.open_store(web.url, storage_options={"retry_config": {"max_retries": 0}}), cz.Slices()
    )
    slices = iter(stream)
    next(slices)
    web.server.fault = lambda *_: 404
    with pytest.raises(DamagedStore, match="image: its shard is missing"):
        list(slices)


def test_a_lost_or_altered_object_is_an_error(bucket: Bucket, tree: Tree) -> None:
    tree.add(CASE, voxels(shape=(200, 200, 40)), labels((200, 200, 40)))
    location = bucket.new()
    cz.build_store(cz.plan_build(tree.root, location, storage_options=bucket.options, workers=1))
    record = cz.open_store(location, storage_options=bucket.options)[CASE].record
    writable = open_storage(location, options=bucket.options)
    key = f"{record.path}/image/{layout.SHARD}"
    shard = bytearray(writable.get(key) or b"")
    shard[100] ^= 1
    writable.put(key, shard)
    with pytest.raises(DamagedStore, match=r"chunk \(0, 0, 0\).*run verify"):
        cz.open_store(location, storage_options=bucket.options)[CASE].slice(0)
    assert not cz.verify(location, storage_options=bucket.options).is_whole
    writable.remove(key)
    with pytest.raises(DamagedStore, match="its shard is missing"):
        cz.open_store(location, storage_options=bucket.options)[CASE].slice(0)


def test_what_is_no_store_is_told(web: Web, bucket: Bucket) -> None:
    with pytest.raises(NotAStore, match="nothing is no ctspine_zarr store: it has no zarr.json"):
        cz.open_store(f"{web.url}/nothing")
    with pytest.raises(NotAStore, match="it has no zarr.json"):
        cz.open_store(bucket.new(), storage_options=bucket.options)
    nowhere = bucket.options | {"endpoint": "http://127.0.0.1:9", "retry_config": {"max_retries": 1}}
    with pytest.raises(StorageError, match="cannot read 'zarr.json' in s3://none/s.zarr|NoSuchBucket"):
        cz.open_store("s3://none/s.zarr", storage_options=nowhere)


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_processes_read_after_their_parent_has(web: Web, method: str) -> None:
    store = cz.open_store(web.url)
    mean = mean_of_slice(store, CASE)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(mean_of_slice, [store] * 4, [CASE] * 4)) == [mean] * 4


# -- the cache on disk


@pytest.fixture
def reopened(web: Web, tmp_path: Path) -> Callable[..., cz.Store]:
    def open_again(**options: Any) -> cz.Store:
        return cz.open_store(web.url, disk_cache=tmp_path / "cache", **options)

    return open_again


def test_what_is_cached_on_disk_is_not_asked_again(web: Web, reopened: Callable[..., cz.Store]) -> None:
    box = (slice(20, 60), slice(5, 100), slice(30, 90))
    first = reopened()[CASE].patch(start=[s.start for s in box], size=[s.stop - s.start for s in box])
    assert np.array_equal(first["image"], web.volume[box])
    assert web.asked("c/0/0/0")
    for case in (reopened()[CASE], reopened()[CASE]):
        assert np.array_equal(case.voxels("image")[box], web.volume[box])
    assert web.asked("c/0/0/0") == []


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_cached_voxels_are_those_of_the_file(large: Web, cache: Path, data: st.DataObject) -> None:
    case = cz.open_store(large.url, disk_cache=cache, disk_cache_bytes=2_000_000)[CASE]
    box = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in large.volume.shape
    )
    assert np.array_equal(case.voxels("image")[box], large.volume[box])
    kept = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    assert kept <= 2_000_000 * 1.05 + (1 << 18)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_damaged_block_is_fetched_again(
    web: Web, reopened: Callable[..., cz.Store], tmp_path: Path
) -> None:
    _ = reopened()[CASE].slice(20)
    blocks = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    for number, path in enumerate(blocks):
        data = bytearray(path.read_bytes())
        path.write_bytes(data[: len(data) // 2] if number % 2 else bytes([*data[:-1], data[-1] ^ 1]))
    web.asked()
    assert np.array_equal(reopened()[CASE].slice(20)["image"], web.volume[20])
    assert len(web.asked("c/0/0/0")) >= 3


def test_another_build_at_the_same_place_is_not_mixed_up(bucket: Bucket, tree: Tree, tmp_path: Path) -> None:
    location = bucket.new()
    found = []
    for seed in (1, 2):
        image = voxels(seed)
        tree.sections["trainset"].clear()
        tree.add(CASE, image)
        cz.build_store(cz.plan_build(tree.root, location, storage_options=bucket.options, workers=1))
        store = cz.open_store(location, storage_options=bucket.options, disk_cache=tmp_path / "cache")
        found.append(store[CASE].voxels("image")[...])
        assert np.array_equal(found[-1], nibabel_canonical(tree.add(CASE, image)))
    assert not np.array_equal(found[0], found[1])


def test_a_cache_that_cannot_be_written_is_done_without(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    case = cz.open_store(web.url, disk_cache=tmp_path / "file" / "below")[CASE]
    assert np.array_equal(case.slice(20)["image"], web.volume[20])


def test_processes_share_a_cache(reopened: Callable[..., cz.Store]) -> None:
    store = reopened(disk_cache_bytes=4_000_000)
    mean = mean_of_slice(store, CASE)
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert set(pool.map(mean_of_slice, [store] * 12, [CASE] * 12)) == {mean}


def test_a_cache_of_no_bytes_is_an_error(web: Web, tmp_path: Path) -> None:
    with pytest.raises(UnknownValue, match="disk_cache_bytes 0; legal: an integer from 1"):
        cz.open_store(web.url, disk_cache=tmp_path, disk_cache_bytes=0)


@pytest.mark.parametrize("damage", ["lost", "one byte short", "half", "one bit"])
def test_what_was_damaged_for_a_while_is_read_once_it_is_repaired(
    bucket: Bucket, tree: Tree, tmp_path: Path, damage: str
) -> None:
    tree.add(CASE, voxels(shape=(200, 200, 40)), labels((200, 200, 40)))
    location = bucket.new()
    cz.build_store(cz.plan_build(tree.root, location, storage_options=bucket.options, workers=1))
    caches = (None, tmp_path / "cache")
    plain, cached = (
        cz.open_store(location, storage_options=bucket.options, disk_cache=cache) for cache in caches
    )
    key = f"{plain[CASE].record.path}/image/{layout.SHARD}"
    storage = open_storage(location, options=bucket.options)
    whole = storage.get(key) or b""
    altered = {
        "lost": b"",
        "one byte short": whole[:-1],
        "half": whole[: len(whole) // 2],
        "one bit": bytes([whole[0] ^ 1, *whole[1:]]),
    }
    storage.put(key, altered[damage])
    for store in (plain, cached):
        with pytest.raises(DamagedStore):
            store[CASE].slice(3)
    storage.put(key, whole)
    for store in (plain, cached, fresh(cached)):
        assert np.array_equal(store[CASE].slice(3)["image"], nibabel_canonical(volume(tree))[3])


def volume(tree: Tree) -> Path:
    return next((tree.root / "raw_data" / "volumes").rglob(f"{CASE}.nii.gz"))


def fresh(store: cz.Store) -> cz.Store:
    """The same store, of which nothing is in memory."""
    return pickle.loads(pickle.dumps(store))  # type: ignore[no-any-return]  # noqa: S301 - our own


def test_a_cache_touches_nothing_but_its_own(web: Web, tmp_path: Path) -> None:
    mine = tmp_path / "home" / "thesis" / "chapter1.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    os.utime(mine, (0, 0))
    case = cz.open_store(web.url, disk_cache=tmp_path / "home", disk_cache_bytes=1_000_000)[CASE]
    for index in range(0, 90, 16):
        _ = case.slice(index)
    assert mine.read_text() == "years of work"
    for nowhere in ("", "."):
        with pytest.raises(UnknownValue, match="disk_cache '.?'; legal: a folder that is named"):
            cz.open_store(web.url, disk_cache=nowhere)


def test_processes_one_after_another_keep_to_the_limit(web: Web, tmp_path: Path) -> None:
    for _ in range(4):
        store = cz.open_store(web.url, disk_cache=tmp_path, disk_cache_bytes=20_000_000)
        _ = store[CASE].slice(40)
    store = cz.open_store(web.url, disk_cache=tmp_path, disk_cache_bytes=300_000)
    _ = store[CASE].slice(0)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert kept < 300_000 + (1 << 18) + 20_000


def test_verify_of_a_web_server_looks_at_all_it_can(web: Web) -> None:
    assert cz.verify(web.url).is_whole


def test_what_cannot_be_read_is_not_called_damaged(web: Web) -> None:
    store = cz.open_store(web.url)
    assert len(store) == 1
    web.server.fault = lambda _, __, path: None if path.rpartition("/")[0] == "" else 503
    with pytest.raises(StorageError, match="503 Service Unavailable"):
        cz.verify(web.url, storage_options={"retry_config": {"max_retries": 1}})


HANGS = """
import socket, sys, threading, ctspine_zarr as cz
listening = socket.create_server(("127.0.0.1", 0))
URL = f"http://127.0.0.1:{listening.getsockname()[1]}"
OPTIONS = {"region": "r", "access_key_id": "k", "secret_access_key": "s", "endpoint": URL}
threading.Timer(1, lambda: print("asked", flush=True)).start()
cz.{call}
"""


@pytest.mark.parametrize(
    "call",
    [
        "open_store(URL)",
        'publish(sys.argv[1], "s3://bucket/x", target_options=OPTIONS)',
    ],
)
def test_ctrl_c_ends_what_hangs(web: Web, call: str) -> None:
    command = [sys.executable, "-c", HANGS.replace("{call}", call), str(web.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        if process.stdout is None:
            pytest.fail("its output cannot be read")
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


# Without end: what was asked for before the server hangs may be the rest of an epoch.
STREAMS = """
import sys, ctspine_zarr as cz
stream = cz.Stream(cz.open_store(sys.argv[1]), cz.Slices())
while True:
    for sample in stream:
        print(sample["slice_index"], flush=True)
"""


def test_ctrl_c_ends_a_stream_that_hangs(web: Web) -> None:
    command = [sys.executable, "-c", STREAMS, web.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        if process.stdout is None:
            pytest.fail("its output cannot be read")
        assert process.stdout.readline()
        web.server.latency = 60
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == -signal.SIGINT
