"""A store that is changed: cases taken out, moved, encoded anew; and one that is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from stores import FailingStore, builds, objects
from trees import Tree, nibabel_canonical, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.errors import StoreMismatch, UnknownCase, UnknownValue
from ctspine_zarr.storage import Storage
from ctspine_zarr.write import build as building

CASES = "abcd"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "tree")
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number))
    return tree


@pytest.fixture
def location(tree: Tree, tmp_path: Path) -> Path:
    build(tree, tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def build(tree: Tree, location: Any, **options: Any) -> cz.BuildResult:
    return cz.build_store(cz.plan_build(tree.root, location, workers=1, **options))


def require_right(tree: Tree, location: Any, cases: str = CASES) -> None:
    """The store is whole and has exactly these cases, as nibabel reads their files."""
    assert cz.verify(location).is_whole
    store = cz.open_store(location)
    assert "".join(sorted(store)) == cases
    for case in store.values():
        path = tree.root / "raw_data" / "volumes" / "MSD-T10" / f"{case.id}.nii.gz"
        assert np.array_equal(case.image.compute(), nibabel_canonical(path))


# -- cases taken out


def test_a_removed_case_leaves_nothing_and_the_others_as_they_were(tree: Tree, location: Path) -> None:
    before = objects(location)
    assert cz.remove(location, ["b", "d"]) == ("b", "d")
    require_right(tree, location, "ac")
    after = objects(location)
    gone = {key for key in before if not key.startswith("catalog") and key not in after}
    assert all("/b/" in key or "/d/" in key or key in {"receipts/b.json", "receipts/d.json"} for key in gone)
    written = {"zarr.json", "cases.parquet", "vertebrae.parquet"}
    assert all(after[key] == before[key] for key in after.keys() & before.keys() - written)
    # Equal to a store that was built without them, but for what the root says of the selection.
    build(tree, location.with_name("t.zarr"), selection=cz.Selection(cases=["a", "c"]))
    assert builds(objects(location)) == builds(objects(location.with_name("t.zarr")))
    build(tree, location)
    assert builds(objects(location)) == builds(before)


def test_a_reader_of_a_removed_case_is_told(location: Path) -> None:
    store = cz.open_store(location)
    cz.remove(location, "b")
    with pytest.raises(cz.StoreUpdated, match="open it again"):
        store["b"].slice(0)
    assert store["a"].slice(0)["image"].shape


def test_what_is_not_there_is_not_removed(tree: Tree, location: Path) -> None:
    before = objects(location)
    with pytest.raises(UnknownCase, match="no case 'e'"):
        cz.remove(location, ["a", "e"])
    assert objects(location) == before
    partial = FailingStore(14, OSError())
    with pytest.raises(cz.CtspineError):
        build(tree, partial)
    with pytest.raises(StoreMismatch, match="its first build has not ended"):
        cz.remove(partial, "a")


class _Killed(BaseException):
    """The process is no more."""


def test_a_removal_killed_at_any_step_is_done_or_not_and_run_again_is_done(tree: Tree) -> None:
    whole = MemoryStore()
    build(tree, whole)
    nth = 0
    while True:
        nth += 1
        store = FailingStore(nth, _Killed())
        store._store_dict = dict(whole._store_dict)
        try:
            cz.remove(store, "b")
        except _Killed:
            assert "".join(sorted(cz.open_store(store))) in {"abcd", "acd"}
            cz.remove(store, "b")
            require_right(tree, store, "acd")
            continue
        break
    assert nth > 3


# -- another codec, other chunks


FORMS: list[dict[str, Any]] = [{"codec": "compact"}, {"chunk": (8, 32, 32)}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bytes_a_switch", [1, 1 << 30])
def test_a_store_is_encoded_anew_case_by_case_and_can_be_read_all_along(
    tree: Tree, location: Path, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any], bytes_a_switch: int
) -> None:
    with pytest.raises(StoreMismatch, match=r"legal: the --codec and --chunk of the store, --rebuild, or"):
        build(tree, location, **form)
    monkeypatch.setattr(building, "SWITCH_BYTES", bytes_a_switch)
    done, most, before = 0, 0, size_of(location)

    def look(event: object) -> None:
        nonlocal done, most
        if isinstance(event, cz.CaseBuilt):
            done += 1
            require_right(tree, location)
            anew = [case for case in cz.open_store(location).values() if has_form(case, form)]
            assert len(anew) == (done if bytes_a_switch == 1 else 0)
            most = max(most, size_of(location))

    cz.build_store(cz.plan_build(tree.root, location, workers=1, rebuild=True, **form), look)
    assert done == len(CASES)
    require_right(tree, location)
    assert all(has_form(case, form) for case in cz.open_store(location).values())
    # The old cases leave the disk as the new ones come.
    assert (most < 1.5 * before) == (bytes_a_switch == 1)
    again = build(tree, location)
    assert (len(again.built), len(again.whole)) == (0, 4)


@pytest.mark.timeout(120)
def test_switches_amid_a_rebuild_take_nothing_from_other_workers(
    tree: Tree, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do they ask for what is refused, or new."""
    monkeypatch.setattr(building, "SWITCH_BYTES", 1)
    more = "efghijkl"
    for number, case in enumerate(more):
        tree.add(case, voxels(number + 9))
    build(tree, location)
    tree.add("torn", b"\x1f\x8b no gzip")
    tree.add("m", voxels(50))
    plan = cz.plan_build(tree.root, location, workers=2, codec="compact", rebuild=True)
    result = cz.build_store(plan)
    assert [refusal.case for refusal in result.refused] == ["torn"]
    assert len(result.built) == len(CASES + more) + 1
    require_right(tree, location, f"{CASES}{more}m")


