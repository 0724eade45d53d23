"""A store read while it is built, added to, replaced and killed: one whole state or another."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import numpy as np
import pytest
from hostile import fresh_seed
from numpy.typing import NDArray
from servers import folder, served
from stores import FailingStore, objects
from trees import Tree
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.errors import CtspineError, NotAStore, StoreUpdated

CONTEXT: Final = multiprocessing.get_context("forkserver")
# (i, j, k); of less than a chunk, so that a build is over in a moment.
SHAPE: Final = (8, 9, 6)
STEP: Final = 100
# Seconds between the beginning of a build and its kill.
LONGEST: Final = 0.1


# -- voxels that say which generation of their case they are


def image_of(generation: int) -> NDArray[Any]:
    """(i, j, k): slice k is `generation * STEP + k` everywhere."""
    return np.broadcast_to(np.arange(SHAPE[2]) + generation * STEP, SHAPE).astype("int16")


def mask_of(generation: int) -> NDArray[Any]:
    """L5 in odd generations, L4 in even ones."""
    mask = np.zeros(SHAPE, "uint8")
    mask[2:5, 2:5, 1:5] = 23 + generation % 2
    return mask


def generation_of(case: cz.Case, index: int) -> int:
    """The generation that a slice says it is of: image, mask and record agree, or it is an AssertionError."""
    sample = case.slice(index)
    values = {int(value) for value in np.unique(sample["image"])}
    assert len(values) == 1, f"{case.id}: a slice of {values}"
    generation, k = divmod(values.pop(), STEP)
    assert k == index, f"{case.id}: slice {index} says it is slice {k}"
    present = set(np.unique(sample["segmentation"]).tolist())
    assert present <= {0, 23 + generation % 2}, f"{case.id}: image {generation} with labels {present}"
    assert [label.label for label in case.record.labels] == [23 + generation % 2]
    assert case.record.intensity.max == generation * STEP + SHAPE[2] - 1
    return generation


def set_generation(tree: Tree, generation: int) -> None:
    """`a` replaced, `b` as ever, `m` in another split, and every few generations another case."""
    for name, of in (("a", generation), ("b", 0), ("m", 0), (f"n{generation // 8}", 1)):
        place = tree.root / tree.data / "volumes" / "MSD-T10" / f"{name}.nii.gz"
        if name == "a" or not place.exists():
            known = any(name in cases for cases in tree.sections.values())
            tree.add(name, image_of(of), mask_of(of), section=None if known else "trainset")
    there = "test_public" if "m" in tree.sections["trainset"] else "trainset"
    for cases in tree.sections.values():
        if "m" in cases:
            cases.remove("m")
    tree.sections[there].append("m")
    tree.write_splits()


# -- who builds and who reads, in processes of their own


def build(root: Path, location: Path) -> None:
    cz.build_store(cz.plan_build(root, location, workers=1))


def read_on(location: Path, progress: Path, told: Connection) -> None:
    """Open and read on; tell who asks how often opened, read, told of an update, and what was wrong."""
    opened = read = updated = 0
    wrong: list[str] = []
    while True:
        if told.poll():
            told.recv()
            told.send((opened, read, updated, wrong))
        least = bounds(progress)[0]
        try:
            store = cz.open_store(location)
            opened += 1
            # Now and then the store is updated in between.
            time.sleep(opened % 3 * 0.02)
            if not {"a", "b", "m"} <= set(store):
                wrong.append(f"only {sorted(store)}")
            for number, case in enumerate(store.values()):
                seen = generation_of(case, (opened + number) % SHAPE[2])
                most = bounds(progress)[1]
                if case.id == "a" and not least <= seen <= most:
                    wrong.append(f"generation {seen}; legal: {least} to {most}")
                read += 1
        except StoreUpdated:
            updated += 1
        except (CtspineError, AssertionError) as error:
            wrong.append(f"{type(error).__name__}: {error}")


def bounds(progress: Path) -> tuple[int, int]:
    """The generation that is whole, and the one that is built."""
    least, most = progress.read_text().split()
    return int(least), int(most)


def announce(progress: Path, least: int, most: int) -> None:
    partial = progress.with_name("partial")
    partial.write_text(f"{least} {most}")
    partial.replace(progress)


@contextmanager
def reader(location: Path, progress: Path) -> Iterator[Callable[[], tuple[int, int, int, list[str]]]]:
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=read_on, args=(location, progress, there))
    process.start()

    def ask() -> tuple[int, int, int, list[str]]:
        here.send(True)
        found: tuple[int, int, int, list[str]] = here.recv()
        return found

    try:
        yield ask
    finally:
        process.kill()
        process.join()


# Forks a process for each build, so that none waits for imports.
BUILDER: Final = """
import os, sys
import scipy.ndimage, zarr.storage, ctspine_zarr.write.build, ctspine_zarr.write.plan
import ctspine_zarr as cz

