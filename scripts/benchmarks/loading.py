"""PyTorch's workers, and how long a fresh process takes to its first samples."""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

import ctspine_zarr as cz
from benchmarks import goals
from benchmarks.processes import WITHOUT_KERNEL, Worker, surroundings
from benchmarks.samples import PATCH, SAMPLES, Place

CASES, SLICES, LABELS = 1005, 500, 20
STREAMS = {
    "Stream of slices": cz.Slices(),
    "Stream of patches": cz.Patches(PATCH, samples_per_volume=4 * SAMPLES),
}
BATCHES = dict(zip(STREAMS, (16, 4), strict=True))
"""Name -> samples a batch."""

_PASSES = 3

_START = """
import sys, time
import ctspine_zarr as cz
store = cz.open_store(sys.argv[1])
next(iter(cz.Stream(store, cz.Slices())))
first = time.perf_counter()
next(iter(cz.Stream(store, cz.Patches(8, strategy=cz.Balanced()))))
print(first, time.perf_counter())
"""


class Loaders:
    """In a process of its own: a stream, by one worker and by two.

    Args:
        name: of the stream.
        place: of the samples.
        by_pytorch: its own collation makes the batches.

    Raises:
        CtspineError: PyTorch is not installed.
    """

    def __init__(self, name: str, place: Place, *, by_pytorch: bool = False) -> None:
        from torch.utils.data import default_collate  # noqa: PLC0415 - optional

        from ctspine_zarr.torch import Stream, make_loader  # noqa: PLC0415 - optional

        collation = default_collate if by_pytorch else None
        stream: Stream[cz.TrainingSample] = Stream(place.open(), STREAMS[name])
        self._loaders = {
            workers: make_loader(stream, BATCHES[name], workers=workers, collate_fn=collation)
            for workers in (1, 2)
        }

    def rate(self, workers: int) -> float:
        """Samples a second of a pass."""
        begun = time.perf_counter()
        count = sum(len(samples["image"]) for samples in self._loaders[workers])
        return count / (time.perf_counter() - begun)

    def own(self) -> float:
        """The largest worker's megabytes, without what it shares with the training process, such as
        PyTorch's libraries, and without batches' memory, which counts as its own until that process reads it.
        """
        import psutil  # noqa: PLC0415 - not everyone has it

        def of(worker: psutil.Process) -> float:
            maps = worker.memory_maps()
            own = (one.private_clean + one.private_dirty for one in maps if "memfd:" not in one.path)
            return sum(own) / 1e6

        return max(map(of, psutil.Process().children()))


def measured(place: Place, runs: int) -> dict[str, dict[str, list[float]]]:
    """For each stream, of each run: samples a second by one and two workers, their ratio, and memory;
    {} without PyTorch.
    """
    found: dict[str, dict[str, list[float]]] = {}
    try:
        for name in STREAMS:
            taken = [one_run(name, place) for _ in range(runs)]
            found[name] = {key: [one[key] for one in taken] for key in taken[0]}
    except (cz.CtspineError, ImportError) as error:
        print(f"workers: not measured ({error})")
    for name, of_runs in found.items():
        rates, theirs = (
            " and ".join(goals.ranged(of_runs[key + by]) for key in ("one", "two"))
            for by in ("", "_by_pytorch")
        )
        own = f"{goals.ranged(of_runs['own'])} MB each, {goals.ranged(of_runs['plain_own'])} without kernel"
        print(f"{name}, batches of {BATCHES[name]}: by one and two workers {rates} a second; {own}")
        print(f"the same stacked by PyTorch: {theirs}")
    return found


def one_run(name: str, place: Place) -> dict[str, float]:
    """With the kernel, without, and with batches that PyTorch stacks."""
    rates, own = passes(partial(Loaders, name, place), {})
    _, plain_own = passes(partial(Loaders, name, place), WITHOUT_KERNEL)
    theirs, _ = passes(partial(Loaders, name, place, by_pytorch=True), {})
    found = {"own": own, "plain_own": plain_own}
    found["ratio"] = statistics.median(two / one for one, two in rates)
    for by, taken in (("", rates), ("_by_pytorch", theirs)):
        for key, each in zip(("one", "two"), zip(*taken, strict=True), strict=True):
            found[key + by] = statistics.median(each)
    return found


def passes(make: Callable[[], Loaders], environment: Mapping[str, str]) -> tuple[list[list[float]], float]:
    """Rates of one worker and of two, that take turns, and the memory of the largest."""
    with Worker(make, environment) as loaders:
        loaders.ready()
        rates = [[loaders.ask(Loaders.rate, workers) for workers in (1, 2)] for _ in range(_PASSES + 1)]
        return rates[1:], loaders.ask(Loaders.own)


def tiny(scratch: Path) -> Path:
    """A store of 1,005 cases that have as many slices and labels as real ones, and few voxels."""
    source = scratch / "tiny"
    affine = np.diag([4.0, 4.0, 1.0, 1.0])
    names = [f"liver_{number}" for number in range(CASES)]
    mask = np.zeros((16, 16, SLICES), np.uint8)
    for level in range(LABELS):
        mask[4:12, 4:12, level * 25 : level * 25 + 20] = LABELS - level
    for folder, suffix, voxels in (("volumes", "", mask.astype(np.int16)), ("labels", "_seg", mask)):
        (source / "raw_data" / folder / "MSD-T10").mkdir(parents=True)
        first = source / "raw_data" / folder / "MSD-T10" / f"{names[0]}{suffix}.nii.gz"
        nibabel.Nifti1Image(voxels, affine).to_filename(first)
        for name in names[1:]:
            shutil.copy(first, first.with_name(f"{name}{suffix}.nii.gz"))
    (source / "metadata").mkdir()
    lines = "\n".join(f"{name}.nii.gz" for name in names)
    (source / "metadata" / "data_split.txt").write_text(f"trainset:\n{lines}\n")
    cz.build_store(cz.plan_build(source, scratch / "tiny.zarr", workers=1))
    return scratch / "tiny.zarr"


def start_up(store: Path, runs: int) -> dict[str, list[float]]:
    """Of each run seconds from the start of a process to its first slice, and to its first patch."""
    started(store, {})
    found: dict[str, list[float]] = {"slice": [], "patch": [], "plain_slice": [], "plain_patch": []}
    for _ in range(runs):
        for prefix, environment in (("", {}), ("plain_", WITHOUT_KERNEL)):
            for name, seconds in zip(("slice", "patch"), started(store, environment), strict=True):
                found[prefix + name].append(seconds)
    about = ", ".join(f"first {name} {goals.ranged(found[name])} s" for name in ("slice", "patch"))
    print(f"from the start of a process, {CASES} cases, imports included: {about}")
    return found


def started(store: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """The median of three processes; their clock is this one's."""
    command = [sys.executable, "-c", _START, str(store)]
    found: Any = []
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own
            command, check=True, capture_output=True, text=True, env=surroundings(environment)
        )
        found.append([float(moment) - begun for moment in done.stdout.split()])
    first, second = (statistics.median(each) for each in zip(*found, strict=True))
    return first, second
