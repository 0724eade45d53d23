"""Nothing that is altered, lost or added goes unseen."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import Author, dumps, fresh_seed, put_for_now
from stores import catalog_of, objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, NotAStore, UnknownCase, UnknownValue
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.storage import Storage, open_storage


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
    chooser = random.Random(fresh_seed())
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


def test_receipts_are_read_so_many_bytes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [1] * 300 + [40 << 20] * 3 + [80 << 20]
    (tmp_path / "receipts").mkdir()
    for number, size in enumerate(sizes):
        with (tmp_path / f"receipts/x{number:03}.json").open("wb") as file:
            file.truncate(size)
    asked: list[list[str]] = []

    def get_each(storage: Storage, keys: list[str], most: int | None = None) -> list[bytes | None]:  # noqa: ARG001
        asked.append(keys)
        return [b"no receipt"] * len(keys)

    monkeypatch.setattr(Storage, "get_each", get_each)
    assert read_receipts(open_storage(tmp_path, read_only=True)) == []
    # The last is too large for a receipt.
    assert [key for keys in asked for key in keys] == [f"receipts/x{at:03}.json" for at in range(303)]
    assert [len(keys) for keys in asked] == [256, 45, 1, 1]


def test_a_digest_is_the_same_in_upper_case(built: Path) -> None:
    digest = cz.open_store(built).digest
    assert cz.verify(built, digest=digest.upper()).is_whole
    assert not cz.verify(built, digest="0" * 64).is_whole
    for wrong in (digest[:-1], f"{digest}0", f"{digest[:-1]}g", ""):
        with pytest.raises(UnknownValue, match="legal: the 64 hex digits of the store's, as info"):
            cz.verify(built, digest=wrong)


MASK = "labels/vertebrae/segmentation"


def stated(path: str, found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each document of a case that describes an array, by key, and its part that does."""
    inner = ["segmentation"] if path == MASK else []
    groups = [("zarr.json", path), *(("labels/vertebrae/zarr.json", member) for member in inner)]
    copies = [(key, found[key]["consolidated_metadata"]["metadata"][member]) for key, member in groups]
    return [(f"{path}/zarr.json", found[f"{path}/zarr.json"]), *copies]


def set_in(document: Any, place: str, value: Any) -> None:
    *above, last = place.split(".")
    for name in above:
        document = document[int(name)] if isinstance(document, list) else document[name]
    document[last] = value


SHARDING = "codecs.0.configuration"


@pytest.mark.parametrize("path", ["image", MASK])
@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("data_type", "uint16", "data_type is 'uint16'"),
        ("shape", [18, 24, 21], r"shape\[2\] is 21; legal: 20"),
        ("shape", [18, 24], r"shape is \[18, 24\]"),
        ("fill_value", 7, "fill_value is 7; legal: 0"),
        ("fill_value", False, "fill_value is False; legal: 0"),
        ("dimension_names", ["x", "y", "x"], r"dimension_names\[0\] is 'x'; legal: 'z'"),
        ("attributes", {"scale_factor": 2}, "attributes is {'scale_factor': 2}; legal: {}"),
        ("chunk_grid.configuration.chunk_shape", [24, 64, 128], r"chunk_shape\[2\] is 128; legal: 64"),
        (
            f"{SHARDING}.chunk_shape",
            [4, 64, 64],
            r"codecs\[0\].*[.]chunk_shape\[0\] is 4; legal: 8",
        ),
        (f"{SHARDING}.index_location", "start", "index_location is 'start'; legal: 'end'"),
        (f"{SHARDING}.codecs.0.configuration.endian", "big", "endian is 'big'; legal: 'little'"),
        ("codecs", [[[[[[[[[]]]]]]]]], "codecs"),
        ("data_type", None, "data_type is None"),
    ],
)
def test_an_array_described_otherwise_than_in_its_record_is_damage(
    built: Path, location: Path, path: str, place: str, value: Any, told: str
) -> None:
    before = objects(built)
    author = Author(before)
    group = author.groups["liver_1"]
    keys = ["zarr.json", "labels/vertebrae/zarr.json", f"{path}/zarr.json"]
    for at in range(len(stated(path, {key: json.loads(before[f"{group}/{key}"]) for key in keys}))):
        found = {key: json.loads(before[f"{group}/{key}"]) for key in keys}
        key, document = stated(path, found)[at]
        set_in(document, place, value)
        new = author.case("liver_1", objects={f"{group}/{key}": dumps(found[key])})
        with put_for_now(location, new, before):
            [problem] = [one for report in cz.verify(location).cases for one in report.problems]
        assert re.match(f"{key} is not as the record has the (image|segmentation): .*{told}", problem), (
            problem
        )


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"[" * 100_000, b"{}"])
def test_a_description_that_is_none_is_damage(built: Path, location: Path, data: bytes) -> None:
    before = objects(built)
    author = Author(before)
    new = author.case("liver_1", objects={f"{author.groups['liver_1']}/image/zarr.json": data})
    with put_for_now(location, new, before):
        problems = [one for report in cz.verify(location).cases for one in report.problems]
    assert problems
    assert all("image/zarr.json is not as the record has the image: " in problem for problem in problems)


def test_a_level_of_compression_is_no_damage(built: Path, location: Path) -> None:
    before = objects(built)
    author = Author(before)
    key = f"{author.groups['liver_1']}/image/zarr.json"
    document = json.loads(before[key])
    set_in(document, f"{SHARDING}.codecs.1.configuration.clevel", 5)
    with put_for_now(location, author.case("liver_1", objects={key: dumps(document)}), before):
        assert [one for report in cz.verify(location).cases for one in report.problems] == []


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
        (place / "receipts/liver_1~0123456789ab.json.0123456789abcdef.partial").write_bytes(b"half of")
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
