"""Two stores compared by their documents: each thing that differs is named, and nothing that does not."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from commands import run
from conftest import Bucket
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from servers import Watched, folder, served
from stores import CountingStore, objects
from trees import AFFINE, Tree, in_mm, labels, packed, unpacked, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, UnknownCase
from ctspine_zarr.format.receipt import Receipt, decode_receipt
from ctspine_zarr.maintain.changes import case_changes, spec_changes

CASES = ("liver_1", "liver_2", "liver_3")


def filled(root: Path) -> Tree:
    tree = Tree(root)
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number))
    return tree


def built(tree: Tree, location: Path, **options: Any) -> Path:
    cz.build_store(cz.plan_build(tree.root, location, workers=1, **options))
    return location


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("diff")
    return built(filled(root / "source"), root / "s.zarr")


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy.zarr"))


def other(tmp_path: Path, change: Callable[[Tree], Any], **options: Any) -> Path:
    """A store of the same cases, but for a change of their files."""
    tree = filled(tmp_path / "other")
    change(tree)
    return built(tree, tmp_path / "other.zarr", **options)


def names(found: cz.Difference) -> dict[str, list[str]]:
    return {one.case: [change.what for change in one.changes] for one in found.cases}


# -- equal ones


def test_equal_stores_are_equal_by_three_reads(original: Path, copy: Path) -> None:
    first, second = CountingStore(original), CountingStore(copy)
    found = cz.diff(first, second)
    assert (found.is_equal, found.equal, found.cases) == (True, 3, ())
    assert len(first.reads) + len(second.reads) <= 3


def test_two_builds_of_the_same_files_are_equal(original: Path, tmp_path: Path) -> None:
    place = other(tmp_path, lambda _: None)
    found = cz.diff(original, place)
    assert found.is_equal
    assert (found.digest_a, found.digest_b) == (cz.open_store(original).digest, cz.open_store(place).digest)


def test_a_store_behind_a_server_is_compared_by_two_requests(
    original: Path, copy: Path, bucket: Bucket
) -> None:
    with served(watched := Watched(folder(copy))) as url:
        assert cz.diff(original, url).is_equal
    assert [(one.method, one.status) for one in watched.requests] == [("GET", 200)]
    target = bucket.new()
    cz.publish(copy, target, target_options=bucket.options)
    bucket.server.requests.clear()
    assert cz.diff(target, original, a_options=bucket.options).is_equal
    assert len(bucket.server.requests) == 2


# -- what differs


def _moved(tree: Tree) -> None:
    tree.sections["trainset"].remove("liver_2")
    tree.sections["test_public"].append("liver_2")
    tree.write_splits()


def _another_mask(tree: Tree) -> None:
    tree.add("liver_2", voxels(1), np.where(labels() == 23, 22, labels()).astype(np.uint8), section=None)


def _wider(tree: Tree) -> None:
    affine = np.diag([0.9, 0.8, 2.5, 1.0])
    tree.add("liver_2", in_mm(voxels(1), affine), in_mm(labels(), affine), section=None)


CHANGES: dict[str, tuple[Callable[[Tree], Any], list[str]]] = {
    "another image": (
        lambda tree: tree.add("liver_2", voxels(9), section=None),
        ["source files' size", "image voxels", "image file"],
    ),
    "another split": (_moved, ["split"]),
    "another mask": (
        _another_mask,
        ["findings", "source files' size", "mask voxels", "labels", "mask file"],
    ),
    "another spacing": (
        _wider,
        ["affine", "spacing", "source files' size", "image file", "mask file"],
    ),
    "a file packed anew": (
        lambda tree: (tree.root / "raw_data/volumes/MSD-T10/liver_2.nii.gz").write_bytes(
            gzip.compress(unpacked(voxels(1)), 9, mtime=0)
        ),
        ["source files' size", "image file"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_named_and_nothing_else(original: Path, tmp_path: Path, name: str) -> None:
    change, expected = CHANGES[name]
    found = cz.diff(original, other(tmp_path, change))
    assert set(names(found)) == ({"liver_2"} if expected else set())
    # What follows from a file's bytes, and from how its noise happens to fall, is told as well.
    follows = {"findings", "source files' size"}
    assert set(names(found).get("liver_2", [])) - follows == set(expected) - follows
    assert (found.only_a, found.only_b, found.spec) == ((), (), ())
    assert found.equal == 3 - len(found.cases)


def test_values_of_both_are_told(original: Path, tmp_path: Path) -> None:
    [one] = cz.diff(original, other(tmp_path, _moved)).cases
    [change] = one.changes
    assert (change.what, change.a, change.b) == ("split", "train", "validation")


@pytest.mark.parametrize("options", [{"codec": "compact"}, {"chunk": (4, 8, 8)}])
def test_another_encoding_of_equal_voxels_is_told_as_that_alone(
    original: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    found = cz.diff(original, other(tmp_path, lambda _: None, **options))
    assert [one.case for one in found.cases] == list(CASES)
    assert all(one.is_encoding for one in found.cases)
    for one in found.cases:
        assert {change.what for change in one.changes} <= {"image encoding", "mask encoding"}
    assert not found.is_equal


def test_cases_of_one_side_are_told(original: Path, tmp_path: Path) -> None:
    def change(tree: Tree) -> None:
        tree.sections["trainset"].remove("liver_1")
        for path in tree.root.rglob("liver_1*.nii.gz"):
            path.unlink()
        tree.add("liver_9", voxels(9))
        tree.add("liver_8", packed(voxels())[:-30])

    found = cz.diff(original, other(tmp_path, change))
    assert (found.only_a, found.only_b, found.cases) == (("liver_1",), ("liver_9",), ())
    assert [(one.what, one.a) for one in found.refused] == [("refused liver_8", "none")]
    assert "truncated" in found.refused[0].b


def test_label_sets_and_metadata_are_told_by_name(copy: Path, original: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.roll(labels(), 2, axis=2), AFFINE), tmp_path / "p/liver_1.nii.gz")
    assert run("labels", "add", copy, "prediction", tmp_path / "p").exit_code == 0
    (tmp_path / "clinical.csv").write_text("case,age\nliver_3,63\n")
    cz.add_metadata(copy, tmp_path / "clinical.csv")
    found = cz.diff(original, copy)
    assert names(found) == {
        "liver_1": [
            "label set prediction voxels",
            "label set prediction labels",
            "label set prediction file",
        ],
        "liver_3": ["metadata clinical.csv age"],
    }
    [change] = found.cases[1].changes
    assert (change.a, change.b) == ("none", "63")


def test_labels_of_the_dataset_are_told_by_value(original: Path) -> None:
    spec = cz.open_store(original).spec
    another = structs.replace(spec, labels=dict(spec.labels) | {99: "rib"}, licence="mine")
    assert [(one.what, one.a, one.b) for one in spec_changes(spec, another)] == [
        ("licence", spec.licence, "mine"),
        ("labels 99", "none", "rib"),
    ]


def test_receipts_are_read_of_the_cases_that_differ_alone(original: Path, tmp_path: Path) -> None:
    first = CountingStore(original)
    second = CountingStore(other(tmp_path, _moved))
    cz.diff(first, second)
    for store in (first, second):
        keys = [key for key, _ in store.reads]
        assert [key for key in keys if key.startswith("receipts/")] == ["receipts/liver_2.json"]
        assert not [key for key in keys if "/c/" in key]
        assert len(keys) <= 4


def test_some_cases_are_compared_where_they_are_named(original: Path, tmp_path: Path) -> None:
    place = other(tmp_path, _moved)
    assert cz.diff(original, place, cases="liver_1").is_equal
    assert not cz.diff(original, place, cases=["liver_1", "liver_2"]).is_equal
    with pytest.raises(UnknownCase, match="no case 'liver_9' among 3"):
        cz.diff(original, place, cases="liver_9")


def test_a_receipt_that_is_altered_is_an_error_and_no_difference(original: Path, tmp_path: Path) -> None:
    place = other(tmp_path, _moved)
    path = place / "receipts/liver_2.json"
    path.write_bytes(path.read_bytes().replace(b"liver_2", b"liver_4", 1))
    with pytest.raises(DamagedStore, match=r"receipts/liver_2.json is damaged .*; run verify"):
        cz.diff(original, place)


# -- every field of a receipt


def receipt(location: Path, case: str) -> Receipt:
    key = f"receipts/{case}.json"
    return decode_receipt((location / key).read_bytes(), key)


@pytest.mark.parametrize("name", [one for one in Receipt.__struct_fields__ if one not in {"format", "seal"}])
def test_no_field_of_a_receipt_may_differ_unseen(original: Path, name: str) -> None:
    """Of two cases of which only one field is taken from another store."""
    first = receipt(original, "liver_1")
    # Counts follow from voxels, and a store is of one dataset, of which the root tells.
    if name in {"dataset", "foreground", "foreground_of_sets"}:
        return
    second = receipt(original, "liver_2")
    value = "another" if name == "writer" else getattr(second, name)
    if name == "record":
        value = structs.replace(second.record, id="liver_1")
    if value == getattr(first, name):
        pytest.skip("it is the same in both")
    changed = structs.replace(first)
    structs.force_setattr(changed, name, value)
    assert case_changes(first, changed)
    assert case_changes(first, first) == ()


@given(
    st.sampled_from(
        ["patient_id", "split", "source", "orientation", "source_bytes", "transitional", "findings"]
    ),
    st.text(min_size=1, max_size=3),
)
def test_a_field_of_a_record_is_told_by_its_name(original: Path, name: str, text: str) -> None:
    first = receipt(original, "liver_1")
    record = structs.replace(first.record)
    structs.force_setattr(record, name, text)
    changed = structs.replace(first)
    structs.force_setattr(changed, "record", record)
    [one] = case_changes(first, changed)
    assert one.b == text


# -- the command


def test_the_command_says_what_differs_and_its_status_whether(
    original: Path, copy: Path, tmp_path: Path
) -> None:
    same = run("diff", original, copy)
    assert (same.exit_code, same.stderr) == (0, "")
    assert same.stdout == f"3 cases are the same, 0 differ, 0 are only in {original}, 0 only in {copy}\n"
    place = other(tmp_path, _moved)
    done = run("diff", original, place)
    assert done.exit_code == 4
    assert done.stdout.splitlines()[0] == "liver_2 differs: split train -> validation"
    document = json.loads(run("diff", original, place, "--json", "--case", "liver_2").stdout)
    assert (document["is_equal"], document["equal"]) == (False, 0)
    assert document["cases"] == [
        {
            "case": "liver_2",
            "changes": [{"what": "split", "a": "train", "b": "validation", "is_content": True}],
            "is_encoding": False,
        }
    ]
    assert run("diff", original, place, "--case", "liver_1").exit_code == 0
    assert run("diff", original, tmp_path / "nowhere").exit_code == 1
    assert run("diff", original, copy, "--case", "liver_9").exit_code == 2


def test_comparing_writes_nothing(original: Path, copy: Path) -> None:
    before = objects(original), objects(copy)
    cz.diff(original, copy)
    assert (objects(original), objects(copy)) == before
