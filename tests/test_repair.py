"""A damaged store is made what it was, byte for byte, and nothing else in it is touched."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from commands import run
from conftest import Bucket, Hub
from hostile import resealed
from msgspec import structs
from servers import folder, served
from stores import FailingStore, builds, catalog_of, objects, objects_at
from trees import Tree, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import NotAStore, StorageError, StoreMismatch, UnknownValue
from ctspine_zarr.format.catalog import decode_root, encode_root
from ctspine_zarr.storage import open_storage

ONE, TWO = "train/MSD-T10/liver_1", "validation/MSD-T10/liver_2"
IMAGE, MASK = "image/c/0/0/0", "labels/vertebrae/segmentation/c/0/0/0"


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, its store `s.zarr`, and `t.zarr`, a store of another liver_1."""
    root = tmp_path_factory.mktemp("repair")
    tree = Tree(root / "source")
    tree.add("liver_1")
    tree.add("liver_2", voxels(1), section="test_public")
    tree.add("liver_3", voxels(2), source="COLONOG")
    tree.add("liver_4", image=packed(voxels())[:50], mask=False)
    other = Tree(root / "other")
    other.add("liver_1", voxels(7))
    other.add("liver_3", voxels(2), source="COLONOG")
    for name, source in (("s.zarr", tree), ("t.zarr", other)):
        cz.build_store(cz.plan_build(source.root, root / name, workers=1))
    return root


@pytest.fixture
def location(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "s.zarr", tmp_path / "damaged.zarr"))


