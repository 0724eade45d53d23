"""Cases published at once: the same store there, whoever copies them, and no store before all are there."""

from __future__ import annotations

import functools
import multiprocessing
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from conftest import Bucket, Hub
from executors import Ranks
from stores import DeadlyStore, objects, objects_at
from trees import Tree, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, NotAStore, NoWorkers, StorageError, UnknownValue
from ctspine_zarr.storage import open_storage

CASES = ("a", "b", "c", "d", "e")
TARGET = "hf://datasets/someone/spine"
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "source")
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number))
    return tree


@pytest.fixture
def store(tree: Tree, tmp_path: Path) -> Path:
    return built(tree, tmp_path / "s.zarr")


def built(tree: Tree, location: Path) -> Path:
    cz.build_store(cz.plan_build(tree.root, location, workers=1))
    return location


run = functools.partial(commands.run, "publish")


@pytest.mark.parametrize("place", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_the_store_is_the_same_whoever_copies_its_cases(
    store: Path, tmp_path: Path, bucket: Bucket, place: str
) -> None:
    ranks = Ranks()
    runners: tuple[dict[str, Any], ...] = ({}, {"workers": 2}, {"executor": ranks})
    for number, runner in enumerate(runners):
        target, options = (
            (bucket.new(), bucket.options) if place == "bucket" else (tmp_path / f"{number}", {})
        )
        told: list[cz.CasePublished] = []
        result = cz.publish(store, target, target_options=options, on_case=told.append, **runner)
        assert objects_at(open_storage(target, options=options)) == objects(store)
        assert [(one.case, one.copied) for one in result.cases] == [(case, True) for case in CASES]
        assert sorted(told, key=lambda one: one.case) == list(result.cases)
        again = cz.publish(store, target, target_options=options, **runner)
        assert not any(one.copied for one in again.cases)
        assert cz.verify(target, storage_options=options).is_whole
    assert ranks.done == len(CASES)


@pytest.mark.parametrize("runner", ["processes", "ranks"])
def test_a_newer_store_replaces_an_older_one_by_any_runner(
    tree: Tree, store: Path, tmp_path: Path, runner: str
) -> None:
    options: dict[str, Any] = {"workers": 2} if runner == "processes" else {"executor": Ranks()}
    cz.publish(store, tmp_path / "copy")
    for case in ("b", "d"):
        tree.add(case, voxels(77), np.zeros((20, 24, 18), np.uint8), section=None)
    built(tree, store)
    result = cz.publish(store, tmp_path / "copy", **options)
    assert [one.case for one in result.cases if one.copied] == ["b", "d"]
    assert [one.case for one in result.cases] == list(CASES)
    assert objects(tmp_path / "copy") == objects(store)


@pytest.mark.parametrize("runner", ["serial", pytest.param("processes", marks=pytest.mark.slow), "ranks"])
def test_a_damaged_case_ends_the_publication_before_its_earlier_copy_is_touched(
    tree: Tree, store: Path, tmp_path: Path, runner: str
) -> None:
    options: dict[str, Any] = {}
    if runner != "serial":
        options = {"workers": 2} if runner == "processes" else {"executor": Ranks()}
    cz.publish(store, tmp_path / "copy")
    before = objects(tmp_path / "copy")
    tree.add("c", voxels(77), section=None)
    built(tree, store)
    path = cz.open_store(store)["c"].record.path
    (store / path / "image/c/0/0/0").write_bytes(b"damaged")
    with pytest.raises(DamagedStore, match=r"image/c/0/0/0 has 7 bytes, \d+ were written; run verify"):
        cz.publish(store, tmp_path / "copy", **options)
    assert objects(tmp_path / "copy") == before


def test_after_a_fault_no_other_case_is_taken_up_and_those_under_way_are_ended(
    store: Path, tmp_path: Path
) -> None:
    class TwoAtOnce(Ranks):
        num_workers = 2

    next((store / cz.open_store(store)["a"].record.path).rglob("image/c/0/0/0")).write_bytes(b"damaged")
    ranks, told = TwoAtOnce(), list[cz.CasePublished]()
    with pytest.raises(DamagedStore, match="run verify"):
        cz.publish(store, tmp_path / "copy", executor=ranks, on_case=told.append)
    # Both of the first two were given away before either was looked at.
    assert (ranks.done, [one.case for one in told]) == (2, ["b"])
    with pytest.raises(NotAStore):
        cz.open_store(tmp_path / "copy")


@pytest.mark.slow
def test_a_case_whose_worker_died_once_is_copied_after_all(store: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    deadly = DeadlyStore(tmp_path / "copy", "/c/image/c/0/0/0", tmp_path, most=1)
    cz.publish(store, deadly, workers=2)
    assert deadly.deaths == 1
    assert objects(tmp_path / "copy") == objects(store)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["here", "there"])
def test_a_case_whose_workers_die_ends_the_publication_and_a_rerun_goes_on(
    store: Path, tmp_path: Path, side: str
) -> None:
    root = store if side == "here" else tmp_path / "copy"
    root.mkdir(exist_ok=True)
    deadly = DeadlyStore(root, "/c/image/c/0/0/0", tmp_path, most=3)
    source, target = (deadly, tmp_path / "copy") if side == "here" else (store, deadly)
    with pytest.raises(
        NoWorkers, match="cannot publish c to .*: its worker died of it 3 times.*run it again"
    ):
        cz.publish(source, target, workers=2)
    assert deadly.deaths == 3
    there = set(objects(tmp_path / "copy"))
    assert not {key for key in there if "/" not in key}
    assert "receipts/c.json" not in there
    assert {"receipts/a.json"} <= there
    result = cz.publish(store, tmp_path / "copy")
    kept = {one.case for one in result.cases if not one.copied}
    assert kept == {key.removeprefix("receipts/")[0] for key in there if key.startswith("receipts/")}
    assert objects(tmp_path / "copy") == objects(store)


def test_a_listener_that_ends_a_publication_ends_its_workers(store: Path, tmp_path: Path) -> None:
    def stop(found: cz.CasePublished) -> None:  # noqa: ARG001 - as a listener is called
        raise KeyboardInterrupt

    before = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt) as caught:
        cz.publish(store, tmp_path / "copy", workers=2, on_case=stop)
    # While somebody still has the error.
    assert (caught.type, multiprocessing.active_children()) == (KeyboardInterrupt, before)
    with pytest.raises(NotAStore):
        cz.open_store(tmp_path / "copy")
    cz.publish(store, tmp_path / "copy", workers=2)
    assert objects(tmp_path / "copy") == objects(store)


