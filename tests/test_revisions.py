"""A newer state of a store is published by what changed alone, whatever interrupts it; older ones stay."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from commands import run
from conftest import Bucket, Hub
from stores import objects, objects_at
from trees import AFFINE, Tree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, HubError, NotAStore
from ctspine_zarr.hub.files import LocalFile
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.manifest.inventory import is_beside
from ctspine_zarr.storage import Storage, open_storage

TARGET = "hf://datasets/someone/spine"
CASES = ("liver_0", "liver_1", "liver_2")
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and beside it its store."""
    root = tmp_path_factory.mktemp("revisions")
    tree = Tree(root / "source")
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number), np.roll(labels(), number, axis=0))
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    return root


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "s.zarr", tmp_path / "s.zarr"))


def label_set(store: Path, built: Path) -> None:  # noqa: ARG001 - as a step is called
    folder = store.parent / "predictions"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.roll(labels(), 2, axis=2), AFFINE), folder / "liver_1.nii.gz")
    assert run("labels", "add", store, "prediction", folder).exit_code == 0


def metadata(store: Path, built: Path) -> None:  # noqa: ARG001 - as a step is called
    (store.parent / "ages.csv").write_text("case,age\nliver_2,63\n")
    cz.add_metadata(store, store.parent / "ages.csv")


def replaced(store: Path, built: Path) -> None:
    tree = Tree(Path(shutil.copytree(built / "source", store.parent / "source")))
    tree.sections["trainset"] = list(CASES)
    tree.add("liver_0", voxels(70), section=None)
    cz.build_store(cz.plan_build(tree.root, store, workers=1))


def nothing(store: Path, built: Path) -> None:
    """The state that is published already."""


type Step = Callable[[Path, Path], None]
STEPS: list[Step] = [label_set, metadata, replaced, nothing]


def changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[set[str], set[str]]:
    """Keys of what is new or another, and of what is gone."""
    return {key for key in after if before.get(key) != after[key]}, set(before) - set(after)


# -- only what changed


@pytest.mark.parametrize("step", STEPS)
def test_a_bucket_gets_what_changed_and_nothing_else(
    built: Path, store: Path, bucket: Bucket, step: Step
) -> None:
    target, before = bucket.new(), objects(store)
    cz.publish(store, target, target_options=bucket.options)
    step(store, built)
    new, gone = changes(before, objects(store))
    bucket.server.requests.clear()
    cz.publish(store, target, target_options=bucket.options)
    puts = [one.path.partition("spine.zarr/")[2] for one in bucket.server.requests if one.method == "PUT"]
    # Of what goes along, the list of digests is put before and after.
    own = [key for key in puts if not is_beside(key)]
    assert len(own) == len(set(own))
    assert set(own) == new
    removed = {
        one.path.partition("spine.zarr/")[2] for one in bucket.server.requests if one.method == "DELETE"
    }
    # Where a case's own objects change, no root speaks of it meanwhile.
    assert removed - gone <= {"zarr.json", *(key for key in new if key.startswith("receipts/"))}
    assert objects_at(open_storage(target, options=bucket.options)) == objects(store)
    assert cz.verify(target, storage_options=bucket.options).is_whole


