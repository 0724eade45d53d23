"""Many hands on one store: builds at once, killed, taken over; and readers for a minute."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from children import CONTEXT, build, build_and_die, build_at_once, read_for, steps_of
from conftest import Bucket
from hostile import fresh_seed
from servers import folder, served
from stores import builds, objects, objects_at
from trees import Tree, labels, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.errors import StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.manifest import claims, signs
from ctspine_zarr.manifest.claims import Claim, claimed, read_claims
from ctspine_zarr.manifest.signs import gate
from ctspine_zarr.storage import Storage, open_storage

SHAPE: Final = (8, 9, 6)
PLAN, OTHER = "a" * 64, "b" * 64


def small_tree(root: Path, cases: str = "abc") -> Tree:
    tree = Tree(root)
    for number, case in enumerate(cases):
        tree.add(case, voxels(number, SHAPE), np.zeros(SHAPE, "uint8") + number)
    return tree


def contents(location: Any, options: dict[str, Any]) -> dict[str, bytes]:
    return objects_at(open_storage(location, options=options or None))


# -- claims and the gate


@pytest.fixture
def storage() -> Storage:
    return open_storage(MemoryStore())


def dead(**changes: Any) -> Claim:
    """The claim of a process of this machine that is no more."""
    own = Identity.own()
    gone = Identity(host=own.host, machine=own.machine, process=own.process, began=own.began + 1)
    fields: dict[str, Any] = {
        "writer": gone,
        "at": time.time(),
        "plan": OTHER,
        "purpose": "a build of 9 cases",
    }
    return Claim(**fields | changes)


def put(storage: Storage, claim: Claim) -> str:
    key = layout.claim_key(f"{len(storage.sizes()):016x}")
    storage.put(key, encode(claim))
    return key


def test_who_does_the_same_may_do_so_at_once_and_nobody_else(storage: Storage) -> None:
    with claimed(storage, Claim.own(PLAN, "one thing")) as one:
        with claimed(storage, Claim.own(PLAN, "one thing")) as two:
            assert set(one.others()) == {two.key}
            with (
                pytest.raises(
                    cz.StoreInUse,
                    match=rf"asked for another, seen one thing by process {os.getpid()} on .*, last heard",
                ),
                claimed(storage, Claim.own(OTHER, "another")),
            ):
                pass
        assert one.others() == {}
    assert dict(storage.sizes()) == {}
    with claimed(storage, Claim.own(OTHER, "another")):
        pass


@pytest.mark.parametrize("kind", ["gone", "silent", "of tomorrow", "left by this process"])
def test_the_claim_of_the_dead_holds_nobody_up(storage: Storage, kind: str) -> None:
    elsewhere = Identity(host="elsewhere", machine="another", process=1, began=1)
    key = put(
        storage,
        {
            "gone": dead(),
            "silent": dead(writer=elsewhere, at=time.time() - signs.LEASE - 1),
            "of tomorrow": dead(writer=elsewhere, at=time.time() + signs.LEASE + 60),
            "left by this process": dead(writer=Identity.own()),
        }[kind],
    )
    with claimed(storage, Claim.own(PLAN, "a build")):
        assert key not in storage.sizes()


@pytest.mark.parametrize("kind", ["elsewhere", "parts", "a plan"])
def test_what_lives_or_waits_is_ended_by_take_over_alone(storage: Storage, kind: str) -> None:
    elsewhere = Identity(host="elsewhere", machine="another", process=1, began=1)
    if kind == "a plan":
        storage.put(layout.plan_key(OTHER), b"{}")
    else:
        put(storage, dead(writer=elsewhere) if kind == "elsewhere" else dead(has_ended=True, part="1/2"))
    with pytest.raises(cz.StoreInUse, match="--take-over"), claimed(storage, Claim.own(PLAN, "a build")):
        pass
    with claimed(storage, Claim.own(PLAN, "a build"), take_over=True) as held:
        assert list(storage.sizes()) == [held.key]


def test_a_claim_is_renewed_until_it_is_taken_away(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with claimed(storage, Claim.own(PLAN, "a build")) as held:
        monkeypatch.setattr(signs, "_BEAT", 0.01)
        signs.renewer()._added.set()
        first = read_claims(storage)[held.key].at
        while read_claims(storage)[held.key].at == first:
            time.sleep(0.01)
        claims.require_claim(storage, held.key)
        # A renewal that is under way may bring it back once: who takes over looks twice.
        while held.key in storage.sizes():
            storage.remove(held.key)
            time.sleep(0.1)
        with pytest.raises(cz.StoreInUse, match="was taken over"):
            claims.require_claim(storage, held.key)
        assert held.key not in storage.sizes()


def test_a_build_that_was_taken_over_writes_no_more(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    location = tmp_path / "s.zarr"

    def take_over(event: object) -> None:
        if isinstance(event, cz.CaseBuilt) and event.case.id == "b":
            for key in (location / "builds").glob("claim-*"):
                key.unlink()

    with pytest.raises(cz.StoreInUse, match="was taken over by another build"):
        cz.build_store(cz.plan_build(tree.root, location, workers=1), take_over)
    assert sorted(cz.open_store(location)) == ["a", "b"]
    build(tree.root, location)
    assert cz.verify(location).is_whole


def test_one_at_a_time_passes_the_gate(tmp_path: Path) -> None:
    storage, inside, most = open_storage(tmp_path / "s"), [0], [0]

    def pass_often() -> None:
        for _ in range(5):
            with gate(storage):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                inside[0] -= 1

    threads = [threading.Thread(target=pass_often) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not (tmp_path / "s" / "builds").exists()


def test_verify_tells_a_build_under_way_from_what_a_killed_one_left(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    location = tmp_path / "s.zarr"
    build(tree.root, location)
    seen = []

    def look(event: object) -> None:
        if isinstance(event, cz.CaseBuilt):
            seen.append(cz.verify(location))

    tree.add("a", voxels(7, SHAPE), np.zeros(SHAPE, "uint8"), section=None)
    cz.build_store(cz.plan_build(tree.root, location, workers=1), look)
    assert [found.problems for found in seen] == [()]
    put(open_storage(location), dead())
    [problem] = cz.verify(location).problems
    assert problem.endswith("is of a build that has not ended; run it, or finalize, again")
    build(tree.root, location)
    assert cz.verify(location).is_whole


# -- two builds of one plan


def test_a_second_build_of_the_plan_takes_what_the_first_has_done(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree", "abcd")
    location = tmp_path / "s.zarr"
    first = cz.plan_build(tree.root, location, workers=1)
    second = cz.plan_build(tree.root, location, workers=1)
    ingested: list[str] = []

    def interleave(event: object) -> None:
        if isinstance(event, cz.CaseBuilt) and event.case.id == "b":
            ingested.extend(entry.record.id for entry in cz.build_store(second).built)

    result = cz.build_store(first, interleave)
    # Of the second, "built" are those that were not whole as it began.
    assert ingested == ["c", "d"]
    assert {entry.record.id for entry in result.built} == set("abcd")
    build(tree.root, tmp_path / "alone.zarr")
    assert builds(objects(location)) == builds(objects(tmp_path / "alone.zarr"))


# -- killed at any step


def copy_to(location: Any, options: dict[str, Any], found: dict[str, bytes]) -> None:
    storage = open_storage(location, options=options or None)
    for key in storage.sizes():
        storage.remove(key)
    for key, data in found.items():
        storage.put(key, data)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("where", ["folder", "bucket"])
@pytest.mark.parametrize("what", ["build", "update"])
def test_killed_at_every_step_and_run_again_a_build_ends_with_the_same_bytes(
    tmp_path: Path, bucket: Bucket, where: str, what: str
) -> None:
    tree = small_tree(tmp_path / "tree")
    location: Any = tmp_path / "s.zarr" if where == "folder" else bucket.new()
    options = {} if where == "folder" else bucket.options
    before: dict[str, bytes] = {}
    if what == "update":
        build(tree.root, tmp_path / "before.zarr")
        before = objects(tmp_path / "before.zarr")
        tree.add("a", voxels(7, SHAPE), np.ones(SHAPE, "uint8"), section=None)
        tree.add("d", voxels(8, SHAPE), np.ones(SHAPE, "uint8"))
    copy_to(location, options, before)
    with steps_of(-1, after=True) as steps:
        build(tree.root, location, storage_options=options)
    expected = builds(contents(location, options))
    kills = 0
    for after in (False, True) if where == "folder" else (True,):
        # A bucket takes seconds a time: each third step there.
        for nth in range(1, len(steps) + 1, 1 if where == "folder" else 3):
            copy_to(location, options, before)
            child = CONTEXT.Process(target=build_and_die, args=(tree.root, location, options, nth, after))
            child.start()
            child.join()
            kills += child.exitcode == -signal.SIGKILL
            build(tree.root, location, storage_options=options)
            assert builds(contents(location, options)) == expected, (steps[nth - 1], after)
    print(f"{kills} kills")
    assert kills >= len(steps) // 3 - 2


# -- four at once


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_four_builds_at_once_leave_a_store_that_is_whole(tmp_path: Path, rounds: int) -> None:
    tree = small_tree(tmp_path / "tree", "abcd")
    chooser = random.Random(fresh_seed())
    some = cz.Selection(cases=["c", "d"])
    kinds: list[dict[str, Any]] = [{}, {}, {"selection": some}, {"codec": "compact"}]
    ended: dict[str, int] = {}
    for number in range(rounds):
        location = tmp_path / f"{number}.zarr"
        if chooser.random() < 0.5:
            build(tree.root, location, selection=cz.Selection(cases=["a"]))
        outcomes = at_once(tree.root, location, kinds)
        for kind, (outcome, said) in zip(kinds, outcomes, strict=True):
            ended[outcome] = ended.get(outcome, 0) + 1
            assert outcome in {"ok", "StoreInUse", "StoreMismatch"}, said
            # The one may have ended before the other began, whose codec then is not the store's.
            assert outcome != StoreMismatch.__name__ or "was begun with codec" in str(said), (kind, said)
        done = [kind for kind, (outcome, _) in zip(kinds, outcomes, strict=True) if outcome == "ok"]
        assert done
        found = cz.verify(location)
        assert found.is_whole, found
        store = cz.open_store(location)
        assert set(store) >= {"c", "d"}
        assert {} not in done or set(store) == set("abcd")
        assert len({case.record.image.codec for case in store.values()}) == 1
        assert not (location / "builds").exists()
    print(ended)


def at_once(root: Path, location: Path, kinds: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    start = CONTEXT.Barrier(len(kinds))
    started = []
    for options in kinds:
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=build_at_once, args=(root, location, options, start, there))
        process.start()
        there.close()
        started.append((process, here))
    outcomes = [here.recv() for _, here in started]
    for process, _ in started:
        process.join()
    return outcomes


# -- readers for a minute


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readers_in_processes_and_threads_have_no_errors_and_steady_memory(tmp_path: Path) -> None:
    """Eight processes of eight threads read a folder, and as many a web server, in one minute."""
    shape = (96, 96, 40)
    tree = Tree(tmp_path / "tree")
    for number, case in enumerate("abcdefgh"):
        image = np.broadcast_to(np.arange(shape[2]) + 100 * number, shape).astype("int16")
        tree.add(case, image, labels(shape))
    location = tmp_path / "s.zarr"
    build(tree.root, location)
    # Of a forked one, memory that it shares at first and writes to later would count as growth.
    context = multiprocessing.get_context("spawn")
    with served(folder(location)) as url:
        started = []
        for where in [str(location), url] * 8:
            here, there = context.Pipe()
            process = context.Process(target=read_for, args=(where, 60, there))
            process.start()
            started.append((where, process, here))
        found = [(where, *here.recv()) for where, _, here in started]
        for _, process, _ in started:
            process.join()
    for where, reads, wrong, memory in found:
        assert not wrong, wrong[:3]
        assert reads > 100
        early, late = statistics.median(memory[10:20]), statistics.median(memory[-10:])
        print(f"{where}: {reads} reads, {early / 1e6:.1f} MB after 10 s, {late / 1e6:.1f} MB after 60 s")
        assert late < 1.1 * early