def test_what_other_processes_do_not_see_is_refused_and_nothing_is_written(
    store: Path, tmp_path: Path
) -> None:
    memory = MemoryStore()
    cz.publish(store, memory)
    runners: tuple[dict[str, Any], ...] = ({"workers": 2}, {"executor": Ranks()})
    for runner in runners:
        for source, target in ((store, "memory://refused"), (memory, tmp_path / "copy")):
            with pytest.raises(UnknownValue, match="which other processes do not see; legal: none"):
                cz.publish(source, target, **runner)
    with pytest.raises(UnknownValue, match="workers 0; legal: an integer from 1"):
        cz.publish(store, tmp_path / "copy", workers=0)
    assert not (tmp_path / "copy").exists()
    assert open_storage("memory://refused").sizes() == {}


def test_a_place_that_is_not_right_is_refused_before_any_worker_is_asked(store: Path) -> None:
    ranks = Ranks()
    with pytest.raises(StorageError, match="legal: a place apart from it"):
        cz.publish(store, store / "below", executor=ranks)
    assert ranks.done == 0


def test_to_the_hub_goes_this_process_alone(store: Path, hub: Hub) -> None:
    runners: tuple[dict[str, Any], ...] = ({"workers": 2}, {"executor": Ranks()})
    for runner in runners:
        with pytest.raises(UnknownValue, match="where commits follow one another; legal: none"):
            cz.publish(store, TARGET, target_options=hub.options, **runner)
    assert hub.hub.repos == {}
    result = cz.publish(store, TARGET, target_options=hub.options)
    assert [one.case for one in result.cases] == list(CASES)


def test_the_command_publishes_with_workers(store: Path, tmp_path: Path) -> None:
    done = run(store, tmp_path / "copy", "--workers", 2)
    assert done.exit_code == 0, done.output
    assert objects(tmp_path / "copy") == objects(store)
    assert all(f"copied {case}," in done.stderr for case in CASES)
    assert run(store, TARGET, "--workers", 2).exit_code == 2
    assert run(store, "memory://copy", "--workers", 2).exit_code == 2
    assert run(store, tmp_path / "other", "--scheduler", "nowhere").exit_code == 2
    assert not (tmp_path / "other").exists()