@pytest.mark.parametrize("step", STEPS)
def test_the_hub_gets_what_changed_and_nothing_else(
    built: Path, store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    before = objects(store)
    cz.publish(store, TARGET, target_options=hub.options)
    repo = hub.hub.repos["someone/spine"]
    commits, large = len(repo.commits), set(repo.objects)
    step(store, built)
    new, gone = changes(before, objects(store))
    put, removed = list[str](), list[str]()
    change = Repository.change

    def noting(repository: Repository, files: Mapping[str, Any], away: Collection[str], message: str) -> None:
        put.extend(files)
        removed.extend(away)
        change(repository, files, away, message)

    monkeypatch.setattr(Repository, "change", noting)
    hub.server.requests.clear()
    cz.publish(store, TARGET, target_options=hub.options)
    assert len(put) == len(set(put))
    assert {key for key in put if not is_beside(key)} == new
    assert set(removed) == gone
    # At each commit the branch has a whole store, of the state before or of the one after.
    trees = list(repo.commits.values())[commits - 1 :]
    assert {tree["zarr.json"].read(0, 1 << 20) for tree in trees} <= {
        before["zarr.json"],
        objects(store)["zarr.json"],
    }
    # Of large files the Hub gets those that it has not.
    uploads = [
        one.path for one in hub.server.requests if one.method == "PUT" and one.path.startswith("/lfs/")
    ]
    assert {path.rpartition("/")[2] for path in uploads} == set(repo.objects) - large
    assert len(uploads) == len(set(uploads))
    assert (len(repo.commits) == commits) == (not new)
    assert {key: data for key, data in repo.files.items() if not is_beside(key)} == objects(store)


def test_much_that_changes_in_its_place_has_no_root_meanwhile(
    built: Path, store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cz.publish(store, TARGET, target_options=hub.options)
    repo = hub.hub.repos["someone/spine"]
    commits = len(repo.commits)
    metadata(store, built)
    monkeypatch.setattr("ctspine_zarr.publishing.hub._MOST_AT_ONCE", 0)
    cz.publish(store, TARGET, target_options=hub.options)
    assert ["zarr.json" in tree for tree in list(repo.commits.values())[commits:]] == [False, False, True]
    assert cz.verify(TARGET, storage_options=hub.options).is_whole


def test_a_root_whose_cases_arrive_otherwise_does_not_stay(
    built: Path, store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cz.publish(store, TARGET, target_options=hub.options)
    metadata(store, built)
    change = Repository.change

    def altered(repository: Repository, files: Mapping[str, Any], *others: Any) -> None:
        key = "receipts/liver_2.json"
        change(repository, {**files, **({key: files[key] + b" "} if key in files else {})}, *others)

    monkeypatch.setattr(Repository, "change", altered)
    with pytest.raises(DamagedStore, match="has not what was written of 1 cases, such as liver_2"):
        cz.publish(store, TARGET, target_options=hub.options)
    with pytest.raises(NotAStore):
        cz.open_store(TARGET, storage_options=hub.options)


# -- old readers


@pytest.mark.parametrize("step", [label_set, replaced])
def test_readers_of_an_older_revision_read_on(built: Path, store: Path, hub: Hub, step: Step) -> None:
    cz.publish(store, TARGET, target_options=hub.options)
    commit = hub.hub.repos["someone/spine"].refs["main"]
    opened = cz.open_store(TARGET, storage_options=hub.options)
    expected = {case: voxels(number).transpose() for number, case in enumerate(CASES)}
    digest = opened.digest
    step(store, built)
    cz.publish(store, TARGET, target_options=hub.options)
    newest = cz.open_store(TARGET, storage_options=hub.options)
    assert newest.digest != digest
    # Both who has it open since before, and who names the revision now.
    pinned = cz.open_store(f"{TARGET}@{commit}", storage_options=hub.options)
    for one in (opened, pinned):
        assert one.digest == digest
        for case, image in expected.items():
            assert np.array_equal(one[case].voxels("image")[...], image)
    assert cz.verify(f"{TARGET}@{commit}", digest=digest, storage_options=hub.options).is_whole
    assert cz.diff(f"{TARGET}@{commit}", TARGET, a_options=hub.options, b_options=hub.options).cases


# -- what interrupts it

REQUESTS = {
    "create": "POST /api/repos/create",
    "commit of a revision": "GET /api/datasets/someone/spine",
    "listing": "GET /api/datasets/someone/spine/tree/",
    "preupload": "POST /api/datasets/someone/spine/preupload/",
    "batch": "POST /datasets/someone/spine.git/info/lfs/objects/batch",
    "upload": "PUT /lfs/",
    "commit": "POST /api/datasets/someone/spine/commit/",
}
ONCE = {"create"}
"""Of what a publication may ask once alone."""


class Faults:
    """Refusals of the requests of one kind, from the n-th of them on.

    Args:
        kind: the beginning of method and path.
        first: the first that is refused, from 1 on.
        most: how many are.
        status: with which.
    """

    def __init__(self, kind: str, first: int, most: int, status: int) -> None:
        self.seen = self.refused = 0
        self._kind, self._first, self._most, self._status = REQUESTS[kind], first, most, status

    def __call__(self, number: int, method: str, path: str) -> int | None:  # noqa: ARG002 - as a fault is called
        if not f"{method} {path}".startswith(self._kind):
            return None
        self.seen += 1
        if self.seen < self._first or self.refused >= self._most:
            return None
        self.refused += 1
        return self._status


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_limit_of_requests_is_waited_out_wherever_it_is_met(store: Path, hub: Hub, kind: str) -> None:
    hub.server.retry_after = 37
    hub.server.fault = faults = Faults(kind, 1, 2, 429)
    cz.publish(store, TARGET, target_options=hub.options)
    assert faults.refused == 2
    # Each refusal says how long to wait, and is heeded.
    assert len([wait for wait in hub.waits if wait >= 37]) >= 2
    hub.server.heal()
    assert cz.verify(TARGET, storage_options=hub.options).is_whole


@pytest.mark.parametrize(
    ("kind", "first"), [(kind, 1) for kind in REQUESTS] + [(kind, 2) for kind in REQUESTS if kind not in ONCE]
)
def test_ended_at_any_request_it_goes_on_and_sends_nothing_twice(
    store: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, kind: str, first: int
) -> None:
    # Two commits of cases and one of the top.
    monkeypatch.setattr("ctspine_zarr.publishing.hub._CASES_AT_A_TIME", 2)
    hub.server.fault = Faults(kind, first, 10_000, 403)
    with pytest.raises(HubError, match="403|Forbidden"):
        cz.publish(store, TARGET, target_options=hub.options)
    hub.server.heal()
    if kind != "create":
        assert "zarr.json" not in hub.hub.repos["someone/spine"].files
    cz.publish(store, TARGET, target_options=hub.options)
    repo = hub.hub.repos["someone/spine"]
    assert {key: data for key, data in repo.files.items() if not is_beside(key)} == objects(store)
    arrived = [one.path for one in hub.server.requests if one.path.startswith("/lfs/") and one.status == 200]
    assert len(arrived) == len(set(arrived))


@pytest.mark.parametrize("step", [label_set, replaced])
def test_an_update_that_was_interrupted_at_any_put_goes_on(
    built: Path, store: Path, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    first = store.parent / "first.zarr"
    shutil.copytree(store, first)
    step(store, built)
    new, _ = changes(objects(first), objects(store))
    put = Storage.put
    for number in range(len(new)):
        target = f"memory://{uuid.uuid4().hex}"
        cz.publish(first, target)
        puts = iter(range(10_000))

        def interrupted(storage: Storage, key: str, data: bytes, end: int = number, left: Any = puts) -> None:
            if next(left) == end:
                raise KeyboardInterrupt
            put(storage, key, data)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "put", interrupted)
            with pytest.raises(KeyboardInterrupt):
                cz.publish(store, target)
        cz.publish(store, target)
        assert objects_at(open_storage(target)) == objects(store)


# -- a commit whose answer is lost


class Lost:
    """Answers of commits, of which the first so many are cut off once they were made."""

    def __init__(self, most: int) -> None:
        self.seen, self._most = 0, most

    def __call__(self, number: int, method: str, path: str) -> str | None:  # noqa: ARG002 - as a fault is called
        if not f"{method} {path}".startswith(REQUESTS["commit"]):
            return None
        self.seen += 1
        return "cut" if self.seen <= self._most else None


@pytest.mark.parametrize("folder", ["", "a folder"])
def test_a_commit_whose_answer_is_lost_is_made_once(hub: Hub, tmp_path: Path, folder: str) -> None:
    inside = f"{folder}/" if folder else ""
    old = {"old.txt": b"old", "changed.txt": b"1", "stays.txt": b"stays"}
    repo = hub.hub.add("someone/spine", {f"{inside}{key}": data for key, data in old.items()})
    shard = b"\0 a shard"
    (tmp_path / "shard").write_bytes(shard)
    (tmp_path / "text").write_bytes(b"a text")
    put: dict[str, bytes | LocalFile] = {
        "changed.txt": b"2",
        "shard": LocalFile(tmp_path / "shard", sha256(shard)),
        "text": LocalFile(tmp_path / "text", sha256(b"a text")),
    }
    hub.server.fault = lost = Lost(1)
    Repository.at(f"{TARGET}/{folder}".rstrip("/"), hub.options).change(put, ["old.txt"], "a change")
    assert (lost.seen, len(repo.commits)) == (1, 2)
    new = {"changed.txt": b"2", "stays.txt": b"stays", "shard": shard, "text": b"a text"}
    assert repo.files == {f"{inside}{key}": data for key, data in new.items()}


def test_a_commit_of_removals_alone_whose_answer_is_lost_is_made_once(hub: Hub) -> None:
    repo = hub.hub.add("someone/spine", {"a/old.txt": b"old"})
    hub.server.fault = lost = Lost(1)
    Repository.at(f"{TARGET}/a", hub.options).change({}, ["old.txt"], "a change")
    assert (lost.seen, repo.files) == (1, {})


def test_a_commit_that_was_not_made_is_sent_again_with_what_is_left_to_do(hub: Hub) -> None:
    repo = hub.hub.add("someone/spine", {"gone.txt": b"1", "old.txt": b"2"})
    seen = list[str]()

    def meanwhile(number: int, method: str, path: str) -> int | None:  # noqa: ARG001 - as a fault is called
        if not f"{method} {path}".startswith(REQUESTS["commit"]):
            return None
        seen.append(path)
        if len(seen) > 1:
            return None
        hub.hub.add("someone/spine", {"old.txt": b"2"})
        return 503

    hub.server.fault = meanwhile
    Repository.at(TARGET, hub.options).change({"new.txt": b"3"}, ["gone.txt", "old.txt"], "a change")
    assert (len(seen), repo.files) == (2, {"new.txt": b"3"})


def test_an_update_of_which_every_answer_is_lost_once_is_published(
    built: Path, store: Path, hub: Hub
) -> None:
    cz.publish(store, TARGET, target_options=hub.options)
    metadata(store, built)
    commits = len(hub.hub.repos["someone/spine"].commits)
    hub.server.fault = lost = Lost(1)
    cz.publish(store, TARGET, target_options=hub.options)
    assert (lost.seen, len(hub.hub.repos["someone/spine"].commits)) == (1, commits + 1)
    assert cz.verify(TARGET, storage_options=hub.options).is_whole
