"""Verification in a hurry, against the source, in parts, and for programs."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run
from conftest import Hub
from servers import folder, served
from stores import CountingStore, objects
from trees import Tree, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import NotAStore, SourceError, StorageError, UnknownValue
from ctspine_zarr.storage import Storage

SHARD = "c/0/0/0"
ONE = "train/MSD-T10/liver_1"


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and beside it its store."""
    root = tmp_path_factory.mktemp("modes")
    tree = Tree(root / "source")
    tree.add("liver_1")
    tree.add("liver_2", voxels(1), section="test_public")
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    return root


@pytest.fixture
def source(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "source", tmp_path / "source"))


@pytest.fixture
def location(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "s.zarr", tmp_path / "s.zarr"))


def problems(result: cz.Verification) -> list[str]:
    return [*result.problems, *(line for report in result.cases for line in report.problems)]


def volume(source: Path, case: str) -> Path:
    return source / f"raw_data/volumes/MSD-T10/{case}.nii.gz"


# -- quick


def is_seen(location: Any) -> bool:
    try:
        return not cz.verify(location, quick=True).is_whole
    except NotAStore:
        return True


def test_quick_finds_every_lost_cut_or_longer_object(location: Path) -> None:
    assert cz.verify(location, quick=True).is_whole
    for key, data in objects(location).items():
        (location / key).unlink()
        assert is_seen(location), f"lost {key}"
        for altered in (data[:-1], data + b"\0"):
            (location / key).write_bytes(altered)
            assert is_seen(location), f"{key} of {len(altered)} bytes"
        (location / key).write_bytes(data)
    assert cz.verify(location, quick=True).is_whole


def test_quick_finds_a_flipped_bit_in_every_object_but_shards(location: Path) -> None:
    for key, data in objects(location).items():
        altered = bytearray(data)
        altered[len(data) // 2] ^= 1
        (location / key).write_bytes(altered)
        assert is_seen(location) == (not key.endswith(SHARD)), key
        (location / key).write_bytes(data)


@pytest.mark.parametrize("key", [f"{ONE}/image/c/0/0/1", "receipts/liver_3.json", "notes.txt"])
def test_quick_finds_strays(location: Path, key: str) -> None:
    (location / key).write_bytes(b"{}")
    assert [one for one in cz.verify(location, quick=True).problems if one.startswith(key)]


def test_quick_finds_what_is_no_object(location: Path) -> None:
    (location / ONE / "image/empty").mkdir()
    (location / "receipts/liver_2.json").unlink()
    (location / "receipts/liver_2.json").symlink_to("nothing")
    found = cz.verify(location, quick=True)
    assert any("an empty folder" in problem for problem in found.problems)
    assert "it is a link to nothing" in " ".join(found.cases[1].problems)
    assert found.cases[0].problems == ()


def test_quick_says_what_the_proof_of_every_byte_says(location: Path) -> None:
    (location / ONE / "image" / SHARD).write_bytes(b"short")
    (location / ONE / "image/zarr.json").unlink()
    (location / "receipts/liver_2.json").write_bytes(b"{}")
    quick, full = cz.verify(location, quick=True), cz.verify(location)
    assert [set(one.problems) for one in quick.cases] == [set(one.problems) for one in full.cases]
    assert len(quick.cases[0].problems) == 2


def test_quick_reads_no_byte_of_a_shard(location: Path) -> None:
    store = CountingStore(location)
    assert cz.verify(store, quick=True).is_whole
    assert not [key for key, _ in store.reads if key.endswith(SHARD)]
    assert {f"{ONE}/image/zarr.json", "receipts/liver_1.json"} <= {key for key, _ in store.reads}


def test_quick_asks_a_web_server_for_sizes(location: Path) -> None:
    with served(folder(location)) as url:
        assert cz.verify(url, quick=True).is_whole
        (location / ONE / "image" / SHARD).write_bytes(b"short")
        found = cz.verify(url, quick=True)
    assert [one.case for one in found.cases if one.problems] == ["liver_1"]


def test_quick_lists_once_and_reads_documents_together(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Collection[str]] = []
    get_each = Storage.get_each

    def noting(storage: Storage, keys: list[str], most: int | None = None) -> list[bytes | None]:
        asked.append(keys)
        return get_each(storage, keys, most)

    monkeypatch.setattr(Storage, "get_each", noting)
    assert cz.verify(location, quick=True).is_whole
    assert [sorted({key.rpartition("/")[2] for key in keys}) for keys in asked] == [
        ["liver_1.json", "liver_2.json"],
        ["zarr.json"],
    ]


# -- against the source


def test_a_store_is_that_of_its_source(location: Path, source: Path) -> None:
    for quick in (False, True):
        found = cz.verify(location, source=source, quick=quick)
        assert found.is_whole
        assert found.unbuilt == ()


def test_a_file_packed_anew_has_the_same_voxels(location: Path, source: Path) -> None:
    path = volume(source, "liver_1")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9))
    [problem] = problems(cz.verify(location, source=source))
    assert problem.startswith(f"the image differs from {source}/raw_data/volumes/MSD-T10/liver_1.nii.gz: ")
    assert "the file changed since the build" in problem
    assert problem.endswith("its voxels are the same")


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_file_of_another_voxel_is_told(location: Path, source: Path, which: str) -> None:
    path = volume(source, "liver_2")
    if which == "mask":
        path = source / "raw_data/labels/MSD-T10/liver_2_seg.nii.gz"
    inflated = bytearray(gzip.decompress(path.read_bytes()))
    inflated[-1] ^= 1
    path.write_bytes(gzip.compress(inflated))
    for quick in (False, True):
        found = cz.verify(location, source=source, quick=quick)
        assert [len(one.problems) for one in found.cases] == [0, 1]
        assert re.match(f"the {which} differs from .*its voxels are others$", found.cases[1].problems[0])
    assert cz.verify(location).is_whole


