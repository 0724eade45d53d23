"""A store behind round trips of 5, 30 and 100 ms: cubes of many cases at once, slices, streams, opening.

Each peer has a fresh process in each run, and reads the same boxes; what an array is, it knows already.
"""

import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.storage
from numpy.typing import NDArray
from obstore.store import HTTPStore

import ctspine_zarr as cz
from benchmarks import goals, scale
from benchmarks.goals import Goal
from benchmarks.peers import FUSED, Box
from benchmarks.processes import Worker
from benchmarks.read import random_box
from benchmarks.server import Counters, Server, served
from ctspine_zarr.format import layout
from ctspine_zarr.geometry import Shape

LATENCIES = (0.005, 0.03, 0.1)
"""Seconds."""
_AIMED = 0.03

OURS = "ctspine_zarr"
TENSORSTORE = "TensorStore"
ZARR = "zarr-python, fused, over obstore"

CUBES = "64 random 96-cubes of 64 cases"
SLICE = "axial slice, cold"
NEXT_SLICE = "axial slice, warm"
OPENING = "opening 1,005 cases"
_CASES = 64
_EDGE = 96
_OPENED = 1_005
# Samples of a pass: of slices a part of it, of patches all.
_SLICES, _PATCHES = 4_000, 256
# Units that are read ahead from afar: as many as hide 30 ms.
_AHEAD = {"slices": 16, "patches": 12}

type Read = Callable[[Sequence[Box]], Sequence[NDArray[Any]]]
"""A box of each of the first cases, all at once."""


@dataclass(frozen=True)
class Place:
    """A store of copies of one case.

    Attributes:
        url: of it.
        paths: of the image of each case, below it.
        cases: their ids.
        shape: of each.
    """

    url: str
    paths: Sequence[str]
    cases: Sequence[str]
    shape: Shape


@dataclass
class Cost(Counters):
    """What was asked for, and how long it took."""

    seconds: float = 0


class Reader:
    """In a process of its own: arrays that are open, of whose shards nothing was read."""

    def __init__(self, name: str, place: Place) -> None:
        self._read = PEERS[name](place)

    def read(self, boxes: Sequence[Box]) -> tuple[float, list[int]]:
        """Seconds, and the sum of each box."""
        begun = time.perf_counter()
        found = self._read(boxes)
        seconds = time.perf_counter() - begun
        return seconds, [int(box.sum(dtype=np.int64)) for box in found]


def ours(place: Place) -> Read:
    """This project's engine, a thread a box."""
    store = cz.open_store(place.url)
    arrays = [store[case].voxels("image") for case in place.cases]
    return _in_threads([array.__getitem__ for array in arrays])


def zarr_python(place: Place) -> Read:
    """zarr-python over obstore, a thread a box."""
    objects = HTTPStore.from_url(place.url, client_options={"allow_http": True})
    store = zarr.storage.ObjectStore(objects, read_only=True)
    zarr.config.set({"codec_pipeline.path": FUSED})
    arrays = [zarr.open_array(store, path=path, mode="r") for path in place.paths]
    return _in_threads([partial(_cut, array) for array in arrays])


def tensorstore(place: Place) -> Read:
    """TensorStore, all boxes asked for before any is waited for; with a cache, so that an index is kept."""
    import tensorstore as ts  # noqa: PLC0415 - not everyone has it

    context = ts.Context({"cache_pool": {"total_bytes_limit": 16_000_000}})
    about = {"driver": "zarr3", "recheck_cached_metadata": False, "recheck_cached_data": False}
    arrays = [
        ts.open(
            about | {"kvstore": {"driver": "http", "base_url": place.url, "path": f"/{path}/"}},
            context=context,
        ).result()
        for path in place.paths
    ]

    def read(boxes: Sequence[Box]) -> list[NDArray[Any]]:
        asked = [array[box].read() for array, box in zip(arrays, boxes, strict=False)]
        return [np.asarray(one.result()) for one in asked]

    return read


PEERS: dict[str, Callable[[Place], Read]] = {OURS: ours, TENSORSTORE: tensorstore, ZARR: zarr_python}


def _cut(array: Any, box: Box) -> NDArray[Any]:
    return np.asarray(array[box])


def _in_threads(reads: Sequence[Callable[[Box], NDArray[Any]]]) -> Read:
    threads = ThreadPoolExecutor(_CASES)
    # All of them are there before anything is timed.
    list(threads.map(time.sleep, [0.01] * _CASES))

    def read(boxes: Sequence[Box]) -> list[NDArray[Any]]:
        asked = [threads.submit(one, box) for one, box in zip(reads, boxes, strict=False)]
        return [one.result() for one in asked]

    return read


