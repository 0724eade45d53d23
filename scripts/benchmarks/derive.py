"""What a derived store costs, beside SimpleITK's resampling of the same volumes in memory.

Ours reads a store of the source, resamples each image by a triangle filter and each mask by its nearest
voxel, counts, compresses, writes and receipts. SimpleITK's has the voxels in memory, resamples each image
linearly, without a filter against aliasing, and each mask by its nearest voxel, to the same grids, and keeps
nothing. Each has all cores and, in each run, a fresh process.
"""

import math
import random
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from arguments import selection

import ctspine_zarr as cz
from benchmarks import goals, waves
from benchmarks.goals import Goal
from benchmarks.processes import Worker, alone

SPACING = 1.0
EDGE = 96
READS = 200
OURS, PEER = "ctspine-zarr derive", "SimpleITK, resampling alone"


@dataclass(frozen=True)
class Taken:
    """Seconds of one pass over all cases; `cpu` is of all threads and processes."""

    wall: float
    cpu: float


def run(source: Path, scratch: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure all cases or one, print tables, return the figures."""
    parent, derived = scratch / "parent.zarr", scratch / "derived.zarr"
    cz.build_store(cz.plan_build(source, parent, selection=selection(case)))
    taken = [one_run(parent, derived) for _ in range(runs)]
    reads = [alone({}, cube_times, parent, derived, number) for number in range(runs)]
    sizes = [math.prod(case.shape) for case in all_cases(derived)]
    voxels = sum(sizes)
    print(f"\n{len(sizes)} cases to {SPACING:g} mm: {voxels / 1e6:.0f} million voxels, and their masks")
    rows = [row(name, [one[name] for one in taken], voxels) for name in taken[0]]
    report(rows)
    left = waves.report()
    aims = list(goals_met(taken, reads))
    goals.report(aims, " of deriving")
    return {"voxels": voxels, "rows": rows, "waves": left, "goals": [aim.in_json for aim in aims]}


def one_run(parent: Path, derived: Path) -> dict[str, Taken]:
    """Ours, then SimpleITK's on its grids, if it is installed; it warms its threads and memory first."""
    shutil.rmtree(derived, ignore_errors=True)
    found = {OURS: alone({}, derive, parent, derived)}
    with Worker(partial(Resampling, parent, derived)) as worker:
        try:
            worker.ready()
        except ImportError as error:
            print(f"{PEER}: not installed ({error})")
            return found
        worker.ask(Resampling.all)
        return found | {PEER: worker.ask(Resampling.all)}


def derive(parent: Path, derived: Path) -> Taken:
    """As a user has it, the start of its workers and what holds in the end included."""
    begun = time.perf_counter()
    cz.build_store(cz.plan_derive(parent, derived, spacing=SPACING))
    wall = time.perf_counter() - begun
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Taken(wall, sum(one.ru_utime + one.ru_stime for one in used))


class Resampling:
    """In a process of its own: SimpleITK with every case of a store in memory.

    Args:
        parent, derived: stores of the same cases; the second has the grids.

    Raises:
        ImportError: SimpleITK is not installed.
    """

    def __init__(self, parent: Path, derived: Path) -> None:
        import SimpleITK as sitk  # noqa: N813, PLC0415 - as its users name it; not everyone has it

        there = cz.open_store(derived)
        self._work: list[Callable[[], Any]] = []
        for case in all_cases(parent):
            grid, spacing = there[case.id], case.spacing[::-1]
            first = np.linalg.solve(case.affine, grid.affine[:, 3])[:3]
            target = {
                "size": grid.shape[::-1],
                "outputSpacing": grid.spacing[::-1],
                "outputOrigin": (first * spacing).tolist(),
            }
            for name, how in zip(case.names, (sitk.sitkLinear, sitk.sitkNearestNeighbor), strict=False):
                image = sitk.GetImageFromArray(np.asarray(case.voxels(name)[...]))
                image.SetSpacing(spacing)
                self._work.append(partial(sitk.Resample, image, **target, interpolator=how))

    def all(self) -> Taken:
        """Resample everything once."""
        wall, cpu = time.perf_counter(), time.process_time()
        for resample in self._work:
            resample()
        return Taken(time.perf_counter() - wall, time.process_time() - cpu)


def all_cases(location: Path) -> list[cz.Case]:
    """Read by one thread."""
    store = cz.open_store(location, threads=1)
    return [store[case] for case in store]


def cube_times(parent: Path, derived: Path, number: int) -> tuple[float, float]:
    """Median seconds of a cube at random places of either store, which take turns."""
    chooser = random.Random(number)  # noqa: S311 - no secret
    cases = [all_cases(place) for place in (parent, derived)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(READS):
        for place, those in zip(times, cases, strict=True):
            case = chooser.choice(those)
            size = [min(EDGE, size) for size in case.shape]
            start = [chooser.randint(0, whole - part) for whole, part in zip(case.shape, size, strict=True)]
            begun = time.perf_counter()
            case.patch(start=start, size=size)
            place.append((time.perf_counter() - begun) / math.prod(size))
    here, there = (statistics.median(one) for one in times)
    return here, there


def row(name: str, taken: list[Taken], voxels: int) -> dict[str, Any]:
    """A way's figures, of each run."""
    return {
        "name": name,
        "wall": [one.wall for one in taken],
        "cpu": [one.cpu for one in taken],
        "rate": [voxels / one.wall / 1e6 for one in taken],
    }


def report(rows: list[dict[str, Any]]) -> None:
    print(f"{'':<30}{'s wall':>20}{'s CPU':>20}{'million voxels/s':>22}")
    for each in rows:
        cells = "".join(f"{goals.ranged(each[key]):>20}" for key in ("wall", "cpu", "rate"))
        print(f"{each['name']:<30}{cells}")


def goals_met(taken: list[dict[str, Taken]], reads: list[tuple[float, float]]) -> Iterator[Goal]:
    if PEER in taken[0]:
        speed = [one[PEER].wall / one[OURS].wall for one in taken]
        yield Goal("derived: speed over SimpleITK's resampling alone, wall", 1.0, 0.5, speed, at_least=True)
    read = [there / here for here, there in reads]
    yield Goal(f"derived: time a voxel of a {EDGE}-cube over that of its parent", 1.0, 1.1, read)
