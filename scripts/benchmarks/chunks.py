"""One volume in several chunk shapes: what each costs each reader, on disk and a round trip away."""

import dataclasses
import random
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ctspine_zarr as cz
from benchmarks import goals, read, remote
from benchmarks.peers import (
    OURS_ONE,
    PLAIN,
    TENSORSTORE,
    THICK,
    ZARR,
    ZARR_FUSED,
    ZARRS,
    Box,
    Material,
)
from benchmarks.server import Server, served
from ctspine_zarr.format import shard
from ctspine_zarr.geometry import Shape

SHAPES: tuple[Shape, ...] = (
    THICK,
    (8, 64, 64),
    (4, 64, 64),
    (8, 32, 32),
    (16, 32, 32),
    (32, 32, 32),
)
READERS = (OURS_ONE, PLAIN, ZARR, ZARR_FUSED, ZARRS, TENSORSTORE)
FAR_READERS = (remote.OURS, remote.ZARR, remote.ZARR_FUSED)
FAR = ("axial, cold", "axial, warm", "96-cube, cold")

_TURNS = 5

type Key = tuple[str, Shape]
"""A reader, and the chunk of the store that it reads."""


def run(source: Path, scratch: Path, case: str | None, runs: int, latency: float) -> dict[str, Any]:
    """Measure, print tables, return the figures; the latency is in seconds."""
    materials = prepare(source, scratch, case)
    material = materials[THICK]
    missing = read.written(material, READERS)
    keys = [(name, chunk) for name in READERS if name not in missing for chunk in materials]
    near = [one_run(keys, materials, number) for number in range(runs)]
    far = [far_run(materials, number, latency) for number in range(runs)]
    size = {chunk: one.record.image.bytes / material.record.image.bytes for chunk, one in materials.items()}
    index = {chunk: shard.index_size(material.record.shape, chunk) for chunk in materials}
    shape = "x".join(map(str, material.record.shape))
    print(f"\n{material.record.id}, {shape}, by chunk shape; median (range over {runs} runs)")
    report("chunk", ("bytes", "index, kB"), {c: [f"{size[c]:.3f}", f"{index[c] / 1e3:.1f}"] for c in SHAPES})
    rows = report_near(keys, near)
    rows += report_far(far, latency)
    print("".join(f"{name}: not installed ({error})\n" for name, error in missing.items()))
    about = [{"chunk": chunk, "bytes": size[chunk], "index_bytes": index[chunk]} for chunk in materials]
    return {"case": material.record.id, "latency": latency, "chunks": about, "rows": rows}


def prepare(source: Path, scratch: Path, case: str | None) -> dict[Shape, Material]:
    """The volume in a store for each chunk shape."""
    material = read.prepare(source, scratch, case)
    found = {}
    for chunk in SHAPES:
        store = scratch / f"{'-'.join(map(str, chunk))}.zarr"
        selection = cz.Selection(cases=material.record.id)
        cz.build_store(cz.plan_build(source, store, selection=selection, chunk=chunk, workers=1))
        record = cz.open_store(store)[material.record.id].record
        found[chunk] = dataclasses.replace(material, store=store, record=record)
    return found


def one_run(keys: list[Key], materials: dict[Shape, Material], number: int) -> dict[str, Any]:
    """All readers of all chunk shapes side by side, box by box."""
    boxes = read.accesses(materials[THICK].record.shape, 1)
    chooser = random.Random(number)  # noqa: S311 - no secret
    with ExitStack() as stack:
        readers = {key: read.started(stack, key[0], materials[key[1]]) for key in keys}
        for reader in readers.values():
            reader.ready()
        return {access: read.in_turns(readers, set(), each, chooser) for access, each in boxes.items()}


def far_run(materials: dict[Shape, Material], number: int, latency: float) -> dict[Any, list[remote.Cost]]:
    """(Reader, chunk, access) -> costs; each cold read begins with a handle of its own."""
    chooser = random.Random(number)  # noqa: S311 - no secret
    costs: dict[Any, list[remote.Cost]] = {}
    with ExitStack() as stack:
        servers = {chunk: stack.enter_context(served(one.store, latency)) for chunk, one in materials.items()}
        for _ in range(_TURNS):
            axial, cube = far_boxes(materials[THICK].record.shape, chooser)
            keys = [(name, chunk) for name in FAR_READERS for chunk in materials]
            for name, chunk in chooser.sample(keys, len(keys)):
                turn = partial(far_turn, name, materials[chunk], servers[chunk])
                for access, cost in zip(FAR, [*turn(axial), *turn(cube)], strict=True):
                    costs.setdefault((name, chunk, access), []).append(cost)
    return costs


def far_boxes(shape: Shape, chooser: random.Random) -> tuple[list[Box], list[Box]]:
    """Two axial slices that share no chunk, half the volume apart, and a cube."""
    first = chooser.randrange(shape[0])
    whole = slice(0, shape[1]), slice(0, shape[2])
    axial: list[Box] = [(slice(z, z + 1), *whole) for z in (first, (first + shape[0] // 2) % shape[0])]
    return axial, [read.random_box(shape, remote.cube(shape), chooser)]


def far_turn(name: str, material: Material, server: Server, boxes: list[Box]) -> Iterable[remote.Cost]:
    reading = remote.PEERS[name](remote.Distant(server, material.record))
    return remote.one_turn(reading, boxes, server, material)


def report_near(keys: list[Key], near: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """CPU time by reader, chunk shape and access."""
    rows = []
    for name in dict.fromkeys(name for name, _ in keys):
        table: dict[Shape, list[str]] = {}
        for key in (key for key in keys if key[0] == name):
            for access in near[0]:
                figures = read.figure(near, access, key)
                rows.append(figures | {"peer": name, "chunk": key[1]})
                table.setdefault(key[1], []).append(goals.ranged(figures["cpu_of_runs"]))
        report(f"{name}, CPU ms", tuple(near[0]), table)
    return rows


def report_far(far: list[dict[Any, list[remote.Cost]]], latency: float) -> list[dict[str, Any]]:
    """Wall time and bytes over HTTP by reader, chunk shape and access."""
    rows = []
    for name in FAR_READERS:
        table: dict[Shape, list[str]] = {}
        for chunk in SHAPES:
            for access in FAR:
                costs = [one[name, chunk, access] for one in far]
                walls = [remote.median(each, "milliseconds") for each in costs]
                kilobytes = np.median([remote.median(each, "bytes") for each in costs]) / 1e3
                rows.append({"peer": name, "chunk": chunk, "access": access, "wall": walls, "kB": kilobytes})
                table.setdefault(chunk, []).append(f"{goals.ranged(walls)} {kilobytes:.0f} kB")
        report(f"{name}, {latency * 1000:g} ms away, wall ms", FAR, table)
    return rows


def report(title: str, columns: tuple[str, ...], table: dict[Shape, list[str]]) -> None:
    print(f"\n{title:<44}" + "".join(f"{name:>24}" for name in columns))
    for chunk, cells in table.items():
        print(f"{chunk!s:<44}" + "".join(f"{cell:>24}" for cell in cells))
