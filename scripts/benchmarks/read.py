"""Slices, patches and a volume through this engine and through the field, turn by turn."""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from arguments import local_cases
from numpy.typing import NDArray

import ctspine_zarr as cz
from benchmarks import profile
from benchmarks.peers import (
    BLOSC2,
    NIBABEL,
    NIBABEL_PART,
    OURS_ALL,
    OURS_ONE,
    PEERS,
    TENSORSTORE,
    ZARRS,
    Box,
    Material,
    Peer,
)
from ctspine_zarr import nifti

_CUBES = (96, 128)
_WHOLE = "volume"
# Boxes that a peer reads in a row when its turn comes, as a loader or an analyst would; peers
# that take hundreds of milliseconds read the last of them only.
_IN_A_ROW = {_WHOLE: 2}
_USUALLY_IN_A_ROW = 5


type Times = dict[str, dict[str, dict[int, tuple[float, float]]]]
"""Access, then peer, then number of the box -> seconds of wall time and of CPU time."""


def run(source: Path, scratch: Path, case: str | None, repeats: int) -> dict[str, Any]:
    """Measure every peer that is installed on one volume, print tables, return the figures."""
    material = prepare(source, scratch, case)
    peers, missing = opened(PEERS, material)
    boxes = dict(accesses(material.voxels.shape, repeats))
    times = {access: measured(boxes[access], peers, material) for access in boxes}
    sizes = {name: peer.stored_bytes / material.source.stat().st_size for name, peer in peers.items()}
    figures = [figure(peer, access, times[access][peer]) for access in times for peer in peers]
    report(material, figures, sizes, missing)
    shares = profile.shares(material, list(itertools.chain.from_iterable(boxes["96-cube"])))
    profile.report(shares)
    goals = list(goals_met(times, shares[profile.OUTSIDE]))
    print("targets, set for a chest CT of 275 slices of 512 x 512:", *goals, sep="\n")
    return {
        "case": material.record.id,
        "shape": material.voxels.shape,
        "figures": figures,
        "bytes_per_nii_gz_byte": sizes,
        "missing": missing,
        "shares_of_a_96_cube": shares,
        "goals": goals,
    }


def prepare(source: Path, scratch: Path, chosen: str | None) -> Material:
    """The volume with most voxels, or the one asked for, in a store of its own."""
    cases = {case.id: case for case in local_cases(source)}
    largest = max(cases.values(), key=lambda case: np.prod(nifti.read_header(case.image).shape))
    case = cases[chosen] if chosen else largest
    store = scratch / "spine.zarr"
    cz.build_store(cz.plan_build(source, store, selection=cz.Selection(cases=case.id), workers=1))
    folder = scratch / "peers"
    folder.mkdir()
    stored = cz.open_store(store)[case.id]
    return Material(store, stored.record, case.image, stored.voxels("image")[...], folder)


def opened[M, P](openers: dict[str, Callable[[M], P]], material: M) -> tuple[dict[str, P], list[str]]:
    """Every peer that is installed, and the names of those that are not."""
    peers, missing = {}, []
    for name, open_peer in openers.items():
        try:
            peers[name] = open_peer(material)
        except ImportError as error:
            missing.append(f"{name}: not installed ({error})")
    return peers, missing


def accesses(shape: tuple[int, ...], repeats: int) -> Iterator[tuple[str, list[list[Box]]]]:
    """For each kind of access and each repeat the boxes of a turn; the same in every run."""
    z, y, x = shape
    edges = {"axial": (1, y, x), "coronal": (z, 1, x), "sagittal": (z, y, 1)}
    edges |= {f"{edge}-cube": (min(edge, z), min(edge, y), min(edge, x)) for edge in _CUBES}
    edges[_WHOLE] = (z, y, x)
    chooser = random.Random(0)  # noqa: S311 - no secret
    for name, size in edges.items():
        count = _IN_A_ROW.get(name, _USUALLY_IN_A_ROW)
        yield name, [[random_box(shape, size, chooser) for _ in range(count)] for _ in range(repeats)]


def random_box(shape: tuple[int, ...], size: tuple[int, ...], chooser: random.Random) -> Box:
    starts = (chooser.randrange(n - edge + 1) for n, edge in zip(shape, size, strict=True))
    z, y, x = (slice(start, start + edge) for start, edge in zip(starts, size, strict=True))
    return z, y, x


