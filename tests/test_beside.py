"""What lies beside a published store: its digests hold, and what is somebody's own stays as it is."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from commands import run
from conftest import Bucket, Hub
from stores import objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.manifest.inventory import is_beside
from ctspine_zarr.publishing.papers import manifest
from ctspine_zarr.storage import Storage

TARGET = "hf://datasets/someone/spine"
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """A published store that a test may alter."""
    return Path(shutil.copytree(published, tmp_path / "spine.zarr"))


# -- digests


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["sha256sum", "--strict", "-c", manifest.KEY]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_digests_are_of_all_there_is_and_hold_by_coreutils(copy: Path) -> None:
    done = checked(copy)
    assert done.returncode == 0, done.stderr
    paths = (str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    keys = sorted(key for key in paths if key != manifest.KEY)
    assert sorted(line.removesuffix(": OK") for line in done.stdout.splitlines()) == keys
    assert (copy / manifest.KEY).read_text().startswith("# ")
    for key in (next(key for key in keys if key.endswith("image/c/0/0/0")), "README.md"):
        data = (copy / key).read_bytes()
        (copy / key).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        done = checked(copy)
        assert (done.returncode, f"{key}: FAILED" in done.stdout) == (1, True)


def test_a_list_that_is_read_gives_what_was_written_and_nothing_of_what_is_none() -> None:
    digests = {"a/b~0.json": "0" * 64, "README.md": "1" * 64}
    data = manifest.manifest(digests, [("README.md", "2" * 64)])
    assert manifest.listed(data) == {"a/b~0.json": {"0" * 64}, "README.md": {"1" * 64, "2" * 64}}
    assert manifest.listed(b"\xff\x00" * 99 + b"\n" + b"0" * 64 + b"  a b\n" + b"x" * 10**6) == {}


def test_a_list_that_anybody_changed_is_not_ours() -> None:
    data = manifest.manifest({"README.md": "1" * 64})
    assert manifest.is_ours(data)
    lines = data.splitlines(keepends=True)
    others = [
        b"",
        data + b"\n",
        data + b"# mine\n",
        *(b"".join(lines[:n] + lines[n + 1 :]) for n in range(4)),
    ]
    # A seal that holds makes no list of ours of one that begins otherwise.
    body = b"1" * 64 + b"  README.md\n"
    others.append(body + f"# list: {sha256(body)}\n".encode())
    others += [data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(len(data))]
    for other in others:
        assert not manifest.is_ours(other)
        assert manifest.listed(other) == {}


# -- what is there already


def replaced(store: Path, tree: Tree) -> None:
    """Another state of a store."""
    tree.add("liver_9", voxels(9))
    cz.build_store(cz.plan_build(tree.root, store, workers=1))


@pytest.fixture
def growing(tree: Tree, tmp_path: Path) -> Path:
    """A store of `tree`, which may get another state."""
    tree.add("liver_1", voxels(1))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    return tmp_path / "s.zarr"


def test_publishing_twice_puts_nothing(phantom_store: cz.Store, bucket: Bucket, hub: Hub) -> None:
    target = bucket.new()
    for _ in range(2):
        bucket.server.requests.clear()
        cz.publish(phantom_store.location, target, target_options=bucket.options)
    assert {one.method for one in bucket.server.requests} <= {"GET", "HEAD"}
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    commits = len(hub.hub.repos["someone/spine"].commits)
    cz.publish(phantom_store.location, TARGET, target_options=hub.options)
    assert len(hub.hub.repos["someone/spine"].commits) == commits


def test_what_somebody_changed_is_kept_and_told(growing: Path, tree: Tree, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    cz.publish(growing, copy)
    mine = (copy / "README.md").read_text().replace("license:", "language: de\nlicense:")
    (copy / "README.md").write_text(mine)
    (copy / "LICENSE").write_text("ours\n")
    replaced(growing, tree)
    result = cz.publish(growing, copy)
    assert result.kept == ("LICENSE", "README.md")
    assert ((copy / "README.md").read_text(), (copy / "LICENSE").read_text()) == (mine, "ours\n")
    assert "liver_9" in (copy / manifest.KEY).read_text()
    assert checked(copy).returncode == 0
    done = run("publish", growing, copy)
    assert done.output.endswith("; left as somebody changed them: LICENSE, README.md\n")


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_what_is_ours_follows_the_store(
    growing: Path, tree: Tree, tmp_path: Path, hub: Hub, where: str
) -> None:
    target, options = (TARGET, hub.options) if where == "hub" else (str(tmp_path / "copy"), {})
    cz.publish(growing, target, target_options=options)
    replaced(growing, tree)
    assert cz.publish(growing, target, target_options=options).kept == ()
    storage = cz.open_store(target, storage_options=options).storage
    assert b"2 CTs" in (storage.get("README.md") or b"")
    assert b"# earlier" not in (storage.get(manifest.KEY) or b"")
    for key in objects(growing):
        assert key.encode() in (storage.get(manifest.KEY) or b"")


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_was_ours_and_goes_along_no_more_goes_unless_it_was_changed(
    copy: Path, phantom_store: cz.Store, *, is_changed: bool
) -> None:
    old = copy / "viewer" / "old.js"
    old.parent.mkdir(exist_ok=True)
    old.write_text("ours")
    listed = {
        key: next(iter(found)) for key, found in manifest.listed((copy / manifest.KEY).read_bytes()).items()
    }
    added = {"viewer/old.js": sha256(b"ours"), "../outside.js": "0" * 64}
    (copy / manifest.KEY).write_bytes(manifest.manifest(listed | added))
    if is_changed:
        old.write_text("theirs")
    cz.publish(phantom_store.location, copy)
    assert old.exists() == is_changed
    assert "old.js" not in (copy / manifest.KEY).read_text()


def test_a_file_of_the_users_that_no_list_names_stays(copy: Path, phantom_store: cz.Store) -> None:
    (copy / "viewer").mkdir(exist_ok=True)
    (copy / "viewer" / "notes.txt").write_text("mine")
    assert cz.publish(phantom_store.location, copy).kept == ()
    assert (copy / "viewer" / "notes.txt").read_text() == "mine"


MINE = {
    "README.md": b"my readme\n",
    "LICENSE": b"my licence\n",
    "index.html": b"<p>mine",
    "croissant.json": b"{}",
    "viewer/mine.js": b"mine",
    ".gitattributes": b"*.gz filter=lfs\n",
}
"""What somebody has where a store is to be published."""


@pytest.mark.parametrize("text", ["my list\n", "", "of them all"])
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_by_a_list_of_others_nothing_is_ours(
    phantom_store: cz.Store, tmp_path: Path, hub: Hub, text: str, where: str
) -> None:
    own = "".join(f"{sha256(data)}  {key}\n" for key, data in MINE.items())
    mine = MINE | {manifest.KEY: own.encode() if text == "of them all" else text.encode()}
    target, options = (TARGET, hub.options) if where == "hub" else (str(tmp_path / "copy"), {})
    if where == "hub":
        hub.hub.add("someone/spine", mine)
    else:
        for key, data in mine.items():
            (tmp_path / "copy" / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / key).write_bytes(data)
    for _ in range(2):
        result = cz.publish(phantom_store.location, target, target_options=options)
        assert result.kept == ("LICENSE", "README.md", "croissant.json", "index.html", manifest.KEY)
        there = objects_beside(target, options)
        assert {key: there.get(key) for key in mine} == mine
        assert "CITATION.cff" in there


def objects_beside(location: str, options: dict[str, Any]) -> dict[str, bytes | None]:
    storage = cz.open_store(location, storage_options=options).storage
    return {key: storage.get(key) for key in storage.sizes() if is_beside(key)}


def test_what_others_changed_stays_though_they_mended_its_line_in_the_list(
    growing: Path, tree: Tree, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    cz.publish(growing, copy)
    with (copy / "README.md").open("a") as card:
        card.write("an erratum\n")
    digest, list_ = sha256((copy / "README.md").read_bytes()), copy / manifest.KEY
    lines = (
        f"{digest}  README.md" if line.endswith("  README.md") else line
        for line in list_.read_text().splitlines()
    )
    list_.write_text("\n".join(lines) + "\n")
    assert checked(copy).returncode == 0
    mended = list_.read_bytes()
    replaced(growing, tree)
    result = cz.publish(growing, copy)
    assert {"README.md", manifest.KEY} <= set(result.kept)
    assert (copy / "README.md").read_text().endswith("an erratum\n")
    assert list_.read_bytes() == mended
    # Without it all that is wanted anew is somebody's, and a new list is of what holds.
    list_.unlink()
    assert manifest.KEY not in cz.publish(growing, copy).kept
    assert checked(copy).returncode == 0


def test_gitattributes_are_never_ours(copy: Path, phantom_store: cz.Store) -> None:
    (copy / ".gitattributes").write_bytes(b"mine")
    (copy / manifest.KEY).write_bytes(manifest.manifest({".gitattributes": sha256(b"mine")}))
    cz.publish(phantom_store.location, copy)
    assert (copy / ".gitattributes").read_bytes() == b"mine"
    assert ".gitattributes" not in (copy / manifest.KEY).read_text()


@pytest.mark.parametrize("key", ["README.md", manifest.KEY])
def test_a_link_in_the_place_of_a_document_is_kept(
    copy: Path, phantom_store: cz.Store, tmp_path: Path, key: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (copy / key).unlink()
    (copy / key).symlink_to(tmp_path / "secret")
    assert cz.publish(phantom_store.location, copy).kept == (key,)
    assert (copy / key).is_symlink()
    assert (tmp_path / "secret").read_text() == "secret"


def test_without_a_list_everything_there_is_somebodys(copy: Path, phantom_store: cz.Store) -> None:
    (copy / manifest.KEY).unlink()
    card = (copy / "README.md").read_bytes() + b"mine\n"
    (copy / "README.md").write_bytes(card)
    assert cz.publish(phantom_store.location, copy).kept == ("README.md",)
    assert (copy / "README.md").read_bytes() == card


@pytest.mark.parametrize("is_first", [True, False])
def test_whatever_interrupts_publishing_a_rerun_knows_what_is_ours(
    growing: Path, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    put, begun, later = Storage.put, tmp_path / "begun", tmp_path / "later"
    if not is_first:
        cz.publish(growing, begun)
        replaced(growing, tree)
    shutil.copytree(growing, later)
    tree.add("liver_99", voxels(99))
    cz.build_store(cz.plan_build(tree.root, later, workers=1))

    class Stop(Exception): ...

    for number in range(1, 7):
        copy, left = tmp_path / f"copy{number}", iter(range(number))
        if begun.exists():
            shutil.copytree(begun, copy)

        def cut(storage: Storage, key: str, data: bytes, left: Any = left) -> None:
            if is_beside(key) and next(left, None) is None:
                raise Stop
            put(storage, key, data)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "put", cut)
            with suppress(Stop):
                cz.publish(growing, copy)
        assert cz.publish(later, copy).kept == ()
        assert checked(copy).returncode == 0


def test_a_store_without_cases_has_nothing_beside_it_but_its_digests(growing: Path, tmp_path: Path) -> None:
    cz.publish(growing, tmp_path / "copy")
    cz.remove(growing, ["liver_1"])
    shutil.rmtree(tmp_path / "copy")
    cz.publish(growing, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir() if is_beside(path.name)] == [manifest.KEY]
    assert checked(tmp_path / "copy").returncode == 0