def build(root, location):
    plan = cz.plan_build(root, location, workers=1)
    print(os.getpid(), flush=True)
    cz.build_store(plan)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            build(*sys.argv[1:])
            os._exit(0)
        finally:
            os._exit(1)
    # Until it is waited for its number is nobody else's.
    sys.stdin.readline()
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Builder:
    """Builds a store again and again, each time in a process that may be killed."""

    def __init__(self, root: Path, location: Path) -> None:
        command = [sys.executable, "-c", BUILDER, str(root), str(location)]
        # numpy's threads would be another's at a fork.
        alone = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=alone)

    def run(self, kill_after: float | None = None) -> bool:
        """Build; whether it was killed before its end."""
        self._go_on()
        child = self._line()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        self._go_on()
        status = self._line()
        assert status in {0, signal.SIGKILL}
        return status != 0

    def _go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def _line(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture
def builder(tree: Tree, tmp_path: Path) -> Iterator[Builder]:
    set_generation(tree, 0)
    found = Builder(tree.root, tmp_path / "s.zarr")
    with found.process:
        yield found


@pytest.mark.parametrize("kills", [6, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_reader_never_sees_what_is_between_two_states(
    tree: Tree, builder: Builder, tmp_path: Path, kills: int
) -> None:
    chooser = random.Random(fresh_seed())
    location, progress = tmp_path / "s.zarr", tmp_path / "progress"
    builder.run()
    announce(progress, 0, 0)
    killed = generation = whole = 0
    with reader(location, progress) as ask:
        # As many openings as kills at least, on a slow machine too.
        while killed < kills or ask()[0] <= kills:
            generation += 1
            set_generation(tree, generation)
            announce(progress, whole, generation)
            # Some generations are killed again and again, and some never end.
            for _ in range(chooser.choice([1, 1, 2, 5])):
                killed += builder.run(chooser.uniform(0, LONGEST))
            if chooser.random() < 0.7:
                builder.run()
            seen = generation_of(cz.open_store(location)["a"], 0)
            assert seen in {whole, generation}
            whole = seen
        builder.run()
        opened, read, updated, wrong = ask()
    print(f"{killed} kills, {generation} generations: {opened} openings, {read} reads, {updated} told")
    assert not wrong, wrong[:5]
    assert opened > kills
    assert generation_of(cz.open_store(location)["a"], 0) == generation
    result = cz.verify(location)
    assert result.is_whole, result


# -- a handle that was opened before

type Places = tuple[Any, Callable[[], cz.Store]]


@pytest.fixture(params=["folder", "memory", "http", "disk cache"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Where a store is built, and how it is opened for reading."""
    if request.param == "memory":
        store = MemoryStore()
        yield store, lambda: cz.open_store(store)
        return
    location = tmp_path / "s.zarr"
    with ExitStack() as stack:
        if request.param == "folder":
            yield location, lambda: cz.open_store(location)
            return
        location.mkdir()
        url = stack.enter_context(served(folder(location)))
        options: dict[str, Any] = {"disk_cache": tmp_path / "cache"} if request.param == "disk cache" else {}
        yield location, lambda: cz.open_store(url, **options)


def test_a_handle_reads_the_state_it_was_opened_with_or_says_that_it_is_gone(
    tree: Tree, places: Places, request: pytest.FixtureRequest
) -> None:
    location, opened = places
    set_generation(tree, 0)
    build(tree.root, location)
    untouched, touched = opened(), opened()
    assert [generation_of(touched[case], 0) for case in "abm"] == [0, 0, 0]
    for generation in range(1, 4):
        set_generation(tree, generation)
        build(tree.root, location)
        told = 0
        for handle in (untouched, touched):
            for case in ("a", "b", "m"):
                for index in range(SHAPE[2]):
                    try:
                        assert generation_of(handle[case], index) == 0
                    except StoreUpdated:
                        told += 1
        # A disk cache has all of what was opened: what was brought here is read as it was.
        assert bool(told) != ("disk cache" in request.node.name)
        assert generation_of(untouched["b"], 0) == 0
        assert [generation_of(opened()[case], 1) for case in "abm"] == [generation, 0, 0]


def test_documents_of_a_case_that_is_gone_say_so(tree: Tree, places: Places) -> None:
    location, opened = places
    set_generation(tree, 0)
    build(tree.root, location)
    store = opened()
    set_generation(tree, 1)
    build(tree.root, location)
    for read in (lambda: store["a"].facts, lambda: store["a"].receipt, store["a"].to_nibabel):
        with pytest.raises(StoreUpdated, match="open it again"):
            read()


# -- a first build that is cut off


class _Killed(BaseException):
    """The process is no more."""


@pytest.mark.slow
def test_a_first_build_killed_at_any_put_opens_with_the_whole_cases_alone(tree: Tree) -> None:
    set_generation(tree, 3)
    clean = FailingStore(-1, _Killed())
    build(tree.root, clean)  # type: ignore[arg-type]
    seen = []
    for nth in range(1, len(clean.puts) + 1):
        store = FailingStore(nth, _Killed())
        with pytest.raises(_Killed):
            build(tree.root, store)  # type: ignore[arg-type]
        done = store.written[: -1 if clean.puts[nth - 1] in clean.written else None]
        if not done:
            with pytest.raises(NotAStore, match="has no zarr.json"):
                cz.open_store(store)
            continue
        opened = cz.open_store(store)
        assert opened.is_partial
        assert {f"receipts/{case}.json" for case in opened} == {k for k in done if k.startswith("receipts/")}
        for case in opened.values():
            assert generation_of(case, 2) == {"a": 3, "b": 0, "m": 0, "n0": 1}[case.id]
        assert any("partial" in problem for problem in cz.verify(store).problems)
        seen.append(len(opened))
    assert sorted(set(seen)) == [0, 1, 2, 3, 4]
    assert not cz.open_store(clean).is_partial


def test_a_partial_store_far_away_says_that_it_is_one(tree: Tree, tmp_path: Path) -> None:
    """A web server cannot list what is whole."""
    set_generation(tree, 0)
    store = FailingStore(12, _Killed())
    with pytest.raises(_Killed):
        build(tree.root, store)  # type: ignore[arg-type]
    for key, data in store.contents().items():
        (tmp_path / "s.zarr" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s.zarr" / key).write_bytes(data)
    assert objects(tmp_path / "s.zarr")
    with (
        served(folder(tmp_path / "s.zarr")) as url,
        pytest.raises(NotAStore, match="first build has not ended"),
    ):
        cz.open_store(url)
