"""What a build costs, beside what its users would write with nibabel and zarr-python.

Each way runs in one worker process of its own. MB are 10**6 bytes of int16 voxels: two bytes a
voxel of the image, whatever is on disk.
"""

import functools
import math
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr
from arguments import described, local_cases
from isal import igzip
from zarr.codecs import BloscCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from ctspine_zarr import nifti
from ctspine_zarr.format import layout
from ctspine_zarr.format.profiles import PROFILES, profile
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.sources.source import Fetched
from ctspine_zarr.storage import open_storage
from ctspine_zarr.write.ingest import Recipe, ingest

CHUNK = layout.DEFAULT_CHUNK


@dataclass(frozen=True)
class Row:
    """One way of building, over all cases of the source."""

    name: str
    wall_seconds: float
    spread_seconds: float
    cpu_seconds: float
    peak_bytes: int
    stored_bytes: int


def run(source: Path, repeats: int) -> dict[str, Any]:
    """Measure every way on every case, print a table, return the figures."""
    cases, spec = local_cases(source), described(source).spec
    voxel_bytes = sum(2 * math.prod(nifti.read_header(case.image).shape) for case in cases)
    rows = [measured(name, work, cases, repeats) for name, work in ways(spec).items()]
    source_bytes = sum(case.case.bytes for case in cases)
    report(rows, voxel_bytes, source_bytes)
    help_seconds = statistics.median(help_time() for _ in range(repeats))
    print(f"ctspine-zarr --help: {help_seconds:.2f} s")
    found = {"voxel_bytes": voxel_bytes, "source_bytes": source_bytes, "help_seconds": help_seconds}
    return found | {"rows": [asdict(row) for row in rows]}


def build(case: Fetched, store: Path, spec: Spec, codec: str) -> int:
    """What a worker of ours does with a case; returns the bytes stored."""
    return ingest(case, Recipe(spec, profile(codec)), open_storage(store), None).record.stored_bytes


def build_by_hand(case: Fetched, store: Path) -> int:
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


def inflate(case: Fetched, store: Path) -> int:  # noqa: ARG001 - called like the others
    """Inflating alone, with the library that the build uses."""
    for path in case.paths:
        with igzip.open(path) as file:
            while file.read(1 << 20):
                pass
    return 0


def ways(spec: Spec) -> dict[str, Callable[[Fetched, Path], int]]:
    """Name -> what a worker does with a case; returns the bytes stored."""
    ours = {f"ctspine-zarr, {name}": functools.partial(build, spec=spec, codec=name) for name in PROFILES}
    return {**ours, "nibabel + zarr-python": build_by_hand, "inflating alone": inflate}


def measured(name: str, work: Callable[[Fetched, Path], int], cases: list[Fetched], repeats: int) -> Row:
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(1, mp_context=context) as worker,
    ):
        # The first round warms the file cache, the imports and the allocator.
        rounds = [worker.submit(one_round, work, cases, Path(scratch)).result() for _ in range(repeats + 1)]
    walls, cpus, peaks, stored = zip(*rounds[1:], strict=True)
    return Row(
        name,
        statistics.median(walls),
        max(walls) - min(walls),
        statistics.median(cpus),
        max(peaks),
        stored[0],
    )


def one_round(
    work: Callable[[Fetched, Path], int], cases: list[Fetched], store: Path
) -> tuple[float, float, int, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    stored = sum(work(case, store) for case in cases)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return time.perf_counter() - wall, time.process_time() - cpu, peak, stored


def report(rows: list[Row], voxel_bytes: int, source_bytes: int) -> None:
    print(f"{voxel_bytes / 1e6:.0f} MB of int16 voxels in {source_bytes / 1e6:.0f} MB of .nii.gz, one worker")
    print(f"{'':<26}{'MB/s wall':>10}{'spread':>8}{'MB/s CPU':>10}{'peak MB':>9}{'of .nii.gz':>12}")
    for row in rows:
        ratio = f"{row.stored_bytes / source_bytes:.3f}" if row.stored_bytes else ""
        print(
            f"{row.name:<26}{voxel_bytes / row.wall_seconds / 1e6:>10.0f}"
            f"{row.spread_seconds / row.wall_seconds:>8.0%}{voxel_bytes / row.cpu_seconds / 1e6:>10.0f}"
            f"{row.peak_bytes / 1e6:>9.0f}{ratio:>12}"
        )
    seconds = {row.name: row for row in rows}
    ours, alone = seconds["ctspine-zarr, portable"], seconds["inflating alone"]
    print(f"inflating is {alone.cpu_seconds / ours.cpu_seconds:.0%} of the portable build's CPU time")


def help_time() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ctspine_zarr", "--help"], check=True, capture_output=True)
    return time.perf_counter() - begun