def test_a_repair_that_was_overtaken_writes_nothing(tree: Tree, location: Path, tmp_path: Path) -> None:
    build(tree, tmp_path / "other.zarr")
    shard = location / "train" / "MSD-T10" / "a" / "image" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    tree.add("a", voxels(70), section=None)

    def overtake(found: cz.CaseReport) -> None:
        if found.case == "d":
            build(tree, location)

    with pytest.raises(cz.StoreUpdated, match="was updated while it was verified"):
        cz.repair(location, other=tmp_path / "other.zarr", on_case=overtake)
    require_right(tree, location)


def test_cases_that_wait_for_the_end_of_an_update_outlive_repairs_and_removals(
    tree: Tree, location: Path
) -> None:
    for case in ("e", "f"):
        tree.add(case, voxels(30))
    with pytest.raises(KeyboardInterrupt):
        cz.build_store(cz.plan_build(tree.root, location, workers=1), interrupt_after("e"))
    cz.remove(location, "a")
    cz.repair(location, tree.root)
    plan = cz.plan_build(tree.root, location, workers=1)
    assert {pending.case.id for pending in plan.pending} == {"a", "f"}
    cz.build_store(plan)
    require_right(tree, location, f"{CASES}ef")


def interrupt_after(case: str) -> Callable[[object], None]:
    def stop(event: object) -> None:
        if isinstance(event, cz.CaseBuilt) and event.case.id == case:
            raise KeyboardInterrupt

    return stop


def test_a_removal_cut_off_after_its_switch_can_be_run_again(
    tree: Tree, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(storage: Storage, key: str) -> None:
        if not key.startswith("builds/"):
            raise _Killed
        remove(storage, key)

    remove = Storage.remove
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "remove", dies)
        with pytest.raises(_Killed):
            cz.remove(location, "b")
    assert "b" not in cz.open_store(location)
    assert cz.remove(location, "b") == ("b",)
    require_right(tree, location, "acd")


def has_form(case: cz.Case, form: dict[str, Any]) -> bool:
    image = case.record.image
    return image.codec == "predict" if "codec" in form else image.chunk == form["chunk"]


def size_of(folder: Path) -> int:
    return sum(len(data) for data in objects(folder).values())


def test_an_interrupted_rebuild_goes_on_and_needs_to_be_told_so(tree: Tree, location: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, cz.CaseBuilt):
            raise KeyboardInterrupt

    plan = cz.plan_build(tree.root, location, workers=1, codec="compact", rebuild=True)
    with pytest.raises(KeyboardInterrupt):
        cz.build_store(plan, stop)
    assert "".join(sorted(cz.open_store(location))) == CASES
    with pytest.raises(StoreMismatch, match="--rebuild"):
        build(tree, location, codec="compact")
    again = cz.plan_build(tree.root, location, workers=1, codec="compact", rebuild=True)
    assert (len(again.whole), len(again.pending)) == (1, 3)
    cz.build_store(again)
    require_right(tree, location)


@pytest.mark.parametrize("chunk", [(0, 1, 1), (-16, 64, 64), (512, 512, 512)])
def test_a_chunk_that_none_should_have_is_refused(tree: Tree, tmp_path: Path, chunk: Any) -> None:
    with pytest.raises(UnknownValue, match=r"legal: three sizes \(z, y, x\) of 1 or more"):
        cz.plan_build(tree.root, tmp_path / "s.zarr", chunk=chunk)


# -- a store that is left alone


@contextmanager
def left_alone(folder: Path) -> Iterator[None]:
    """Nothing below the folder is written: files and folders keep their times of change."""
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    yield
    assert {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))} == before


def test_a_store_that_is_whole_is_not_written_to(tree: Tree, location: Path) -> None:
    with left_alone(location):
        result = build(tree, location)
        assert (len(result.built), len(result.whole)) == (0, 4)
        assert len(cz.finalize(location).whole) == 4
        assert cz.repair(location, tree.root).is_whole
        assert cz.verify(location).is_whole
        build(tree, location, part=cz.Part(1, 2))


def test_what_a_killed_writer_left_is_removed_by_the_next_build(tree: Tree, location: Path) -> None:
    before = builds(objects(location))
    (location / f"catalog-{'0' * 16}.jsonl").write_bytes(b"")
    (location / "train" / "MSD-T10" / "x").mkdir()
    (location / f"zarr.json.{os.urandom(8).hex()}.partial").write_bytes(b"{")
    build(tree, location)
    assert builds(objects(location)) == before
    assert cz.verify(location).is_whole


# -- the commands


def test_the_commands_change_a_store(tree: Tree, location: Path) -> None:
    run = CliRunner().invoke
    done = run(cli, ["remove", str(location), "a"])
    assert (done.exit_code, done.stdout) == (0, "removed a\n")
    assert run(cli, ["remove", str(location), "a"]).exit_code == 2
    arguments = ["build", str(tree.root), str(location), "--chunk", "8,32,32"]
    refused = run(cli, arguments)
    assert (refused.exit_code, "--rebuild" in refused.stderr) == (1, True)
    assert run(cli, [*arguments, "--rebuild"]).exit_code == 0
    require_right(tree, location)
    assert run(cli, [*arguments[:-1], "8,32"]).exit_code == 2