@pytest.fixture
def source(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin / "source", tmp_path / "source"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 4
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def alter_header(path: Path) -> None:
    """Another byte of the NIfTI header that is kept, in base64, in a case's own document."""
    text = path.read_text()
    start = text.index('"prefix": "') + 200
    path.write_text(text[:start] + ("B" if text[start] == "A" else "A") + text[start + 1 :])


def stray(location: Path, *keys: str) -> None:
    for key in keys:
        (location / key).parent.mkdir(parents=True, exist_ok=True)
        (location / key).write_bytes(b"{}")


type Damage = Callable[[Path, Path], Any]

DAMAGES: dict[str, Damage] = {
    "a flipped bit in a shard": lambda store, _: flip(store / ONE / IMAGE, 5000),
    "a lost shard": lambda store, _: (store / ONE / MASK).unlink(),
    "a cut shard": lambda store, _: cut(store / TWO / IMAGE),
    "two objects swapped": lambda store, _: swap(store / ONE / IMAGE, store / TWO / IMAGE),
    "a stray in a case": lambda store, _: stray(store, f"{ONE}~0123456789ab/image/c/0/0/0"),
    "a stray receipt": lambda store, _: stray(store, "receipts/liver_9.json"),
    "a receipt of another build": lambda store, root: shutil.copy(
        root / "t.zarr/receipts/liver_1.json", store / "receipts"
    ),
    "a lost receipt": lambda store, _: (store / "receipts/liver_1.json").unlink(),
    "an altered receipt": lambda store, _: flip(store / "receipts/liver_1.json", 900),
    "a lost catalog": lambda store, _: catalog_of(store).unlink(),
    "an altered catalog": lambda store, _: flip(catalog_of(store), 400),
    "a lost root": lambda store, _: (store / "zarr.json").unlink(),
    "an altered root": lambda store, _: flip(store / "zarr.json", 300),
    "a lost group": lambda store, _: (store / "train/zarr.json").unlink(),
    "an altered group": lambda store, _: flip(store / "train/MSD-T10/zarr.json", 9),
    "a lost table": lambda store, _: (store / "cases.parquet").unlink(),
    "an altered table": lambda store, _: flip(store / "vertebrae.parquet", 90),
    "an altered kept header": lambda store, _: alter_header(store / ONE / "zarr.json"),
    "an altered description": lambda store, _: flip(store / ONE / "image/zarr.json", 70),
}
MADE_ANEW = {"a lost root", "an altered root"}
"""What is damaged here and comes from a source has another time of writing."""


def stats(location: Path) -> dict[str, tuple[int, int]]:
    """Key -> what changes whenever an object is written."""
    found = {str(path.relative_to(location)): path.stat() for path in location.rglob("*") if path.is_file()}
    return {key: (seen.st_ino, seen.st_mtime_ns) for key, seen in found.items()}


def repaired(location: Any, origin: Path, supply: str, **options: Any) -> cz.Repaired:
    if supply == "source":
        return cz.repair(location, origin / "source", **options)
    return cz.repair(location, other=origin / "s.zarr", **options)


@pytest.mark.parametrize("supply", ["source", "other"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_mended_to_the_byte_and_nothing_else_is_touched(
    origin: Path, location: Path, name: str, supply: str
) -> None:
    right = objects(location)
    DAMAGES[name](location, origin)
    damaged, before = objects(location), stats(location)
    assert damaged != right
    result = repaired(location, origin, supply)
    assert result.left == ()
    now = objects(location)
    if supply == "source" and name in MADE_ANEW:
        assert builds(now) == builds(right)
    else:
        assert now == right
    assert cz.verify(location).is_whole
    after = stats(location)
    wrong = {key for key in right if damaged.get(key) != right[key]}
    assert {key for key in right if after[key] != before.get(key)} == wrong
    put = [*result.documents, *(key for one in result.mended for key in one.keys)]
    assert (sorted(put), sorted(result.removed)) == (sorted(wrong), sorted(damaged.keys() - right.keys()))


@pytest.mark.parametrize("supply", ["source", "other"])
def test_a_whole_store_is_not_written_to(origin: Path, location: Path, supply: str) -> None:
    before = stats(location)
    result = repaired(location, origin, supply)
    assert (result.mended, result.documents, result.removed, result.left) == ((), (), (), ())
    assert stats(location) == before


def damage_much(store: Path, origin: Path) -> None:
    for name in (
        "two objects swapped",
        "a lost shard",
        "a receipt of another build",
        "a stray in a case",
        "a lost group",
        "an altered kept header",
    ):
        DAMAGES[name](store, origin)


@pytest.mark.parametrize("supply", ["source", "other"])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_much_damage_at_once_is_mended(origin: Path, location: Path, supply: str, workers: int) -> None:
    right = objects(location)
    damage_much(location, origin)
    told: list[cz.Mended] = []
    result = repaired(location, origin, supply, workers=workers, on_mended=told.append)
    assert {one.case for one in result.mended} == {"liver_1", "liver_2"}
    assert sorted(one.case for one in told) == ["liver_1", "liver_2"]
    assert objects(location) == right
    assert cz.verify(location).is_whole


@pytest.mark.parametrize("also", ["a lost catalog", "a lost root", "an altered root"])
def test_damage_below_and_above_is_mended_from_another_store(origin: Path, location: Path, also: str) -> None:
    right = objects(location)
    damage_much(location, origin)
    DAMAGES[also](location, origin)
    if also == "a lost root":
        # A receipt that holds speaks for another state where no catalog speaks for this one.
        catalog_of(location).unlink()
        (location / "receipts/liver_1.json").unlink()
    assert repaired(location, origin, "other").is_whole
    assert objects(location) == right


def test_a_lost_root_and_damaged_cases_are_mended_from_the_source(origin: Path, location: Path) -> None:
    right = objects(location)
    damage_much(location, origin)
    (location / "zarr.json").unlink()
    assert repaired(location, origin, "source").is_whole
    assert builds(objects(location)) == builds(right)


def test_another_store_may_be_behind_a_web_server_or_in_a_bucket(
    origin: Path, location: Path, bucket: Bucket
) -> None:
    right = objects(location)
    damage_much(location, origin)
    with served(folder(origin / "s.zarr")) as url:
        assert cz.repair(location, other=url).is_whole
    assert objects(location) == right
    there = bucket.new()
    cz.publish(origin / "s.zarr", there, target_options=bucket.options)
    damage_much(location, origin)
    assert cz.repair(location, other=there, other_options=bucket.options).is_whole
    assert objects(location) == right


HUB = "hf://datasets/someone/spine"


def publish_files(hub: Hub, store: Path) -> str:
    """The store as it lies on a Hub that was asked nothing yet; its commit."""
    repo = hub.hub.add("someone/spine", {"README.md": b"# a card", **objects(store)})
    hub.server.requests.clear()
    return repo.refs["main"]


def fetched(hub: Hub) -> list[str]:
    """Keys of what was read on the Hub, in order of their names."""
    paths = [one.path.partition("/resolve/")[2] for one in hub.server.requests]
    return sorted(path.partition("/")[2] for path in paths if path)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_mended_from_the_hub_and_no_more_than_that_is_fetched(
    origin: Path, location: Path, hub: Hub, name: str
) -> None:
    right = objects(location)
    publish_files(hub, origin / "s.zarr")
    DAMAGES[name](location, origin)
    damaged = objects(location)
    result = cz.repair(location, other=HUB, other_options=hub.options)
    assert result.left == ()
    assert objects(location) == right
    # Groups above the cases follow from the catalog, which is read with the root in any case.
    above = {"zarr.json", catalog_of(location).name, "train/zarr.json", "train/MSD-T10/zarr.json"}
    above |= {"cases.parquet", "vertebrae.parquet"}
    wrong = {key for key in right if damaged.get(key) != right[key]} - above
    assert fetched(hub) == sorted({"zarr.json", catalog_of(location).name} | wrong)


def test_a_later_revision_mends_what_is_the_same_in_it(
    origin: Path, location: Path, hub: Hub, tmp_path: Path
) -> None:
    right = objects(location)
    first = publish_files(hub, origin / "s.zarr")
    later = Path(shutil.copytree(location, tmp_path / "later.zarr"))
    (tmp_path / "ages.csv").write_text("case,age\nliver_1,63\nliver_2,64\n")
    cz.add_metadata(later, tmp_path / "ages.csv")
    publish_files(hub, later)
    DAMAGES["a lost shard"](location, origin)
    DAMAGES["a cut shard"](location, origin)
    assert cz.repair(location, other=HUB, other_options=hub.options).is_whole
    assert objects(location) == right
    # The case's own document is another there; an earlier revision has it.
    DAMAGES["an altered kept header"](location, origin)
    [left] = cz.repair(location, other=HUB, other_options=hub.options).left
    assert left.case == "liver_1"
    assert re.search(r"liver_1/zarr.json has \d+ bytes, \d+ were written", left.reason)
    assert cz.repair(location, other=f"{HUB}@{first}", other_options=hub.options).is_whole
    assert objects(location) == right


@pytest.mark.parametrize("other", ["an altered object", "a lost object"])
def test_what_is_damaged_on_the_hub_too_is_left(origin: Path, location: Path, hub: Hub, other: str) -> None:
    publish_files(hub, origin / "s.zarr")
    files = hub.hub.repos["someone/spine"].files
    if other == "an altered object":
        files[f"{ONE}/{MASK}"] = files[f"{ONE}/{MASK}"][:-1] + b"x"
    else:
        del files[f"{ONE}/{MASK}"]
    hub.hub.add("someone/spine", files)
    DAMAGES["a lost shard"](location, origin)
    before = stats(location)
    [left] = cz.repair(location, other=HUB, other_options=hub.options).left
    assert left.case == "liver_1"
    assert re.match(rf"{HUB}: {ONE}/{MASK} (was altered|is missing)", left.reason)
    assert stats(location) == before


def test_a_bucket_gives_what_is_damaged_and_no_more(origin: Path, location: Path, bucket: Bucket) -> None:
    there = bucket.new()
    cz.publish(origin / "s.zarr", there, target_options=bucket.options)
    right = objects(location)
    damage_much(location, origin)
    damaged = objects(location)
    wrong = {key for key in right if damaged.get(key) != right[key]}
    bucket.server.requests.clear()
    assert cz.repair(location, other=there, other_options=bucket.options).is_whole
    assert objects(location) == right
    read = [one.path.partition("spine.zarr/")[2] for one in bucket.server.requests]
    assert sorted(read) == sorted({"zarr.json", catalog_of(location).name} | wrong - {"train/zarr.json"})


def test_a_bucket_is_mended(origin: Path, bucket: Bucket) -> None:
    there, options = bucket.new(), bucket.options
    cz.publish(origin / "s.zarr", there, target_options=options)
    storage = open_storage(there, options=options)
    storage.remove(f"{ONE}/{IMAGE}")
    storage.put(f"{TWO}/{IMAGE}", b"x")
    storage.put("receipts/liver_9.json", b"{}")
    bucket.server.requests.clear()
    result = cz.repair(there, origin / "source", storage_options=options)
    assert [(one.case, one.keys) for one in result.mended] == [
        ("liver_1", (f"{ONE}/{IMAGE}",)),
        ("liver_2", (f"{TWO}/{IMAGE}",)),
    ]
    assert result.removed == ("receipts/liver_9.json",)
    assert (
        len([one for one in bucket.server.requests if one.method == "PUT" and "builds/" not in one.path]) == 2
    )
    assert objects_at(storage) == objects(origin / "s.zarr")


@pytest.mark.parametrize("supply", ["source", "other"])
def test_a_replaced_case_keeps_its_place(tmp_path: Path, supply: str) -> None:
    tree = Tree(tmp_path / "replaced")
    tree.add("liver_1", voxels(3))
    for seed in (3, 4):
        (tree.root / "raw_data/volumes/MSD-T10/liver_1.nii.gz").write_bytes(packed(voxels(seed)))
        cz.build_store(cz.plan_build(tree.root, tmp_path / "r.zarr", workers=1))
    right = objects(tmp_path / "r.zarr")
    [shard] = [key for key in right if key.endswith(f"/{IMAGE}")]
    assert "liver_1~" in shard
    shutil.copytree(tmp_path / "r.zarr", tmp_path / "copy.zarr")
    (tmp_path / "r.zarr" / shard).unlink()
    if supply == "source":
        assert cz.repair(tmp_path / "r.zarr", tree.root).is_whole
    else:
        assert cz.repair(tmp_path / "r.zarr", other=tmp_path / "copy.zarr").is_whole
    assert objects(tmp_path / "r.zarr") == right


# -- what cannot be mended


def test_a_case_whose_file_is_another_is_left_and_the_others_are_mended(location: Path, source: Path) -> None:
    right = objects(location)
    (source / "raw_data/volumes/MSD-T10/liver_1.nii.gz").write_bytes(packed(voxels(9)))
    DAMAGES["two objects swapped"](location, source)
    wrong = objects(location)[f"{ONE}/{IMAGE}"]
    result = cz.repair(location, source)
    assert [one.case for one in result.mended] == ["liver_2"]
    [left] = result.left
    assert left.case == "liver_1"
    digest = json.loads(right["receipts/liver_1.json"])["files"]["image"]["sha256"]
    assert re.search(f"the source's file is another: liver_1.nii.gz .* made from .* {digest}$", left.reason)
    assert objects(location) == right | {f"{ONE}/{IMAGE}": wrong}


def test_a_case_that_another_version_of_the_writer_made_is_left(
    origin: Path, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DAMAGES["a lost shard"](location, origin)
    before = stats(location)
    monkeypatch.setattr("ctspine_zarr.write.case_objects.WRITER", "ctspine-zarr 9")
    [left] = cz.repair(location, origin / "source").left
    assert left.case == "liver_1"
    assert left.reason.startswith(
        "made again from the same files it is another; another version of the writer or of a library made it"
    )
    assert stats(location) == before


def test_a_case_that_the_source_has_not_is_left(origin: Path, location: Path, source: Path) -> None:
    (source / "raw_data/volumes/MSD-T10/liver_1.nii.gz").unlink()
    DAMAGES["a lost shard"](location, origin)
    [left] = cz.repair(location, source).left
    assert (left.case, left.reason) == ("liver_1", f"{source} has no such case")


def test_what_the_other_store_has_not_is_left(origin: Path, location: Path, tmp_path: Path) -> None:
    DAMAGES["a lost receipt"](location, origin)
    DAMAGES["a cut shard"](location, origin)
    [one, two] = cz.repair(location, other=origin / "t.zarr").left
    assert (one.case, two.case) == ("liver_1", "liver_2")
    assert "has no case of that receipt: receipts/liver_1.json" in one.reason
    (location / "receipts/liver_1.json").write_bytes((origin / "s.zarr/receipts/liver_1.json").read_bytes())
    DAMAGES["a flipped bit in a shard"](location, origin)
    [one, _] = cz.repair(location, other=origin / "t.zarr").left
    assert f"t.zarr: {ONE}/{IMAGE} " in one.reason
    shutil.copy(origin / "s.zarr" / ONE / IMAGE, location / ONE / IMAGE)
    DAMAGES["a lost shard"](location, origin)
    copy = shutil.copytree(origin / "s.zarr", tmp_path / "copy.zarr")
    (copy / ONE / MASK).write_bytes(b"no better")
    result = cz.repair(location, other=copy)
    assert [one.case for one in result.mended] == ["liver_2"]
    assert [one.reason for one in result.left] == [
        f"{copy}: {ONE}/{MASK} has 9 bytes, {len(objects(origin / 's.zarr')[f'{ONE}/{MASK}'])} were written"
    ]


def test_what_is_not_ours_is_told_and_left(origin: Path, location: Path) -> None:
    for key in ("notes.txt", f"{ONE}/image/notes", "receipts/liver_9.json"):
        stray(location, key)
    result = repaired(location, origin, "source")
    assert result.removed == ("receipts/liver_9.json",)
    assert sorted(one.reason for one in result.left) == [
        "notes.txt belongs to no case of the catalog",
        f"{ONE}/image/notes belongs to no case of the catalog",
    ]
    assert (location / "notes.txt").read_bytes() == b"{}"
    assert (location / ONE / "image/notes").exists()


def test_half_written_objects_and_empty_folders_go(origin: Path, location: Path) -> None:
    (location / "receipts/liver_1.json.0123456789abcdef.partial").write_bytes(b"half")
    (location / "train/MSD-T10/liver_9/image").mkdir(parents=True)
    assert repaired(location, origin, "other").is_whole
    assert not (location / "train/MSD-T10/liver_9").exists()


@pytest.mark.parametrize("receipt", ["a lost receipt", "an altered receipt"])
def test_a_catalog_is_made_of_the_receipts_though_one_is_damaged(
    origin: Path, location: Path, receipt: str
) -> None:
    right = objects(location)
    DAMAGES["a lost catalog"](location, origin)
    DAMAGES[receipt](location, origin)
    assert cz.repair(location, origin / "source").is_whole
    assert objects(location) == right


def test_a_catalog_that_nothing_proves_is_left(origin: Path, location: Path) -> None:
    DAMAGES["a lost catalog"](location, origin)
    DAMAGES["a receipt of another build"](location, origin)
    before = stats(location)
    [left] = cz.repair(location, origin / "source").left
    assert left.case is None
    assert "the receipts that hold do not make it" in left.reason
    assert stats(location) == before


def test_a_root_of_another_state_is_not_taken(origin: Path, location: Path) -> None:
    DAMAGES["a lost root"](location, origin)
    before = stats(location)
    [left] = cz.repair(location, other=origin / "t.zarr").left
    assert "has another catalog than the cases" in left.reason
    assert stats(location) == before


def relicensed(origin: Path, tmp_path: Path) -> Path:
    """A store of the same cases, whose root says another licence."""
    other = Path(shutil.copytree(origin / "s.zarr", tmp_path / "relicensed.zarr"))
    root = decode_root((other / "zarr.json").read_bytes())
    dataset = structs.replace(root.dataset, licence="MIT")
    (other / "zarr.json").write_bytes(encode_root(structs.replace(root, dataset=dataset)))
    return other


@pytest.mark.parametrize("name", ["a lost root", "an altered root", "a root that says otherwise"])
def test_with_the_digest_no_other_root_is_taken(
    origin: Path, location: Path, tmp_path: Path, name: str
) -> None:
    right, digest = objects(location), cz.open_store(location).digest
    other = relicensed(origin, tmp_path)
    if name in DAMAGES:
        DAMAGES[name](location, origin)
    else:
        shutil.copy(other / "zarr.json", location)
    before = stats(location)
    theirs = cz.open_store(other).digest
    for supply in ({"other": other}, {"source": origin / "source"}):
        [left] = cz.repair(location, **supply, digest=digest).left  # type: ignore[arg-type]
        assert left.case is None
        assert digest in left.reason
        assert (theirs in left.reason) == ("other" in supply or name not in DAMAGES)
        assert stats(location) == before
    if name not in DAMAGES:
        # It may be a later state as well: what reads is not replaced.
        assert not cz.repair(location, other=origin / "s.zarr", digest=digest).is_whole
        DAMAGES["a lost root"](location, origin)
    result = cz.repair(location, other=origin / "s.zarr", digest=digest.upper())
    assert (result.left, result.documents, result.other_root) == ((), ("zarr.json",), digest)
    assert objects(location) == right
    assert cz.repair(location, origin / "source", digest=digest) == cz.Repaired(seconds=ANY)
    with pytest.raises(UnknownValue, match="digest 'abc'; legal: the 64 hex digits"):
        cz.repair(location, origin / "source", digest="abc")


def test_a_lost_root_comes_back_as_another_version_wrote_it(
    origin: Path, location: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(origin / "s.zarr", tmp_path / "older.zarr"))
    written = resealed(json.dumps(json.loads((other / "zarr.json").read_bytes()), indent=2).encode())
    assert written != (other / "zarr.json").read_bytes()
    (other / "zarr.json").write_bytes(written)
    DAMAGES["a lost root"](location, origin)
    result = cz.repair(location, other=other, digest=cz.open_store(other).digest)
    assert (result.left, result.documents) == ((), ("zarr.json",))
    assert (location / "zarr.json").read_bytes() == written


def test_without_it_the_result_says_whose_root_it_is(origin: Path, location: Path, tmp_path: Path) -> None:
    other = relicensed(origin, tmp_path)
    theirs, digest = cz.open_store(other).digest, cz.open_store(location).digest
    DAMAGES["a lost root"](location, origin)
    refused = run("repair", location, "--from", other, "--digest", digest)
    assert refused.exit_code == 4
    assert f"asked for {digest}" in refused.stderr
    done = run("repair", location, "--from", other)
    assert done.exit_code == 0
    assert done.stdout.endswith(f"\nthe root was lost and is now the other store's, digest {theirs}\n")
    assert cz.open_store(location).digest == theirs
    DAMAGES["a lost root"](location, origin)
    said = json.loads(run("repair", location, "--from", other, "--json").stdout)
    assert said["other_root"] == theirs
    DAMAGES["a lost shard"](location, origin)
    assert cz.repair(location, other=other).other_root is None


def test_what_cannot_be_repaired_at_all_is_an_error(
    origin: Path, location: Path, phantom: Path, tmp_path: Path
) -> None:
    for given in ({}, {"source": phantom, "other": origin / "s.zarr"}):
        with pytest.raises(UnknownValue, match="legal: one of the two"):
            cz.repair(location, **given)  # type: ignore[arg-type]
    with pytest.raises(NotAStore):
        cz.repair(tmp_path / "nowhere", origin / "source")
    assert not (tmp_path / "nowhere").exists()
    partial = FailingStore(9, OSError())
    with pytest.raises(StorageError):
        cz.build_store(cz.plan_build(origin / "source", partial, workers=1))
    with pytest.raises(StoreMismatch, match="first build has not ended"):
        cz.repair(partial, origin / "source")


# -- interrupted


@pytest.mark.parametrize("supply", ["source", "other"])
@pytest.mark.parametrize(
    "also",
    [None, *(pytest.param(one, marks=pytest.mark.slow) for one in ("an altered catalog", "a lost root"))],
)
def test_interrupted_at_any_put_and_run_again_it_ends_whole(
    origin: Path, location: Path, supply: str, also: str | None
) -> None:
    right = objects(location)
    if also is None:
        damage_much(location, origin)
    else:
        # Its catalog is made of receipts that hold.
        DAMAGES["two objects swapped"](location, origin)
        DAMAGES["a lost group"](location, origin)
        DAMAGES[also](location, origin)
    damaged = objects(location)

    def filled(fail_at: int) -> FailingStore:
        store = FailingStore(-1, OSError(28, "No space left on device"))
        storage = open_storage(store)
        for key, data in damaged.items():
            storage.put(key, data)
        store.puts.clear()
        store._fail_at = fail_at
        return store

    clean = filled(-1)
    assert repaired(clean, origin, supply).is_whole
    assert clean.written
    if also is not None:
        assert clean.written[-1] == {"a lost root": "zarr.json"}.get(also, catalog_of(origin / "s.zarr").name)
    for nth in range(1, len(clean.puts) + 1):
        store = filled(nth)
        with pytest.raises(StorageError, match="No space left"):
            repaired(store, origin, supply)
        assert repaired(store, origin, supply).is_whole
        assert builds(store.contents()) == builds(right), nth
        # Nothing was put twice but what failed.
        failed = [clean.puts[nth - 1]] if clean.puts[nth - 1] in clean.written else []
        assert sorted(store.written) == sorted([*clean.written, *failed])


# -- the command


def test_the_command_says_what_it_mended_and_what_it_left(origin: Path, location: Path) -> None:
    DAMAGES["a lost shard"](location, origin)
    DAMAGES["a lost group"](location, origin)
    stray(location, "notes.txt")
    done = run("repair", location, origin / "source")
    assert done.exit_code == 4
    assert f"mended liver_1: {ONE}/{MASK}\n" in done.stderr
    assert "left: notes.txt belongs to no case of the catalog\n" in done.stderr
    assert done.stdout == (
        "1 cases mended, 1 documents above them put, 0 strays removed; 1 problems are left\n"
    )
    (location / "notes.txt").unlink()
    again = run("repair", location, "--from", origin / "s.zarr")
    assert (again.exit_code, again.stdout) == (
        0,
        "0 cases mended, 0 documents above them put, 0 strays removed; the store is whole\n",
    )
    assert run("repair", location).exit_code == 2
    assert run("repair", location, origin / "source", "--from", origin / "s.zarr").exit_code == 2
    assert run("repair", origin / "source", origin / "source").exit_code == 1
