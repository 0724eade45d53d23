"""Slices, patches and a volume through this engine and through the field.

Each peer has a process of its own, fresh in each run; they take turns, box by box, and one is at work
at a time. Figures are medians of the runs' medians, with the range over runs; ratios are paired, box by
box, before their median is taken.
"""

import random
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from arguments import local_cases, selection

import ctspine_zarr as cz
from benchmarks import goals, profile
from benchmarks.goals import Goal
from benchmarks.peers import (
    BLOSC2,
    NIBABEL,
    NIBABEL_PART,
    OURS_ALL,
    OURS_ONE,
    OURS_TWO,
    PEERS,
    PLAIN_THICK,
    TENSORSTORE,
    THICK,
    VOXELS,
    ZARRS,
    Box,
    Material,
    Peer,
    Reader,
    stored_bytes,
)
from benchmarks.processes import WITHOUT_KERNEL, Worker, alone
from ctspine_zarr import nifti
from ctspine_zarr.geometry import Shape

_CUBES = (96, 128)
_WHOLE = "volume"
_TURNS = 3
# Boxes of each turn; peers that take hundreds of milliseconds read the last of them only.
_BOXES = {_WHOLE: 2}
_USUAL_BOXES = 5

WALL, CPU = 0, 1

type Boxes = dict[str, list[list[Box]]]
"""Access -> for each turn the boxes."""
type Times = dict[str, dict[str, dict[int, tuple[float, float]]]]
"""Access, then peer, then number of the box -> seconds of wall time and of CPU time; of one run."""