def test_a_file_of_a_wider_dtype_has_the_same_voxels(location: Path, source: Path) -> None:
    volume(source, "liver_1").write_bytes(packed(voxels().astype(np.float32)))
    [problem] = problems(cz.verify(location, source=source))
    assert problem.endswith("its voxels are the same")


def test_a_file_that_cannot_be_read_any_more_is_told(location: Path, source: Path) -> None:
    path = volume(source, "liver_1")
    path.write_bytes(path.read_bytes()[:-20])
    [problem] = problems(cz.verify(location, source=source))
    assert re.search("the file cannot be read any more: liver_1.nii.gz: truncated", problem)


def test_cases_that_one_side_lacks_are_told(location: Path, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "other")
    tree.add("liver_1", section="test_private")
    tree.add("liver_3")
    found = cz.verify(location, source=tree.root)
    assert found.unbuilt == ("liver_3",)
    assert problems(found) == [
        f"{tree.root} has it in test/MSD-T10, the store in train/MSD-T10",
        f"{tree.root} has no such case",
    ]
    assert cz.verify(location, source=tree.root, cases="liver_2").unbuilt == ()
    told = run("verify", location, "--source", tree.root)
    assert told.exit_code == 4
    assert "not built: liver_3, which the source has" in told.stderr


def test_a_case_that_the_source_refuses_by_now_is_told(location: Path, source: Path) -> None:
    volume(source, "liver_2").unlink()
    [problem] = problems(cz.verify(location, source=source))
    assert problem.startswith(f"{source} refuses it: ")


