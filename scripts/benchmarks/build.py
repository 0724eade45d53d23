"""What a build costs, beside what its users would write with nibabel and zarr-python.

Each way runs in a worker process of its own, fresh in each run; they take turns, round by round. MB are
10**6 bytes of int16 voxels: two bytes a voxel of the image, whatever is on disk.
"""

import functools
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr
from arguments import described, local_cases
from isal import igzip
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from benchmarks import goals
from benchmarks.goals import Goal
from benchmarks.processes import WITHOUT_KERNEL, Worker, peak_bytes
from ctspine_zarr import nifti
from ctspine_zarr.format import layout
from ctspine_zarr.format.profiles import PROFILES, profile
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.sources.source import Fetched
from ctspine_zarr.storage import open_storage
from ctspine_zarr.write.ingest import Recipe, ingest

CHUNK = layout.DEFAULT_CHUNK

_ROUNDS = 2


PORTABLE = "ctspine-zarr, portable"
PLAIN = f"{PORTABLE}, without kernel"
ALONE = "inflating alone"

type Work = Callable[[Fetched, Path, Spec], int]
"""What a worker does with a case; the bytes stored."""


@dataclass(frozen=True)
class Round:
    """All cases of the source, built once.

    Attributes:
        wall, cpu: seconds.
        peak_bytes: the most memory that the process ever had.
        stored_bytes: of all arrays.
    """

    wall: float
    cpu: float
    peak_bytes: int
    stored_bytes: int


type Rounds = dict[str, list[Round]]
"""Way -> its rounds in one run."""


