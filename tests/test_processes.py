"""A store in the processes and threads of a DataLoader: nothing of the parent's is used, nothing hangs."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from arrays import stored, volume
from children import mean_of_slice, mean_of_volume, threads_of_a_worker

import ctspine_zarr as cz
from ctspine_zarr import kernel as native
from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.arrays.threads import default_threads
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.concurrency.limits import usable_cores

CASE = "1.3.6.1.4.1.9328.50.4.0001"
METHODS = ["fork", "forkserver", "spawn"]
# Python warns of any fork of a process with threads; that this one goes well is what is shown.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def read_in_pool(store: cz.Store, voxels: Voxels, method: str) -> None:
    """What a DataLoader does: read here, then in workers that are started after it."""
    one, other = mean_of_slice(store, CASE), mean_of_volume(voxels)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        slices = pool.map(mean_of_slice, [store] * 4, [CASE] * 4)
        volumes = pool.map(mean_of_volume, [voxels] * 2)
        assert list(slices) == [one] * 4
        assert list(volumes) == [other] * 2


@pytest.fixture(params=[None, 3], ids=["default threads", "three threads"])
def threads(request: pytest.FixtureRequest) -> int | None:
    """None for one thread in a worker, every core in its parent."""
    found: int | None = request.param
    return found


@pytest.fixture
def store(phantom_store: cz.Store, threads: int | None) -> cz.Store:
    return cz.open_store(phantom_store.location, threads=threads, cache_bytes=1_000_000)


@pytest.fixture
def voxels(tmp_path: Path, threads: int | None) -> Voxels:
    """An array of 64 chunks, enough for the helpers of three threads."""
    # The kernel has threads of its own only where chunks are not kept.
    cache = None if native.kernel else ArrayCache(1_000_000)
    return stored(volume((60, 250, 250)), tmp_path, reading=Reading(threads, cache))


@pytest.mark.parametrize("method", METHODS)
def test_workers_read_after_their_parent_has_read(store: cz.Store, voxels: Voxels, method: str) -> None:
    read_in_pool(store, voxels, method)


MANY = [10, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pools", MANY)
@pytest.mark.parametrize("threads", [None, pytest.param(3, marks=pytest.mark.slow)], indirect=True)
def test_many_pools_are_forked_without_a_hang(store: cz.Store, voxels: Voxels, pools: int) -> None:
    for _ in range(pools):
        read_in_pool(store, voxels, "fork")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("threads", [3], indirect=True)
def test_a_hundred_pools_are_started_without_a_hang(store: cz.Store, voxels: Voxels, method: str) -> None:
    for _ in range(100):
        read_in_pool(store, voxels, method)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("forks", MANY)
@pytest.mark.parametrize("threads", [3], indirect=True)
def test_a_fork_in_the_middle_of_other_threads_reads_goes_well(voxels: Voxels, forks: int) -> None:
    expected = mean_of_volume(voxels)
    ended = threading.Event()

    def keep_reading() -> None:
        while not ended.is_set():
            mean_of_volume(voxels)

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(keep_reading) for _ in range(4)]
        try:
            codes = [forked(voxels, expected) for _ in range(forks)]
        finally:
            ended.set()
        assert codes == [0] * forks
        assert [reader.result() for reader in readers] == [None] * 4


def forked(voxels: Voxels, expected: float) -> int:
    """The exit status of a child that reads a volume with threads of its own."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(int(mean_of_volume(voxels) != expected))
        except BaseException:  # noqa: BLE001 - the child must not run on into the tests
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_worker_uses_one_thread_unless_told_otherwise() -> None:
    assert default_threads() == usable_cores()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(threads_of_a_worker, range(2))) == [1, 1]


def test_a_store_pickles_without_what_it_has_read(store: cz.Store) -> None:
    unread = len(pickle.dumps(store))
    expected = mean_of_slice(store, CASE)
    _ = [case.facts for case in store.values()]
    assert len(pickle.dumps(store)) == unread
    assert mean_of_slice(pickle.loads(pickle.dumps(store)), CASE) == expected  # noqa: S301 - our own


def test_a_forked_cache_is_empty_and_unlocked() -> None:
    cache = ArrayCache(1000)
    cache.put(("a", 0), np.zeros(10))
    with cache._lock:
        child = os.fork()
        if child == 0:
            os._exit(int(cache.get(("a", 0)) is not None or cache.bytes != 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get(("a", 0)) is not None


READ_AT_THE_END = """
import sys, threading, time
import ctspine_zarr as cz
voxels = cz.open_store(sys.argv[1], threads=4)["1.3.6.1.4.1.9328.50.4.0001"].voxels("image")
voxels[0]

def late() -> None:
    threading.main_thread().join()
    print(voxels[...].shape)

threading.Thread(target=late).start()
"""


def test_a_thread_may_read_when_the_main_one_has_ended(phantom_store: cz.Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_AT_THE_END, phantom_store.location],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("(45, 96, 96)", "")


def test_threads_read_one_store(store: cz.Store) -> None:
    expected = mean_of_slice(store, CASE)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(mean_of_slice, [store] * 64, [CASE] * 64)) == {expected}
    assert np.isfinite(expected)
