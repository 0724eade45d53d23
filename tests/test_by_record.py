"""A store on the Hub proven by the Hub's own record of each file, without a shard being downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import run
from conftest import Bucket, Hub
from stores import catalog_of, objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import NotAStore, UnknownValue

TARGET = "hf://datasets/someone/spine"
ONE = "train/MSD-T10/liver_1"
SHARD = "image/c/0/0/0"
MASK = "labels/vertebrae/segmentation/c/0/0/0"
CARD = {"README.md": b"# a card\n", ".gitattributes": b"*.gz filter=lfs\n"}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("record")
    tree = Tree(root / "source")
    for number in range(1, 4):
        tree.add(f"liver_{number}", voxels(number))
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    return root / "s.zarr"


def on_hub(hub: Hub, files: Mapping[str, bytes]) -> None:
    hub.hub.repos.pop("someone/spine", None)
    hub.hub.add("someone/spine", {**CARD, **files})
    hub.server.requests.clear()


def verified(hub: Hub, **options: object) -> cz.Verification:
    return cz.verify(TARGET, storage_options=hub.options, **options)  # type: ignore[arg-type]


def problems(found: cz.Verification) -> list[str]:
    return [*found.problems, *(line for one in found.cases for line in one.problems)]


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def shards(keys: Mapping[str, bytes]) -> set[str]:
    return {key for key in keys if key.endswith("/c/0/0/0")}


# -- what it reads


def test_no_shard_is_downloaded_and_each_document_once_at_most(built: Path, hub: Hub) -> None:
    files = objects(built)
    on_hub(hub, files)
    found = verified(hub)
    assert (found.is_whole, found.proof, len(found.cases)) == (True, "record", 3)
    paths = [one.path for one in hub.server.requests]
    assert not [path for path in paths if path.startswith("/cdn/")]
    read = [path.partition("/resolve/")[2].partition("/")[2] for path in paths if "/resolve/" in path]
    assert len(read) == len(set(read))
    # Root, catalog, a receipt and a group a case; of documents that are the same for all, one.
    same = {key for key in files if key not in shards(files) and list(files.values()).count(files[key]) == 3}
    above = {"train/zarr.json", "train/MSD-T10/zarr.json", "cases.parquet", "vertebrae.parquet"}
    assert set(read) < set(files) - shards(files) - above
    assert len(read) == len(files) - len(shards(files)) - len(above) - len(same) * 2 // 3
    # Beside them, a listing.
    assert len(paths) - len(read) == 1
    assert sum(one.sent for one in hub.server.requests) < sum(map(len, files.values()))


def test_a_listing_of_many_pages_is_one_record(built: Path, hub: Hub) -> None:
    hub.hub.page = 5
    on_hub(hub, objects(built))
    assert verified(hub).is_whole


def test_some_cases_are_proven_by_their_documents_alone(built: Path, hub: Hub) -> None:
    on_hub(hub, objects(built) | {f"train/MSD-T10/liver_2/{SHARD}": b"\0other"})
    assert verified(hub, cases="liver_1").is_whole
    assert not verified(hub, cases="liver_2").is_whole


def test_every_byte_is_downloaded_where_that_is_asked_for(built: Path, hub: Hub, tmp_path: Path) -> None:
    files = objects(built)
    on_hub(hub, files)
    journal = tmp_path / "journal"
    for options in ({"by_record": False}, {"journal": journal}):
        hub.server.requests.clear()
        found = verified(hub, **options)
        assert (found.is_whole, found.proof) == (True, "bytes")
        sent = sum(one.sent for one in hub.server.requests if one.path.startswith("/cdn/"))
        assert sent >= sum(len(files[key]) for key in shards(files))


# -- what it finds


@pytest.mark.slow
def test_whatever_object_is_altered_lost_cut_or_longer_is_found(built: Path, hub: Hub) -> None:
    files = objects(built)
    for key, data in files.items():
        for altered in (flipped(data), data[:-1], data + b"\0", None):
            if altered is not None:
                on_hub(hub, files | {key: altered})
            else:
                on_hub(hub, {other: data for other, data in files.items() if other != key})
            if key == "zarr.json" and altered is None:
                with pytest.raises(NotAStore):
                    verified(hub)
            else:
                assert not verified(hub).is_whole, key
        assert not [one for one in hub.server.requests if one.path.startswith("/cdn/")], key


def _swapped(files: Mapping[str, bytes]) -> dict[str, bytes]:
    one, two = f"{ONE}/{SHARD}", f"train/MSD-T10/liver_2/{SHARD}"
    return {**files, one: files[two], two: files[one]}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            lambda files: files | {f"{ONE}/{MASK}": flipped(files[f"{ONE}/{MASK}"])},
            "was altered: the sha256 that the Hub has recorded of it is not that in its receipt",
        ),
        (lambda files: {key: data for key, data in files.items() if key != f"{ONE}/{SHARD}"}, "is missing"),
        (lambda files: files | {f"{ONE}/image/c/0/0/1": b"\0more"}, "belongs to no case of the catalog"),
        (
            lambda files: files | {"receipts/liver_1.json": files["receipts/liver_2.json"]},
            "its receipt is damaged",
        ),
        (
            lambda files: files | {f"{ONE}/labels/zarr.json": files[f"{ONE}/labels/zarr.json"][:-2] + b" }"},
            "was altered: its sha256 is not that in its receipt",
        ),
        (lambda files: files | {"train/zarr.json": b"{}"}, "train/zarr.json is missing or altered"),
    ],
)
def test_what_is_wrong_is_told_as_by_the_proof_of_every_byte(
    built: Path, hub: Hub, fault: Callable[[Mapping[str, bytes]], Mapping[str, bytes]], told: str
) -> None:
    on_hub(hub, fault(objects(built)))
    found, full = verified(hub), verified(hub, by_record=False)
    assert [line for line in problems(found) if told in line]
    assert [one.case for one in found.cases if one.problems] == [
        one.case for one in full.cases if one.problems
    ]
    assert found.problems == full.problems


def test_shards_that_are_one_anothers_are_found(built: Path, hub: Hub) -> None:
    on_hub(hub, _swapped(objects(built)))
    assert [one.case for one in verified(hub).cases if one.problems] == ["liver_1", "liver_2"]


def _told_otherwise(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, alter: Callable[[dict[str, Any]], object]
) -> None:
    repo = hub.hub.repos["someone/spine"]
    entry = repo.entry

    def told(commit: str, path: str) -> dict[str, Any]:
        found = entry(commit, path)
        if found["type"] == "file":
            alter(found)
        return found

    monkeypatch.setattr(repo, "entry", told)


def test_where_the_listing_tells_no_id_of_git_documents_are_read(
    built: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = objects(built)
    on_hub(hub, files)
    _told_otherwise(hub, monkeypatch, lambda entry: entry.update(oid=""))
    assert verified(hub).is_whole
    assert not [one for one in hub.server.requests if one.path.startswith("/cdn/")]
    for key in files:
        if key.endswith("zarr.json") and (key.startswith(f"{ONE}/") or key == "train/zarr.json"):
            on_hub(hub, files | {key: b"x" * len(files[key])})
            _told_otherwise(hub, monkeypatch, lambda entry: entry.update(oid=""))
            [line] = problems(verified(hub))
            assert key.removeprefix(f"{ONE}/") in line


def test_a_size_that_is_told_otherwise_is_found(
    built: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alter(entry: dict[str, Any]) -> None:
        if entry["path"] == "train/zarr.json":
            entry.update(size=entry["size"] + 1, lfs={"oid": sha256(files[entry["path"]])})

    files = objects(built)
    on_hub(hub, files)
    _told_otherwise(hub, monkeypatch, alter)
    assert verified(hub).problems == ("train/zarr.json is missing or altered; run the build again",)


def test_the_root_is_proven_by_a_digest_that_was_kept(built: Path, hub: Hub) -> None:
    on_hub(hub, objects(built))
    digest = cz.open_store(built).digest
    assert verified(hub, digest=digest).is_whole
    assert not verified(hub, digest="0" * 64).is_whole


def test_a_hub_that_shows_no_catalog_has_no_store(built: Path, hub: Hub) -> None:
    key = catalog_of(built).name
    on_hub(hub, {other: data for other, data in objects(built).items() if other != key})
    assert f"{key} is missing" in " ".join(verified(hub).problems)


# -- where there is no record


def test_a_place_that_records_no_sha256_is_told(built: Path, bucket: Bucket, tmp_path: Path) -> None:
    target = bucket.new()
    cz.publish(built, target, target_options=bucket.options)
    for location, options in ((built, {}), (target, bucket.options)):
        with pytest.raises(UnknownValue, match=r"checks by record of .*, which has recorded no sha256"):
            cz.verify(location, by_record=True, storage_options=options)
    with pytest.raises(UnknownValue, match="journal .* of checks by record, which prove no case whole"):
        cz.verify(built, by_record=True, journal=tmp_path / "journal")
    with pytest.raises(UnknownValue, match="legal: one of the two"):
        cz.verify(built, by_record=True, quick=True)
    assert cz.verify(built).proof == "bytes"


def test_quick_checks_of_a_bucket_read_no_shard_and_say_so(built: Path, bucket: Bucket) -> None:
    target = bucket.new()
    cz.publish(built, target, target_options=bucket.options)
    bucket.server.requests.clear()
    found = cz.verify(target, quick=True, storage_options=bucket.options)
    assert (found.is_whole, found.proof) == (True, "sizes")
    read = [one for one in bucket.server.requests if one.path.endswith("/c/0/0/0")]
    assert read == []
    options = [word for pair in bucket.options.items() for word in ("--storage-option", "=".join(pair))]
    done = run("verify", target, "--quick", *options)
    assert done.stdout.startswith("3 of 3 cases are whole by sizes and documents: no shard was read, and ")


# -- the command


def test_the_command_says_what_was_proven_by_whom(built: Path, hub: Hub) -> None:
    on_hub(hub, objects(built))
    option = ["--storage-option", f"endpoint={hub.options['endpoint']}"]
    done = run("verify", TARGET, *option)
    assert done.exit_code == 0
    assert done.stdout == (
        "3 of 3 cases are whole by the Hub's record of each sha256: documents were read, no shard was; "
        "--download reads all\n"
    )
    assert run("verify", TARGET, "--download", *option).stdout == "3 of 3 cases are whole\n"
    assert json.loads(run("verify", TARGET, "--json", *option).stdout)["proof"] == "record"
    on_hub(hub, _swapped(objects(built)))
    assert run("verify", TARGET, "--by-record", *option).exit_code == 4
    assert run("verify", built, "--by-record").exit_code == 2


# -- two stores there


def test_two_revisions_are_compared_by_few_requests(built: Path, hub: Hub) -> None:
    on_hub(hub, objects(built))
    commit = hub.hub.repos["someone/spine"].refs["main"]
    hub.hub.add("someone/spine", {**CARD, **objects(built), "notes.txt": b"newer"})
    found = cz.diff(f"{TARGET}@{commit}", TARGET, a_options=hub.options, b_options=hub.options)
    assert (found.is_equal, found.equal) == (True, 3)
    # A root of each, which tells the commit, and one catalog.
    assert len(hub.server.requests) == 3
    hub.server.requests.clear()
    assert cz.diff(built, TARGET, b_options=hub.options).is_equal
    assert len(hub.server.requests) == 1