def test_cases_that_the_store_refused_are_no_news(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1")
    tree.add("liver_2", image=packed(voxels())[:-30])
    cz.build_store(cz.plan_build(tree.root, tmp_path / "t.zarr", workers=1))
    found = cz.verify(tmp_path / "t.zarr", source=tree.root)
    assert (found.is_whole, found.unbuilt) == (True, ())


def test_workers_compare_with_the_source_alike(location: Path, source: Path) -> None:
    volume(source, "liver_1").write_bytes(packed(voxels(7)))
    alone = cz.verify(location, source=source)
    with ThreadPoolExecutor(2) as threads:
        others = [cz.verify(location, source=source, workers=2)]
        others.append(cz.verify(location, source=source, executor=threads))
    for other in others:
        assert {one.case: one for one in other.cases} == {one.case: one for one in alone.cases}
    assert len(problems(alone)) == 1


def test_a_source_of_another_dataset_is_an_error(location: Path, phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        cz.verify(location, source=tmp_path)
    assert cz.verify(location, source=phantom).unbuilt


def test_of_the_hub_only_what_differs_from_its_record_is_downloaded(
    location: Path, source: Path, hub: Hub
) -> None:
    volume(source, "liver_2").write_bytes(packed(voxels(9)))
    hub.hub.add("someone/spines", source, commit="1" * 40)
    name = "hf://datasets/someone/spines"
    found = cz.verify(location, source=name, source_options=hub.options)
    [problem] = problems(found)
    assert "liver_2.nii.gz: the file changed since the build" in problem
    asked = {request.path.rpartition("/")[2] for request in hub.server.requests}
    assert {one for one in asked if one.endswith(".nii.gz")} == {"liver_2.nii.gz", "liver_2_seg.nii.gz"}


# -- in parts


class Reads:
    """The cases that a verification reads."""

    def __init__(self, location: Path, **options: Any) -> None:
        self.cases: list[str] = []
        self.begun: list[tuple[int, int]] = []
        self.result = cz.verify(
            location,
            on_case=lambda report: self.cases.append(report.case),
            on_begin=lambda cases, size: self.begun.append((cases, size)),
            **options,
        )


def test_a_journal_spares_cases_that_were_whole(location: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    (location / ONE / "image" / SHARD).write_bytes(b"short")
    first = Reads(location, journal=journal)
    assert (first.cases, first.result.is_whole) == (["liver_1", "liver_2"], False)
    assert [json.loads(line)["case"] for line in journal.read_text().splitlines()] == ["liver_2"]
    second = Reads(location, journal=journal)
    assert second.cases == ["liver_1"]
    assert [one.case for one in second.result.cases] == ["liver_1", "liver_2"]
    assert second.begun == [(1, cz.open_store(location)["liver_1"].record.stored_bytes)]


def test_an_interrupted_verification_goes_on(location: Path, tmp_path: Path) -> None:
    def interrupt(_: cz.CaseReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cz.verify(location, journal=tmp_path / "journal", on_case=interrupt)
    again = Reads(location, journal=tmp_path / "journal")
    assert (again.cases, again.result.is_whole, len(again.result.cases)) == (["liver_2"], True, 2)


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{}", b'{"case": "liver_1", "rec', b"[1]", b'{"case": 1}'])
def test_a_line_of_a_journal_that_cannot_be_read_claims_nothing(
    location: Path, tmp_path: Path, line: bytes
) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(line)
    assert Reads(location, journal=journal).cases == ["liver_1", "liver_2"]
    # The torn line has not swallowed the next.
    assert Reads(location, journal=journal).cases == []


def test_a_case_of_another_receipt_is_read_again(source: Path, location: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert cz.verify(location, journal=journal).is_whole
    volume(source, "liver_1").write_bytes(packed(voxels(5)))
    cz.build_store(cz.plan_build(source, location, workers=1))
    assert Reads(location, journal=journal).cases == ["liver_1"]


def test_a_case_is_compared_with_the_source_though_it_was_whole_without(
    source: Path, location: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    assert cz.verify(location, journal=journal).is_whole
    assert len(Reads(location, journal=journal, source=source).cases) == 2
    assert Reads(location, journal=journal, source=source).cases == []
    assert Reads(location, journal=journal).cases == []


def test_the_store_itself_is_verified_whatever_the_journal_says(location: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert cz.verify(location, journal=journal).is_whole
    (location / "train/zarr.json").unlink()
    assert not cz.verify(location, journal=journal).is_whole


def test_a_journal_that_cannot_be_kept_is_an_error(location: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="journal .*legal: a file"):
        cz.verify(location, journal=tmp_path)
    with pytest.raises(StorageError, match="cannot write the journal"):
        cz.verify(location, journal=tmp_path / "none/journal")
    with pytest.raises(UnknownValue, match="legal: one of the two"):
        cz.verify(location, journal=tmp_path / "journal", quick=True)


# -- the command


def test_the_command_prints_one_document(location: Path) -> None:
    (location / ONE / "image" / SHARD).write_bytes(b"short")
    (location / "notes.txt").write_bytes(b"")
    done = run("verify", location, "--json")
    assert (done.exit_code, done.stderr) == (4, "")
    found = json.loads(done.stdout)
    result = cz.verify(location)
    assert found["is_whole"] is False
    assert found["digest"] == result.digest == cz.open_store(location).digest
    assert {one["case"]: tuple(one["problems"]) for one in found["cases"]} == {
        one.case: one.problems for one in result.cases
    }
    assert found["problems"] == list(result.problems) == ["notes.txt belongs to no case of the catalog"]
    assert found["seconds"] > 0
    assert found["refused"] == found["unbuilt"] == []


def test_the_command_says_how_far_it_is(location: Path) -> None:
    done = run("verify", location, "--quick")
    assert done.exit_code == 0
    assert done.stdout.startswith("2 of 2 cases are whole by sizes and documents: no shard was read, and ")
    lines = done.stderr.splitlines()
    size, time = r"\S+ (?:bytes|kB|MB)", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{time} whole liver_1; 1 of 2 cases, {size} of {size}, \d+ s left", lines[0])
    assert re.fullmatch(rf"{time} whole liver_2; 2 of 2 cases, {size} of {size}, 0 s left", lines[1])


def test_the_command_keeps_a_journal(location: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = run("verify", location, "--journal", tmp_path / "journal")
        assert (done.exit_code, done.stdout) == (0, "2 of 2 cases are whole\n")
    assert done.stderr == ""
