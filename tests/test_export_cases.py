"""Many cases exported at once: the same files, whoever writes them, and one that fails stops no other."""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import commands
import pytest
from conftest import Bucket
from executors import Ranks
from stores import DeadlyStore, objects
from trees import Tree, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.errors import UnknownCase, UnknownValue

CASES = ("a", "b", "c", "d")


@pytest.fixture
def store(tree: Tree, tmp_path: Path) -> Path:
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    return tmp_path / "s.zarr"


@pytest.fixture
def expected(store: Path, tmp_path: Path) -> dict[str, bytes]:
    """What `export` writes of each case."""
    for case in cz.open_store(store).values():
        cz.export(case, tmp_path / "each")
    return objects(tmp_path / "each")


def damage(store: Path, case: str) -> None:
    (store / cz.open_store(store)[case].record.path / "image/c/0/0/0").write_bytes(b"nothing")


run = functools.partial(commands.run, "export")


@pytest.mark.parametrize("place", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_the_files_are_the_same_whoever_writes_them(
    store: Path, expected: dict[str, bytes], tmp_path: Path, bucket: Bucket, place: str
) -> None:
    location, options = str(store), {}
    if place == "bucket":
        location, options = bucket.new(), bucket.options
        cz.publish(store, location, target_options=options)
    ranks = Ranks()
    runners: dict[str, dict[str, Any]] = {
        "serial": {},
        "processes": {"workers": 2},
        "ranks": {"executor": ranks},
    }
    for name, runner in runners.items():
        told: list[cz.CaseExported] = []
        output = tmp_path / name
        result = cz.export_cases(location, output, on_case=told.append, storage_options=options, **runner)
        assert objects(output) == expected
        assert [one.case for one in result.cases] == list(CASES)
        assert sorted(told, key=lambda one: one.case) == list(result.cases)
        assert {path for one in result.cases for path in one.paths} == {output / key for key in expected}
        assert result.failed == ()
    assert ranks.done == len(CASES)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_that_fails_stops_no_other_and_is_told(
    store: Path, expected: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    damage(store, "b")
    mask = next(tmp_path / "out" / key for key in expected if key.endswith("c_seg.nii.gz"))
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"mine")
    result = cz.export_cases(store, tmp_path / "out", workers=workers)
    assert [one.case for one in result.failed] == ["b", "c"]
    reasons = {one.case: one.reason or "" for one in result.failed}
    assert "image" in reasons["b"]
    assert reasons["c"] == f"{mask} exists; give --overwrite to replace it"
    assert [one.paths for one in result.failed] == [(), ()]
    written = {key: data for key, data in expected.items() if Path(key).name[0] in "ad"}
    assert objects(tmp_path / "out") == written | {str(mask.relative_to(tmp_path / "out")): b"mine"}


def test_a_failure_says_what_was_written_before_it(store: Path, tmp_path: Path) -> None:
    group = store / cz.open_store(store)["a"].record.path
    (group / "labels/vertebrae/segmentation/c/0/0/0").write_bytes(b"nothing")
    [failed] = cz.export_cases(store, tmp_path / "out", "a").failed
    assert [path.name for path in failed.paths] == ["a.nii.gz"]
    assert objects(tmp_path / "out").keys() == {
        str(path.relative_to(tmp_path / "out")) for path in failed.paths
    }


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 3])
def test_a_case_whose_worker_dies_is_tried_three_times_and_fails_alone(
    store: Path, expected: dict[str, bytes], tmp_path: Path, most: int
) -> None:
    deadly = DeadlyStore(store, "/b/image/c/0/0/0", tmp_path, most)
    result = cz.export_cases(deadly, tmp_path / "out", workers=2)
    assert deadly.deaths == most
    found = {key: data for key, data in objects(tmp_path / "out").items() if not key.endswith(".partial")}
    if most == 1:
        # Also where the neighbour of the one that died had written its files.
        assert (result.failed, found) == ((), expected)
        return
    [failed] = result.failed
    reason = "b: its worker died of it 3 times, perhaps out of memory; use fewer --workers"
    assert (failed.case, failed.paths, failed.reason) == ("b", (), reason)
    assert found == {key: data for key, data in expected.items() if not Path(key).name.startswith("b")}


def test_which_cases_are_exported(store: Path, tmp_path: Path) -> None:
    opened = cz.open_store(store)
    for chosen, names in (
        ("b", ["b"]),
        (["c", "a", "c"], ["c", "a"]),
        (opened.select(min_slices=10**6), []),
        (opened.select(), list(CASES)),
        (None, list(CASES)),
    ):
        result = cz.export_cases(store, tmp_path / "out", chosen, overwrite=True)
        assert [one.case for one in result.cases] == names
        assert result.failed == ()


def test_what_is_refused_writes_nothing(store: Path, tmp_path: Path) -> None:
    memory = MemoryStore()
    cz.publish(store, memory)
    output = tmp_path / "out"
    with pytest.raises(UnknownCase, match="no case 'e' among 4"):
        cz.export_cases(store, output, ["a", "e"])
    runners: tuple[dict[str, Any], ...] = ({"workers": 2}, {"executor": Ranks()})
    for runner in runners:
        with pytest.raises(UnknownValue, match="which other processes do not see; legal: none"):
            cz.export_cases(memory, output, **runner)
    for workers in (0, -1, 1.5):
        with pytest.raises(UnknownValue, match=f"workers {workers}; legal: an integer from 1"):
            cz.export_cases(store, output, workers=workers)  # type: ignore[arg-type]
    assert not output.exists()
    cz.export_cases(memory, output)
    assert len(objects(output)) == 2 * len(CASES)


def test_an_executor_in_another_working_folder_writes_where_it_is_asked_to(
    store: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(Path.cwd).result() == tmp_path / "theirs"
        monkeypatch.chdir(tmp_path / "ours")
        result = cz.export_cases(store, "out", executor=pool)
    assert objects(tmp_path / "ours" / "out") == expected
    assert {str(path) for one in result.cases for path in one.paths} == {f"out/{key}" for key in expected}


def test_the_command_exports_with_workers_and_tells_failures(
    store: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("s.zarr", *CASES, "--output", "out", "--workers", 2)
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"out/{key}" for key in expected)
    again = run("s.zarr", "a", "b", "--output", "out")
    assert (again.exit_code, again.stdout) == (1, "")
    assert [
        line.endswith("exists; give --overwrite to replace it") for line in again.stderr.splitlines()
    ] == [
        True,
        True,
    ]
    damage(store, "b")
    some = run("s.zarr", "a", "b", "--output", "out", "--overwrite", "--workers", 2)
    assert (some.exit_code, len(some.stdout.splitlines()), some.stderr.count("\n")) == (1, 2, 1)
    assert run("s.zarr", "a", "--output", "out", "--scheduler", "nowhere").exit_code == 2
