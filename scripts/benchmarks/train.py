"""Samples for training: streams beside Arrow and zarr-python, workers, drawing, start-up, memory.

Each way has a process of its own, fresh in each run; they take turns, pass by pass.
"""

import random
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from arguments import selection

import ctspine_zarr as cz
from benchmarks import goals, loading
from benchmarks.goals import Goal
from benchmarks.processes import Worker, alone
from benchmarks.samples import (
    ARROW,
    BALANCED,
    PATCHES,
    PLAIN_PATCHES,
    RANDOM_PATCHES,
    SLICES,
    WAYS,
    ZARR,
    Place,
    Sampler,
    drawing,
)

_PASSES = 3

WALL, CPU = 0, 1

type Times = dict[str, list[tuple[float, float]]]
"""Way -> milliseconds a sample of wall and CPU time, of each pass of one run."""


def run(source: Path, scratch: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure, print and return the figures, of all cases or of one."""
    place = Place(scratch / "train.zarr", scratch)
    cz.build_store(cz.plan_build(source, place.store, selection=selection(case), workers=1))
    names, missing = written(place)
    taken = [one_run(names, place, number) for number in range(runs)]
    report(taken, f"samples of {', '.join(place.open())}, float32 and int32, one thread", missing)
    workers = loading.measured(place, runs)
    seconds = loading.start_up(loading.tiny(scratch), runs)
    draws = [alone({}, drawing, place) for _ in range(runs)]
    aims = [*ways_goals(taken), *drawing_goals(taken, draws), *workers_goals(workers), *start_goals(seconds)]
    goals.report(aims, " of training, on real CT")
    return {
        "samples": taken,
        "missing": missing,
        "workers": workers,
        "start_up": seconds,
        "goals": [aim.in_json for aim in aims],
    }


def written(place: Place) -> tuple[list[str], list[str]]:
    """Names of the ways that can be gone, and lines about those that cannot."""
    names, missing = [], []
    for name, way in WAYS.items():
        try:
            if way.write:
                alone(way.environment, way.write, place)
            names.append(name)
        except ImportError as error:
            missing.append(f"{name}: not installed ({error})")
    return names, missing


def one_run(names: list[str], place: Place, number: int) -> Times:
    """Fresh processes, in an order drawn anew for each pass: who is first finds the caches cold."""
    chooser = random.Random(number)  # noqa: S311 - no secret
    times: Times = {name: [] for name in names}
    with ExitStack() as stack:
        samplers = {
            name: stack.enter_context(Worker(partial(Sampler, name, place), WAYS[name].environment))
            for name in names
        }
        for sampler in samplers.values():
            sampler.ready()
            sampler.ask(Sampler.warm_up)
        for _ in range(_PASSES):
            for name in chooser.sample(names, len(names)):
                times[name].append(samplers[name].ask(Sampler.times))
    return times


def report(taken: list[Times], title: str, missing: list[str]) -> None:
    print(f"\n{title}; milliseconds a sample, median (range over runs)")
    print(f"{'':<50}{'wall':>20}{'CPU':>20}")
    for name in taken[0]:
        cells = (goals.ranged([middle(times, name, clock) for times in taken]) for clock in (WALL, CPU))
        print(f"{name:<50}" + "".join(f"{cell:>20}" for cell in cells))
    print("".join(f"{line}\n" for line in missing), end="")


def middle(times: Times, name: str, clock: int) -> float:
    return statistics.median(one[clock] for one in times[name])


def ratio(times: Times, above: str, below: str) -> float:
    """Of CPU time: the median of the ratios pass by pass."""
    pairs = zip(times[above], times[below], strict=True)
    return statistics.median(one[CPU] / other[CPU] for one, other in pairs)


def ways_goals(taken: list[Times]) -> Iterator[Goal]:
    """Samples a second of a core over those of another way."""
    for one, other, aim, least in (
        (SLICES, ARROW, 1.3, 1.0),
        (SLICES, ZARR, 10, 10),
        (PATCHES, RANDOM_PATCHES, 1.5, 1.5),
        (PATCHES, PLAIN_PATCHES, 1.8, 1.4),
    ):
        if other in taken[0]:
            reached = [ratio(times, other, one) for times in taken]
            yield Goal(f"{one}: a core's rate over that of {other}", aim, least, reached, at_least=True)


def drawing_goals(taken: list[Times], draws: list[dict[str, float]]) -> Iterator[Goal]:
    """What class-balanced patches take more to draw; reading them takes more too: bone compresses less."""
    extra = [
        (draw["balanced"] - draw["uniform"]) / middle(times, RANDOM_PATCHES, WALL)
        for draw, times in zip(draws, taken, strict=True)
    ]
    reading = goals.ranged([ratio(times, BALANCED, RANDOM_PATCHES) for times in taken])
    print(f"class-balanced patches take {reading} times what uniform ones take")
    text = "class-balanced: what drawing takes more than uniform, of a patch's time"
    yield Goal(text, 0.05, 0.05, extra)


def workers_goals(workers: dict[str, dict[str, list[float]]]) -> Iterator[Goal]:
    for name, found in workers.items():
        yield Goal(f"{name}: rate of two workers over one's", 1.8, 1.7, found["ratio"], at_least=True)
        yield Goal(f"{name}: MB of a worker's own memory", 400, 400, found["own"])
        over = [own / plain for own, plain in zip(found["own"], found["plain_own"], strict=True)]
        yield Goal(f"{name}: a worker's own memory over that without kernel", 1.0, 1.05, over)


def start_goals(seconds: dict[str, list[float]]) -> Iterator[Goal]:
    text = f"seconds from the start of a process to the first samples of {loading.CASES} cases"
    yield Goal(text, 1, 1, seconds["patch"])
    over = [one / plain for one, plain in zip(seconds["slice"], seconds["plain_slice"], strict=True)]
    yield Goal("time to the first slice over that without kernel", 1.0, 1.05, over)
