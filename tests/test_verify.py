"""Nothing that is altered, lost or added goes unseen."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from stores import catalog_of, objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, NotAStore, UnknownCase


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    tree = Tree(root / "source")
    tree.add("liver_1")
    tree.add("liver_2", voxels(1), section="test_public")
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr"))
    return root / "s.zarr"


@pytest.fixture
def location(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "s.zarr"))


def found(location: Path) -> list[str]:
    """Every problem, as the command prints it."""
    try:
        result = cz.verify(location)
    except NotAStore as error:
        return [str(error)]
    return [*result.problems, *(problem for report in result.cases for problem in report.problems)]


def test_an_untouched_store_is_whole(built: Path) -> None:
    result = cz.verify(built)
    assert result.is_whole
    assert [report.case for report in result.cases] == ["liver_1", "liver_2"]
    assert result.refused == ()


def test_a_flipped_bit_anywhere_is_seen(location: Path) -> None:
    chooser = random.Random(0)
    for key, data in objects(location).items():
        for _ in range(4):
            at = chooser.randrange(len(data))
            altered = bytearray(data)
            altered[at] ^= 1 << chooser.randrange(8)
            (location / key).write_bytes(altered)
            assert found(location), f"{key}: bit of byte {at}"
        (location / key).write_bytes(data)
    assert cz.verify(location).is_whole


def test_every_object_is_missed(location: Path) -> None:
    for key, data in objects(location).items():
        (location / key).unlink()
        assert found(location), key
        (location / key).write_bytes(data)


def test_every_cut_object_is_seen(location: Path) -> None:
    for key, data in objects(location).items():
        (location / key).write_bytes(data[:-1])
        assert found(location), key
        (location / key).write_bytes(data)


@pytest.mark.parametrize(
    "key", ["train/MSD-T10/liver_1/image/c/0/0/1", "train/COLONOG/zarr.json", "receipts/liver_3.json"]
)
def test_an_added_object_is_seen(location: Path, key: str) -> None:
    (location / key).parent.mkdir(parents=True, exist_ok=True)
    (location / key).write_bytes(b"{}")
    assert any(key.split("/", 3)[-1] in problem for problem in found(location))


def test_shards_of_two_cases_cannot_be_swapped(location: Path) -> None:
    one, two = (
        location / "train/MSD-T10/liver_1/image/c/0/0/0",
        location / "validation/MSD-T10/liver_2/image/c/0/0/0",
    )
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert sum("image/c/0/0/0" in problem for problem in found(location)) == 2


def edited(location: Path, key: str, edit: Callable[[str], str]) -> None:
    (location / key).write_text(edit((location / key).read_text()))


@pytest.mark.parametrize(
    ("key", "old", "new", "message"),
    [
        ("catalog", '"patient_id":"liver_1"', '"patient_id":"liver_9"', "jsonl was altered"),
        ("catalog", '"spacing":[2.5', '"spacing":[9.5', "jsonl was altered"),
        ("catalog", '"voxels":196', '"voxels":197', "jsonl was altered"),
        ("zarr.json", "CC-BY-NC-SA-4.0", "public domain", "zarr.json is damaged (it was altered: its seal"),
        ("zarr.json", '"MSD-T10": 1', '"MSD-T10": 7', "zarr.json is damaged (it was altered: its seal"),
        ("zarr.json", '"writer": "', '"writer": "other ', "zarr.json is damaged (it was altered: its seal"),
        ("receipts/liver_1.json", '"writer": "', '"writer": "other ', "it was altered: its seal is not"),
        ("receipts/liver_1.json", '"pieces": 1', '"pieces": 2', "it was altered: its seal is not"),
        ("train/MSD-T10/liver_1/zarr.json", '"start"', '"begin"', "zarr.json was altered: its sha256"),
    ],
)
def test_an_edited_document_is_seen(location: Path, key: str, old: str, new: str, message: str) -> None:
    key = catalog_of(location).name if key == "catalog" else key
    assert old in (location / key).read_text()
    edited(location, key, lambda text: text.replace(old, new))
    assert any(message in problem for problem in found(location))


def test_one_case_can_be_verified(location: Path) -> None:
    (location / "validation/MSD-T10/liver_2/image/c/0/0/0").unlink()
    assert cz.verify(location, cases="liver_1").is_whole
    assert not cz.verify(location, cases=["liver_2"]).is_whole
    with pytest.raises(UnknownCase, match="no case 'liver_3' among 2"):
        cz.verify(location, cases="liver_3")


def test_workers_find_the_same(location: Path) -> None:
    (location / "validation/MSD-T10/liver_2/image/c/0/0/0").write_bytes(b"short")
    alone, together = cz.verify(location), cz.verify(location, workers=2)
    assert {r.case: r for r in alone.cases} == {r.case: r for r in together.cases}


@pytest.mark.parametrize("array", ["image", "labels/vertebrae/segmentation"])
def test_a_lost_shard_is_an_error_and_never_zeros(location: Path, array: str) -> None:
    (location / "train/MSD-T10/liver_1" / array / "c/0/0/0").unlink()
    case = cz.open_store(location)["liver_1"]
    with pytest.raises(DamagedStore, match="its shard is missing; the catalog says"):
        case.slice(0)


def test_damaged_attributes_are_an_error_where_they_are_needed(location: Path) -> None:
    (location / "train/MSD-T10/liver_1/zarr.json").write_text("{}")
    with pytest.raises(DamagedStore, match="case liver_1: train/MSD-T10/liver_1/zarr.json is damaged"):
        cz.open_store(location)["liver_1"].to_nibabel()


def test_what_replaced_cases_and_killed_writers_leave_goes_with_its_folders(
    built: Path, location: Path, tmp_path: Path
) -> None:
    cz.publish(built, tmp_path / "copy")
    for place in (location, tmp_path / "copy"):
        (place / "train/MSD-T10/liver_1~0123456789ab/image/c/0").mkdir(parents=True)
        (place / "receipts/liver_1~0123456789ab.json.0123.partial").write_bytes(b"half of")
        (place / "validation/MSD-T10/liver_9/image").mkdir(parents=True)
        (place / "validation/MSD-T10/liver_9/image/zarr.json").write_bytes(b"{}")
        assert len(found(place)) == 3
    cz.build_store(cz.plan_build(built.parent / "source", location))
    cz.publish(built, tmp_path / "copy")
    for place in (location, tmp_path / "copy"):
        assert cz.verify(place).is_whole
        assert sorted(path.name for path in (place / "validation/MSD-T10").iterdir()) == [
            "liver_2",
            "zarr.json",
        ]


@pytest.mark.parametrize("key", ["zarr.json", "train/zarr.json", "receipts/liver_1.json"])
def test_a_link_to_nothing_is_damage_and_no_error(location: Path, key: str) -> None:
    (location / key).unlink()
    (location / key).symlink_to("nothing")
    assert any("it is a link to nothing" in problem for problem in found(location))