@dataclass(frozen=True)
class Rate:
    """How fast a stream gave samples.

    Attributes:
        a_second: samples.
        cpu: seconds of this process a sample, its threads included; the server's are not.
    """

    a_second: float
    cpu: float


class Streams:
    """In a process of its own: streams of a store, wherever it lies."""

    def __init__(self, place: str) -> None:
        self._place = place

    def rate(self, kind: str, prefetch: int | None) -> Rate:
        """That of a second pass: connections, threads and indices are there by then, as they
        are for nearly all of a pass over a thousand cases.
        """
        kinds: dict[str, tuple[Any, int]] = {
            "slices": (cz.Slices(), _SLICES),
            "patches": (cz.Patches((_EDGE,) * 3, segmentation=False), _PATCHES),
        }
        made, most = kinds[kind]
        stream = cz.Stream(cz.open_store(self._place), made, prefetch=prefetch)
        for epoch in range(2):
            stream.set_epoch(epoch)
            begun, cpu = time.perf_counter(), time.process_time()
            given = sum(1 for _, _ in zip(range(most), stream, strict=False))
        return Rate(given / (time.perf_counter() - begun), (time.process_time() - cpu) / given)


def run(source: Path, scratch: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure every peer that is installed, print tables, return the figures."""
    copies, opened = stores(source, scratch, case)
    found: dict[str, Any] = {}
    for latency in LATENCIES:
        with served(copies, latency) as server, served(opened, latency) as many:
            place = described(copies, server.url)
            costs = measured(place, server, runs)
            costs[OPENING] = {OURS: [opening(many) for _ in range(runs)]}
            rates = streams(copies, server, runs)
        report(latency, costs, rates)
        reached = goals_met(costs, rates)
        if latency == _AIMED:
            goals.report(reached, f", {latency * 1000:g} ms away")
        found[f"{latency * 1000:g} ms"] = {
            "costs": {what: in_json(of_peers) for what, of_peers in costs.items()},
            "streams": {name: [asdict(rate) for rate in reached] for name, reached in rates.items()},
            "goals": [one.in_json for one in reached],
        }
    return found


def in_json(of_peers: dict[str, list[Cost]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(cost) for cost in costs] for name, costs in of_peers.items()}


def stores(source: Path, scratch: Path, case: str | None) -> tuple[Path, Path]:
    """A store of copies of the largest case, hard links, and root and catalog of one of 1,005."""
    selection = cz.Selection() if case is None else cz.Selection(cases=case)
    cz.build_store(cz.plan_build(source, scratch / "afar.zarr", workers=1, selection=selection))
    store = cz.open_store(scratch / "afar.zarr")
    entry = max(store.entries.values(), key=lambda one: one.record.image.bytes)
    copies, many = scratch / "copies.zarr", scratch / "many.zarr"
    scale.write(store.root, entry, _CASES, copies)
    scale.write(store.root, entry, _OPENED, many)
    for record in cz.open_store(copies).records.values():
        shutil.copytree(
            scratch / "afar.zarr" / entry.record.path,
            copies / record.path,
            copy_function=os.link,
            dirs_exist_ok=True,
        )
    return copies, many


def described(folder: Path, url: str) -> Place:
    records = cz.open_store(folder).records
    paths = [f"{record.path}/{layout.IMAGE}" for record in records.values()]
    return Place(url, paths, list(records), next(iter(records.values())).shape)


def measured(place: Place, server: Server, runs: int) -> dict[str, dict[str, list[Cost]]]:
    """What is read, then peer -> one cost a run."""
    costs: dict[str, dict[str, list[Cost]]] = {CUBES: {}, SLICE: {}, NEXT_SLICE: {}}
    for number in range(runs):
        chooser = random.Random(number)  # noqa: S311 - no secret
        z, y, x = (min(_EDGE, size) for size in place.shape)
        cubes = [random_box(place.shape, (z, y, x), chooser) for _ in place.cases]
        cold, warm = (random_box(place.shape, (1, *place.shape[1:]), chooser) for _ in range(2))
        sums: set[tuple[int, ...]] = set()
        for name in chooser.sample(list(PEERS), len(PEERS)):
            for what, read in ((CUBES, [cubes]), (SLICE, [[cold], [warm]])):
                try:
                    found = fresh(name, place, server, read)
                except ImportError:
                    continue
                for kind, (cost, _) in zip((what, NEXT_SLICE), found, strict=False):
                    costs[kind].setdefault(name, []).append(cost)
                if what == CUBES:
                    sums.add(tuple(found[0][1]))
        if len(sums) != 1:
            message = "peers read other voxels than each other"
            raise ValueError(message)
    return costs


def fresh(
    name: str, place: Place, server: Server, reads: Sequence[Sequence[Box]]
) -> list[tuple[Cost, list[int]]]:
    """What reads, one after another, cost in a process of their own."""
    with Worker(partial(Reader, name, place)) as worker:
        worker.ready()
        found = []
        for boxes in reads:
            server.counted()
            seconds, sums = worker.ask(Reader.read, boxes)
            found.append((Cost(**asdict(server.counted()), seconds=seconds), sums))
        return found


def opening(server: Server) -> Cost:
    server.counted()
    begun = time.perf_counter()
    cz.open_store(server.url)
    seconds = time.perf_counter() - begun
    return Cost(**asdict(server.counted()), seconds=seconds)


def streams(copies: Path, server: Server, runs: int) -> dict[str, list[Rate]]:
    """Rates, by kind and place."""
    rates: dict[str, list[Rate]] = {}
    for _ in range(runs):
        for kind in ("slices", "patches"):
            for where, place, prefetch in (
                ("local", str(copies), None),
                ("local, read ahead", str(copies), _AHEAD[kind]),
                ("afar", server.url, _AHEAD[kind]),
                ("afar, as it is by default", server.url, None),
            ):
                with Worker(partial(Streams, place)) as worker:
                    worker.ready()
                    rates.setdefault(f"{kind}, {where}", []).append(worker.ask(Streams.rate, kind, prefetch))
    return rates


def report(latency: float, costs: dict[str, dict[str, list[Cost]]], rates: dict[str, list[Rate]]) -> None:
    print(f"\nover HTTP, {latency * 1000:g} ms away; medians")
    for what, of_peers in costs.items():
        title = f"{'trips':>7}{'requests':>10}{'at once':>9}{'MB':>8}{'ms':>9}{'MB/s':>8}{'a second':>10}"
        print(f"\n{what:<34}{title}")
        pieces = _CASES if what == CUBES else 1
        for name, found in of_peers.items():
            rounds, requests, at_once, count, seconds = (
                statistics.median(getattr(cost, field) for cost in found)
                for field in ("rounds", "requests", "at_once", "bytes", "seconds")
            )
            # Of many reads at once no trip is after another.
            trips = "" if what == CUBES else f"{rounds:.0f}"
            counts = f"{trips:>7}{requests:>10.0f}{at_once:>9.0f}{count / 1e6:>8.1f}"
            speeds = f"{count / seconds / 1e6:>8.0f}{pieces / seconds:>10.1f}"
            print(f"{name:<34}{counts}{seconds * 1000:>9.1f}{speeds}")
    print("\nStream: samples a second, and milliseconds of the reader's CPU a sample")
    for name, reached in rates.items():
        speed, cpu = ([rate.a_second for rate in reached], [rate.cpu * 1000 for rate in reached])
        print(f"{name:<42}{goals.ranged(speed):<24}{goals.ranged(cpu)}")


def goals_met(costs: dict[str, dict[str, list[Cost]]], rates: dict[str, list[Rate]]) -> list[Goal]:
    """Each goal with what was reached in each run."""
    found = []
    for what, most in ((SLICE, 1.2), (NEXT_SLICE, 1.0), (OPENING, 2.99)):
        trips = [float(cost.rounds) for cost in costs[what][OURS]]
        found.append(Goal(f"{what}: round trips", most, most, trips))
    for peer, least in ((TENSORSTORE, 1.5), (ZARR, 1.5)):
        if peer in costs[CUBES]:
            pairs = zip(costs[CUBES][peer], costs[CUBES][OURS], strict=True)
            ratios = [other.seconds / own.seconds for other, own in pairs]
            found.append(Goal(f"{CUBES}: times the rate of {peer}", least, least, ratios, at_least=True))
    for kind in ("slices", "patches"):
        pair = zip(rates[f"{kind}, afar"], rates[f"{kind}, local"], strict=True)
        ratios = [far.a_second / near.a_second for far, near in pair]
        found.append(Goal(f"Stream of {kind}: rate over that of a local disk", 1, 1, ratios, at_least=True))
    return found
