"""What tests run in processes of their own.

Such a process imports the module of what it runs, so this one imports little: a module of tests would cost
two seconds of a core a process, and a hundred times what is run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import psutil

import ctspine_zarr as cz
from ctspine_zarr.arrays.threads import default_threads
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import CtspineError
from ctspine_zarr.storage import Storage

CONTEXT: Final = multiprocessing.get_context("forkserver")
# Its children are forked from one that has imported these; it starts once a process, so before any test.
CONTEXT.set_forkserver_preload(
    ["ctspine_zarr.write.build", "ctspine_zarr.write.planning", "ctspine_zarr.read.opening", "psutil", "zarr"]
)


# -- reads


def mean_of_slice(store: cz.Store, case: str) -> float:
    return float(store[case].slice(20)["image"].mean())


def mean_of_volume(voxels: Voxels) -> float:
    return float(voxels[...].mean())


def threads_of_a_worker(_: int) -> int:
    return default_threads()


def read_for(location: str, seconds: float, to: Connection) -> None:
    """Read slices in eight threads; tell of reads, errors and this process's own memory at each second."""
    store = cz.open_store(location)
    cases = list(store.values())
    ends, reads, wrong = time.monotonic() + seconds, [0], list[str]()

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        while time.monotonic() < ends:
            case = chooser.choice(cases)
            index = chooser.randrange(case.shape[0])
            try:
                mean = float(case.slice(index)["image"].mean())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                wrong.append(f"{type(error).__name__}: {error}")
                return
            reads[0] += 1
            if mean != index + 100 * "abcdefgh".index(case.id):
                wrong.append(f"{case.id} {index}: {mean}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    memory = []
    while time.monotonic() < ends:
        memory.append(psutil.Process().memory_full_info().uss)
        time.sleep(1)
    for thread in threads:
        thread.join()
    to.send((reads[0], wrong, memory))


# -- builds


def build(root: Path, location: Any, **options: Any) -> cz.BuildResult:
    return cz.build_store(cz.plan_build(root, location, workers=1, **options))


def build_at_once(
    root: Path, location: Path, options: dict[str, Any], start: Barrier, to: Connection
) -> None:
    start.wait(60)
    try:
        to.send(("ok", [entry.record.id for entry in build(root, location, **options).built]))
    except CtspineError as error:
        to.send((type(error).__name__, str(error)))


@contextmanager
def steps_of(kill_at: int, *, after: bool) -> Iterator[list[str]]:
    """Puts and removals are noted; at one of them this process is killed, before it or after it."""
    steps: list[str] = []
    plain = {name: getattr(Storage, name) for name in ("put", "remove")}

    def noting(name: str) -> Callable[..., None]:
        def step(storage: Storage, key: str, *data: bytes) -> None:
            steps.append(key)
            if len(steps) == kill_at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            plain[name](storage, key, *data)
            if len(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        return step

    for name in plain:
        setattr(Storage, name, noting(name))
    try:
        yield steps
    finally:
        for name, method in plain.items():
            setattr(Storage, name, method)


def build_and_die(root: Path, location: Any, options: dict[str, Any], kill_at: int, after: bool) -> None:
    with steps_of(kill_at, after=after):
        build(root, location, storage_options=options)