def run(source: Path, scratch: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure every peer that is installed on one volume, print tables, return the figures."""
    material = prepare(source, scratch, case)
    boxes = accesses(material.record.shape, _TURNS)
    missing = written(material, PEERS)
    names = [name for name in PEERS if name not in missing]
    taken = [one_run(names, material, boxes, number) for number in range(runs)]
    figures = [figure(taken, access, peer) for access in boxes for peer in names]
    sizes = {name: stored_bytes(name, material) / material.source.stat().st_size for name in names}
    title = f"{material.record.id}, {'x'.join(map(str, material.record.shape))} {material.voxels.dtype}"
    print(f"\nreading {title}, from a warm disk cache; median (range over {runs} runs)")
    report(figures, sizes)
    print("".join(f"{name}: not installed ({error})\n" for name, error in missing.items()))
    cubes = [box for one in boxes["96-cube"] for box in one]
    shares = alone(WITHOUT_KERNEL, profile.shares, material, cubes)
    profile.report(shares)
    aims = list(goals_met(taken))
    goals.report(aims, " for a chest CT of 275 slices of 512 x 512")
    return {
        "case": material.record.id,
        "shape": material.record.shape,
        "runs": runs,
        "figures": figures,
        "bytes_per_nii_gz_byte": sizes,
        "missing": missing,
        "shares_of_a_96_cube_without_kernel": shares,
        "goals": [aim.in_json for aim in aims],
    }


def prepare(source: Path, scratch: Path, chosen: str | None, chunk: Shape | None = None) -> Material:
    """The volume with most voxels, or the one asked for, in stores of its own."""
    cases = {case.id: case for case in local_cases(source)}
    largest = max(cases.values(), key=lambda case: np.prod(nifti.read_header(case.image).shape))
    case = cases[chosen] if chosen else largest
    folder = scratch / "peers"
    folder.mkdir(parents=True)
    for store, shape in (("spine.zarr", chunk), ("thick.zarr", THICK)):
        plan = cz.plan_build(source, scratch / store, selection=selection(case.id), chunk=shape, workers=1)
        cz.build_store(plan)
    stored = cz.open_store(scratch / "spine.zarr")[case.id]
    np.save(folder / VOXELS, stored.voxels("image")[...])
    return Material(
        scratch / "spine.zarr", stored.record, scratch / "thick.zarr", Path(case.image).absolute(), folder
    )


def written(material: Material, names: Iterable[str]) -> dict[str, str]:
    """Let every peer write what it reads, and open it once; those that are not installed, and why."""
    missing = {}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(Worker(partial(write, name, material), PEERS[name].environment))
            for name in names
        }
        for name, writer in writers.items():
            try:
                writer.ready()
            except ImportError as error:
                missing[name] = str(error)
    return missing


def write(name: str, material: Material) -> None:
    peer = PEERS[name]
    if peer.write:
        peer.write(material)
    peer.open(material)


def accesses(shape: tuple[int, ...], turns: int) -> Boxes:
    """For each kind of access and each turn the boxes; the same in every run."""
    z, y, x = shape
    edges = {"axial": (1, y, x), "coronal": (z, 1, x), "sagittal": (z, y, 1)}
    edges |= {f"{edge}-cube": (min(edge, z), min(edge, y), min(edge, x)) for edge in _CUBES}
    edges[_WHOLE] = (z, y, x)
    chooser = random.Random(0)  # noqa: S311 - no secret
    return {
        name: [
            [random_box(shape, size, chooser) for _ in range(_BOXES.get(name, _USUAL_BOXES))]
            for _ in range(turns)
        ]
        for name, size in edges.items()
    }


def random_box(shape: tuple[int, ...], size: tuple[int, ...], chooser: random.Random) -> Box:
    starts = (chooser.randrange(n - edge + 1) for n, edge in zip(shape, size, strict=True))
    z, y, x = (slice(start, start + edge) for start, edge in zip(starts, size, strict=True))
    return z, y, x


def one_run(names: Sequence[str], material: Material, boxes: Boxes, number: int) -> Times:
    """Fresh processes, and what each read in them took."""
    with ExitStack() as stack:
        readers = {name: started(stack, name, material) for name in names}
        for reader in readers.values():
            reader.ready()
        chooser = random.Random(number)  # noqa: S311 - no secret
        slow = {name for name in names if PEERS[name].is_slow}
        return {access: in_turns(readers, slow, each, chooser) for access, each in boxes.items()}


def started(stack: ExitStack, name: str, material: Material) -> Worker[Reader]:
    peer: Peer = PEERS[name]
    return stack.enter_context(Worker(partial(Reader, name, material), peer.environment))


def in_turns[K](
    readers: Mapping[K, Worker[Reader]], slow: set[K], turns: list[list[Box]], chooser: random.Random
) -> dict[K, dict[int, tuple[float, float]]]:
    """Box by box the readers take turns, in an order drawn anew each time.

    A reader first reads the box before again, for a program that reads one box seldom does so after
    another program had the processor's caches to itself; slow ones do not, nor for the same box.
    """
    times: dict[K, dict[int, tuple[float, float]]] = {key: {} for key in readers}
    for reader in readers.values():
        reader.ask(Reader.check, turns[0][0])
    before = turns[0][0]
    for turn, boxes in enumerate(turns):
        for number, box in enumerate(boxes, turn * len(boxes)):
            is_last = number % len(boxes) == len(boxes) - 1
            for key in chooser.sample(list(readers), len(readers)):
                if key not in slow:
                    times[key][number] = readers[key].ask(
                        Reader.times, box, None if box == before else before
                    )
                elif is_last:
                    times[key][number] = readers[key].ask(Reader.times, box)
            before = box
    return times


def figure(taken: Sequence[Mapping[str, Any]], access: str, peer: Any) -> dict[str, Any]:
    """Medians of the runs' medians, and their range, in milliseconds."""
    found: dict[str, Any] = {"peer": peer, "access": access, "reads": len(taken[0][access][peer])}
    for name, clock in (("wall", WALL), ("cpu", CPU)):
        medians = [
            1000 * statistics.median(seconds[clock] for seconds in times[access][peer].values())
            for times in taken
        ]
        about = goals.spread(medians)
        found |= {name: about["median"], f"{name}_low": about["low"], f"{name}_high": about["high"]}
        found[f"{name}_of_runs"] = medians
    return found


def report(figures: list[dict[str, Any]], sizes: dict[str, float]) -> None:
    names = list(dict.fromkeys(figure["access"] for figure in figures))
    found = {(figure["peer"], figure["access"]): figure for figure in figures}
    for title, key in (("wall ms", "wall"), ("CPU ms", "cpu")):
        print(f"\n{title:<38}{'of .nii.gz':>10}" + "".join(f"{name:>19}" for name in names))
        for peer, size in sizes.items():
            cells = (goals.ranged(found[peer, name][f"{key}_of_runs"]) for name in names)
            print(f"{peer:<38}{size:>10.3f}" + "".join(f"{cell:>19}" for cell in cells))


def goals_met(taken: list[Times]) -> Iterator[Goal]:
    """Each goal with what was reached."""
    cubes = [f"{edge}-cube" for edge in _CUBES]
    for peer, bounds in ((TENSORSTORE, (0.70, 0.80)), (ZARRS, (0.65, 0.75)), (BLOSC2, (1.0, 1.05))):
        for access in taken[0]:
            yield from goal(taken, access, (OURS_ONE, peer), CPU, bounds)
    for access in (*cubes, _WHOLE):
        yield from goal(taken, access, (OURS_TWO, OURS_ONE), WALL, (0.55, 0.65))
    yield from goal(taken, "axial", (OURS_ONE, PLAIN_THICK), CPU, (0.35, 0.5))
    for access, bounds in zip(("axial", *cubes), ((100, 60), (300, 150), (200, 150)), strict=True):
        for peer in (NIBABEL, NIBABEL_PART):
            yield from goal(taken, access, (peer, OURS_ALL), WALL, bounds)


def goal(
    taken: list[Times], access: str, pair: tuple[str, str], clock: int, bounds: tuple[float, float]
) -> Iterator[Goal]:
    """What one of a pair takes over what the other takes, where both are there."""
    if set(pair) <= taken[0][access].keys():
        text = f"{access}: {'CPU' if clock == CPU else 'wall'} of {pair[0]} over that of {pair[1]}"
        reached = [ratio(times[access], *pair, clock) for times in taken]
        yield Goal(text, *bounds, reached, at_least=bounds[0] > bounds[1])


def ratio(times: Mapping[str, Mapping[int, tuple[float, float]]], one: str, other: str, clock: int) -> float:
    """Of one run: the median of the ratios, over the boxes that both read."""
    above, below = times[one], times[other]
    return statistics.median(above[box][clock] / below[box][clock] for box in above.keys() & below.keys())