def measured(
    turns: list[list[Box]], peers: dict[str, Peer], material: Material
) -> dict[str, dict[int, tuple[float, float]]]:
    """The peers take turns, in an order drawn anew each time: who is first finds the caches cold."""
    chooser = random.Random(0)  # noqa: S311 - no secret
    times: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in peers}
    for name, peer in peers.items():
        if not np.array_equal(peer.read(turns[0][0]), material.voxels[turns[0][0]]):
            message = f"{name} reads other voxels than were stored"
            raise ValueError(message)
    for turn, boxes in enumerate(turns):
        for name in chooser.sample(list(peers), len(peers)):
            for number, box in enumerate(boxes):
                if number == len(boxes) - 1 or not peers[name].is_slow:
                    times[name][turn * len(boxes) + number] = timed(peers[name].read, box)
    return times


def timed(read: Callable[[Box], NDArray[Any]], box: Box) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    # Kept until the clocks are read: giving the memory back is not part of reading.
    voxels = read(box)
    found = time.perf_counter() - wall, time.process_time() - cpu
    del voxels
    return found


def figure(peer: str, access: str, times: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """Medians and interquartile ranges in milliseconds."""
    walls, cpus = ([1000 * seconds for seconds in both] for both in zip(*times.values(), strict=True))
    return {
        "peer": peer,
        "access": access,
        "wall": statistics.median(walls),
        "wall_spread": float(np.subtract(*np.percentile(walls, [75, 25]))),
        "cpu": statistics.median(cpus),
        "cpu_spread": float(np.subtract(*np.percentile(cpus, [75, 25]))),
        "reads": len(walls),
    }


def report(
    material: Material, figures: list[dict[str, Any]], sizes: dict[str, float], missing: list[str]
) -> None:
    names = list(dict.fromkeys(figure["access"] for figure in figures))
    found = {(figure["peer"], figure["access"]): figure for figure in figures}
    shape = "x".join(map(str, material.voxels.shape))
    print(f"\nreading {material.record.id}, {shape} {material.voxels.dtype}, from a warm disk cache")
    for title, key in (("wall ms", "wall"), ("CPU ms", "cpu"), ("spread of wall ms", "wall_spread")):
        print(f"\n{title:<32}{'of .nii.gz':>11}" + "".join(f"{name:>11}" for name in names))
        for peer, size in sizes.items():
            cells = "".join(f"{found[peer, name][key]:>11.2f}" for name in names)
            print(f"{peer:<32}{size:>11.3f}{cells}")
    print("".join(f"{line}\n" for line in missing))


def goals_met(times: Times, outside: float) -> Iterator[str]:
    """Each goal with what was reached: medians of the ratios box by box."""

    def ratio(access: str, one: str, other: str, clock: int) -> float:
        above, below = times[access][one], times[access][other]
        return statistics.median(above[box][clock] / below[box][clock] for box in above.keys() & below.keys())

    wall, cpu = 0, 1
    cubes = [f"{edge}-cube" for edge in _CUBES]
    for access, peer, least in (
        ("axial", NIBABEL_PART, 60),
        *((cube, NIBABEL, 150) for cube in cubes),
        *((cube, NIBABEL_PART, 150) for cube in cubes),
        (_WHOLE, NIBABEL, 4),
    ):
        reached = ratio(access, peer, OURS_ALL, wall)
        yield goal(f"{access}: times faster than {peer}, wall", reached, least, at_least=True)
    for peer, most in ((TENSORSTORE, 0.9), (ZARRS, 1.0), (BLOSC2, 1.3)):
        for access in times:
            if peer in times[access]:
                reached = ratio(access, OURS_ONE, peer, cpu)
                yield goal(f"{access}: CPU over that of {peer}", reached, most)
    reached = ratio(_WHOLE, OURS_ONE, OURS_ALL, wall)
    yield goal("volume: times faster with all threads than with one", reached, 1.6, at_least=True)
    yield goal("96-cube: share of time outside decoding and checksums", outside, 0.25)


def goal(text: str, reached: float, bound: float, *, at_least: bool = False) -> str:
    good = reached >= bound if at_least else reached <= bound
    sign = ">=" if at_least else "<="
    return f"{'met   ' if good else 'MISSED'} {text}: {reached:.2f} ({sign} {bound})"