def run(source: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure every way on every case, or on one, print a table, return the figures."""
    cases, spec = local_cases(source, case), described(source).spec
    voxel_bytes = sum(2 * math.prod(nifti.read_header(one.image).shape) for one in cases)
    source_bytes = sum(one.case.bytes for one in cases)
    taken = [one_run(cases, spec, number) for number in range(runs)]
    rows = [row(name, taken, voxel_bytes) for name in WAYS]
    report(rows, voxel_bytes, source_bytes)
    share = [ratio(rounds, ALONE, PORTABLE, "cpu") for rounds in taken]
    print(f"inflating is {goals.ranged(share)} of the portable build's CPU time")
    help_seconds = statistics.median(help_time() for _ in range(runs))
    print(f"ctspine-zarr --help: {help_seconds:.2f} s")
    aims = list(goals_met(taken))
    goals.report(aims, " of building")
    return {
        "voxel_bytes": voxel_bytes,
        "source_bytes": source_bytes,
        "help_seconds": help_seconds,
        "rows": rows,
        "goals": [aim.in_json for aim in aims],
    }


def build(case: Fetched, store: Path, spec: Spec, codec: str) -> int:
    """As a worker of ours."""
    return ingest(case, Recipe(spec, profile(codec)), open_storage(store), None).record.stored_bytes


def build_by_hand(case: Fetched, store: Path, spec: Spec) -> int:  # noqa: ARG001 - called like the others
    """The same two arrays by nibabel and zarr-python: no checks, digests, index or receipt."""
    stored = 0
    compressors: dict[str, list[Any]] = {
        "image": [BloscCodec(typesize=2, clevel=1, shuffle="shuffle", blocksize=2 * math.prod(CHUNK))],
        "segmentation": [ZstdCodec(level=9)],
    }
    for (name, compressor), path in zip(compressors.items(), case.paths, strict=False):
        image = nibabel.as_closest_canonical(nibabel.load(path))
        voxels = np.asarray(image.dataobj).transpose().astype("int16" if name == "image" else "uint8")
        z, y, x = voxels.shape
        sharding = ShardingCodec(
            chunk_shape=CHUNK,
            codecs=[{"name": "bytes", "configuration": {"endian": "little"}}, *compressor, Crc32cCodec()],
            subchunk_write_order="lexicographic",
        )
        array: zarr.Array[Any] = zarr.create_array(
            zarr.storage.LocalStore(store / case.id / name),
            shape=voxels.shape,
            dtype=voxels.dtype,
            chunks=layout.shard_shape((z, y, x), CHUNK),
            filters=None,
            compressors=None,
            serializer=sharding,
            overwrite=True,
        )
        array[...] = voxels
        stored += array.nbytes_stored()
    return stored


def inflate(case: Fetched, store: Path, spec: Spec) -> int:  # noqa: ARG001 - called like the others
    """Inflating alone, with the library that the build uses."""
    for path in case.paths:
        with igzip.open(path) as file:
            while file.read(1 << 20):
                pass
    return 0


WAYS: dict[str, tuple[Work, dict[str, str]]] = {
    **{f"ctspine-zarr, {name}": (functools.partial(build, codec=name), {}) for name in PROFILES},
    PLAIN: (functools.partial(build, codec="portable"), WITHOUT_KERNEL),
    "nibabel + zarr-python": (build_by_hand, {}),
    ALONE: (inflate, {}),
}
"""Name -> what a worker does, and the environment of its process."""


class Builder:
    """In a process of its own: one way of building.

    Args:
        name: of the way.
        cases, spec: of the source.
        store: a new folder.
    """

    def __init__(self, name: str, cases: list[Fetched], spec: Spec, store: Path) -> None:
        self._work, _ = WAYS[name]
        self._cases, self._spec, self._store = cases, spec, store

    def round(self) -> Round:
        wall, cpu = time.perf_counter(), time.process_time()
        stored = sum(self._work(case, self._store, self._spec) for case in self._cases)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        return Round(*seconds, peak_bytes(), stored)


def one_run(cases: list[Fetched], spec: Spec, number: int) -> Rounds:
    """Fresh processes, that take turns, round by round; the first warms the imports and the allocator."""
    chooser = random.Random(number)  # noqa: S311 - no secret
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        builders = {}
        for place, (name, (_, environment)) in enumerate(WAYS.items()):
            make = functools.partial(Builder, name, cases, spec, scratch / str(place))
            builders[name] = stack.enter_context(Worker(make, environment))
        for builder in builders.values():
            builder.ready()
            builder.ask(Builder.round)
        rounds: Rounds = {name: [] for name in WAYS}
        for _ in range(_ROUNDS):
            for name in chooser.sample(list(builders), len(builders)):
                rounds[name].append(builders[name].ask(Builder.round))
    return rounds


def row(name: str, taken: list[Rounds], voxel_bytes: int) -> dict[str, Any]:
    """A way's figures, of each run: megabytes a second by the median round, and peak memory."""

    def rates(clock: str) -> list[float]:
        seconds = (statistics.median(getattr(one, clock) for one in rounds[name]) for rounds in taken)
        return [voxel_bytes / each / 1e6 for each in seconds]

    return {
        "name": name,
        "wall": rates("wall"),
        "cpu": rates("cpu"),
        "peak": [peak(rounds, name) / 1e6 for rounds in taken],
        "stored_bytes": taken[0][name][0].stored_bytes,
    }


def peak(rounds: Rounds, name: str) -> int:
    return rounds[name][-1].peak_bytes


def ratio(rounds: Rounds, one: str, other: str, clock: str) -> float:
    """Of one run: the median of the ratios round by round."""
    pairs = zip(rounds[one], rounds[other], strict=True)
    ratios: list[float] = [getattr(above, clock) / getattr(below, clock) for above, below in pairs]
    return statistics.median(ratios)


def goals_met(taken: list[Rounds]) -> Iterator[Goal]:
    for name, clock in (("wall", "wall"), ("CPU", "cpu")):
        reached = [ratio(rounds, PLAIN, PORTABLE, clock) for rounds in taken]
        text = f"portable: MB/s of voxels a worker over that without kernel, {name}"
        yield Goal(text, 1.8, 1.4, reached, at_least=True)
    if all(peak(rounds, PLAIN) for rounds in taken):
        reached = [peak(rounds, PORTABLE) / peak(rounds, PLAIN) for rounds in taken]
        yield Goal("portable: a worker's peak memory over that without kernel", 1.0, 1.02, reached)


def report(rows: list[dict[str, Any]], voxel_bytes: int, source_bytes: int) -> None:
    print(f"{voxel_bytes / 1e6:.0f} MB of int16 voxels in {source_bytes / 1e6:.0f} MB of .nii.gz, one worker")
    print(f"{'':<40}{'MB/s wall':>18}{'MB/s CPU':>18}{'peak MB':>18}{'of .nii.gz':>12}")
    for each in rows:
        share = f"{each['stored_bytes'] / source_bytes:.3f}" if each["stored_bytes"] else ""
        cells = "".join(f"{goals.ranged(each[key]):>18}" for key in ("wall", "cpu", "peak"))
        print(f"{each['name']:<40}{cells}{share:>12}")


def help_time() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ctspine_zarr", "--help"], check=True, capture_output=True)
    return time.perf_counter() - begun
