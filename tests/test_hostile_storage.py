"""What a store does to its host: nothing outside of it is touched, nothing hangs, nothing fills memory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from conftest import Bucket, Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import (
    HEAD,
    dripping,
    dripping_head,
    dripping_part,
    endless,
    endless_failure,
    endless_part,
    endless_redirect,
    failing,
    raw,
    silent,
)
from zarr.storage import LocalStore

from ctspine_zarr.concurrency.background import pool
from ctspine_zarr.concurrency.requests import within
from ctspine_zarr.errors import HubError, Malformed, NotAStore, StorageError
from ctspine_zarr.format.receipt import StoredObject
from ctspine_zarr.hub import answers
from ctspine_zarr.hub.files import RemoteFile
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.read import proof
from ctspine_zarr.storage import Storage, cached, open_storage, regular
from ctspine_zarr.storage.repository import RepositoryFiles

DATA = bytes(range(256)) * 5
SECRET = b"not of the store"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

type Answer = Callable[[socket.socket], None]


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """All below a folder: the bytes of files, where links lead, None of all else."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        link = str(path.readlink()) if path.is_symlink() else None
        found[str(path.relative_to(folder))] = path.read_bytes() if is_file else link
    return found


def writing(store: LocalStore) -> LocalStore:
    """The same folder for a class of a user's own."""
    return type("Derived", (LocalStore,), {})(store.root)  # type: ignore[no-any-return]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    victim = tmp_path / "outside"
    (victim / "train").mkdir(parents=True)
    for key in ("zarr.json", "train/a"):
        (victim / key).write_bytes(SECRET)
    return victim


@pytest.fixture(params=["folder", "store of another class"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, outside: Path) -> Iterator[Storage]:
    """A folder's objects; what lies outside of it is as before when the test is over."""
    before = contents(outside)
    root = LocalStore(tmp_path / "s.zarr")
    local = open_storage(root.root if request.param == "folder" else writing(root))
    for key in ("a/b", "d.json"):
        local.put(key, DATA)
    yield local
    assert contents(outside) == before


def inside(storage: Storage) -> Path:
    """The store's folder."""
    assert storage.path is not None
    return storage.path


# -- keys


@settings(max_examples=100, deadline=None)
@given(
    key=st.one_of(
        st.text(max_size=20),
        st.lists(st.sampled_from(["..", ".", "", "a", "\\", "\0", "x\n", "~", "C:"]), max_size=5).map(
            "/".join
        ),
    )
)
def test_whatever_a_key_says_only_the_store_is_written(
    tmp_path_factory: pytest.TempPathFactory, key: str
) -> None:
    around = tmp_path_factory.mktemp("around", numbered=True)
    (around / "victim").write_bytes(SECRET)
    storage = open_storage(around / "deep" / "s.zarr")
    try:
        storage.put(key, DATA)
    except StorageError:
        assert sorted(contents(around)) in (["victim"], ["deep", "deep/s.zarr", "victim"])
    else:
        assert storage.get(key) == DATA
        assert list(storage.sizes()) == [key]
        assert (around / "deep" / "s.zarr" / key).read_bytes() == DATA
        storage.remove_below(key.partition("/")[0], []) if "/" in key else storage.remove(key)
        assert sorted(contents(around)) == ["deep", "deep/s.zarr", "victim"]


def test_a_place_that_may_not_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    stat = os.stat

    def refuse(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    for read_only in (True, False):
        with pytest.raises(StorageError, match=r"cannot open '.*closed/s.zarr': Permission denied"):
            open_storage(closed / "s.zarr", read_only=read_only)


# -- links


def test_a_linked_folder_is_not_followed(storage: Storage, outside: Path) -> None:
    (inside(storage) / "train").symlink_to(outside / "train")
    operations: list[Callable[[], object]] = [
        lambda: storage.get("train/a"),
        lambda: list(storage.ranges("train/a", [(0, 4)])),
        lambda: storage.size("train/a"),
        lambda: storage.put("train/a", DATA),
        lambda: storage.put("train/new/a", DATA),
        lambda: storage.remove("train/a"),
        lambda: storage.remove_below("train/a", []),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match=r"train is a link; legal: a folder of the store itself"):
            operation()
    assert storage.sizes() == {"a/b": 1280, "d.json": 1280}
    assert storage.sizes("train/") == {}
    assert storage.irregular() == [("train", "a link")]


def test_links_are_removed_and_not_followed(storage: Storage, outside: Path) -> None:
    for name in ("one", "a/two"):
        (inside(storage) / name).symlink_to(outside)
    (inside(storage) / "a/three").symlink_to(outside / "zarr.json")
    storage.remove_below("a", ["b"])
    storage.remove_below("one", ["zarr.json"])
    assert list(contents(inside(storage))) == ["d.json"]


def test_a_linked_file_is_replaced_and_not_written_through(storage: Storage, outside: Path) -> None:
    (inside(storage) / "zarr.json").symlink_to(outside / "zarr.json")
    storage.put("zarr.json", DATA)
    assert storage.get("zarr.json") == DATA
    assert storage.irregular() == []


@pytest.mark.parametrize("target", ["../outside/zarr.json", "{outside}/zarr.json", "a/out"])
def test_a_link_that_leads_outside_is_not_read(storage: Storage, outside: Path, target: str) -> None:
    (inside(storage) / "a/out").symlink_to(outside / "zarr.json")
    (inside(storage) / "zarr.json").symlink_to(target.format(outside=outside))
    for read in (storage.get, storage.size, lambda key: list(storage.ranges(key, [(0, 4)]))):
        with pytest.raises(
            StorageError, match="'zarr.json' in .*: it is a link that leads outside the store"
        ):
            read("zarr.json")
    assert "zarr.json" not in storage.sizes()


def test_a_folder_beside_the_store_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "s.zarr")
    storage.put("a", DATA)
    (tmp_path / "s.zarr-other").mkdir()
    (tmp_path / "s.zarr-other" / "b").write_bytes(SECRET)
    (tmp_path / "s.zarr" / "b").symlink_to("../s.zarr-other/b")
    with pytest.raises(StorageError, match="leads outside the store"):
        storage.get("b")


def test_a_link_to_another_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "s.zarr").symlink_to(tmp_path / "elsewhere")
    storage = open_storage(tmp_path / "s.zarr")
    storage.put("a/b", DATA)
    (tmp_path / "s.zarr" / "link").symlink_to("a/b")
    assert storage.get("link") == DATA
    assert list(storage.ranges("link", [(5, 9)])) == [DATA[5:9]]
    assert storage.sizes() == {"a/b": 1280}
    assert storage.irregular() == [("link", "a link")]


def test_a_dangling_link_is_an_error_and_can_be_replaced(storage: Storage) -> None:
    (inside(storage) / "a/lost").symlink_to("nothing")
    (inside(storage) / "a/loop").symlink_to("loop")
    for key in ("a/lost", "a/loop"):
        for read in (storage.get, storage.size):
            with pytest.raises(StorageError, match=f"'{key}' in .*(it is a link to nothing|symbolic links)"):
                read(key)
        storage.put(key, DATA)
        assert storage.get(key) == DATA


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A store as the Hub's cache keeps it, below a repository's folder."""
    repository = tmp_path / "datasets--someone--spine"
    folder = repository / "snapshots" / COMMIT / "below"
    for at in (repository / "blobs", folder / "a"):
        at.mkdir(parents=True)
    (repository / "blobs" / "b1").write_bytes(DATA)
    (folder / "a" / "b").symlink_to("../../../../blobs/b1")
    return folder


def test_a_snapshot_in_the_hubs_cache_is_read(snapshot: Path) -> None:
    storage = open_storage(snapshot, read_only=True)
    assert storage.get("a/b") == DATA
    assert list(storage.ranges("a/b", [(5, 9), (1270, 1300)])) == [DATA[5:9], DATA[1270:]]
    assert (storage.sizes(), storage.size("a/b"), storage.irregular()) == ({"a/b": 1280}, 1280, [])


def test_a_snapshots_link_to_anywhere_else_is_not_read(snapshot: Path, outside: Path) -> None:
    storage = open_storage(snapshot, read_only=True)
    (snapshot / "zarr.json").symlink_to(outside / "zarr.json")
    (snapshot / "ref").symlink_to("../../../refs/main")
    (snapshot.parents[2] / "refs").mkdir()
    (snapshot.parents[2] / "refs" / "main").write_bytes(SECRET)
    for key in ("zarr.json", "ref"):
        with pytest.raises(StorageError, match="leads outside the store"):
            storage.get(key)
    assert storage.irregular() == [("ref", "a link"), ("zarr.json", "a link")]


def test_what_the_hubs_client_downloads_is_a_store(hub: Hub, tmp_path: Path) -> None:
    hub.hub.add("someone/spine", {"a/b": DATA, "d.json": b"{}"})
    folder = huggingface_hub.snapshot_download(
        "someone/spine", repo_type="dataset", endpoint=hub.options["endpoint"], cache_dir=tmp_path
    )
    assert (Path(folder) / "a/b").is_symlink()
    storage = open_storage(folder, read_only=True)
    assert (storage.get("a/b"), storage.get("d.json")) == (DATA, b"{}")
    assert storage.sizes() == {"a/b": 1280, "d.json": 2}


# -- files that are none


def special(path: Path, what: str) -> None:
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            # A socket's name is short.
            listening.bind(os.path.relpath(path))
    else:
        path.mkdir()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("what", "told"),
    [("a FIFO", "it is a FIFO"), ("a socket", "it is a socket"), ("a folder", "Is a directory")],
)
def test_what_is_no_regular_file_is_an_error_at_once(storage: Storage, what: str, told: str) -> None:
    special(inside(storage) / "a" / "odd", what)
    for read in (storage.get, storage.size, lambda key: list(storage.ranges(key, [(0, 4)]))):
        with pytest.raises(StorageError, match=f"'a/odd' in .*: {told}; legal: a regular file"):
            read("a/odd")
    assert storage.sizes() == {"a/b": 1280, "d.json": 1280}


@pytest.mark.timeout(20)
def test_a_fifo_in_a_cache_on_disk_is_passed_over(storage: Storage, tmp_path: Path) -> None:
    kept = cached(storage, tmp_path / "cache", 1_000_000, "tag")
    assert list(kept.ranges("a/b", [(0, 4)])) == [DATA[:4]]
    [block] = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    block.unlink()
    os.mkfifo(block)
    assert list(kept.ranges("a/b", [(0, 4)])) == [DATA[:4]]


def test_all_that_is_no_object_is_told(storage: Storage, outside: Path) -> None:
    root = inside(storage)
    (root / "train" / "empty").mkdir(parents=True)
    (root / "train" / "linked").symlink_to(outside)
    (root / "a" / "b.0123456789abcdef.partial").write_bytes(b"half")
    os.mkfifo(root / "a" / "fifo")
    (root / "a\\b").write_bytes(b"")
    (root / "gone").symlink_to("nothing")
    assert storage.irregular() == [
        ("a/b.0123456789abcdef.partial", "a half-written object"),
        ("a/fifo", "a FIFO"),
        ("a\\b", "a file whose name is no key"),
        ("gone", "a link"),
        ("train/empty", "an empty folder"),
        ("train/linked", "a link"),
    ]
    assert storage.sizes() == {"a/b": 1280, "d.json": 1280}
    storage.clean(["a", "train"])
    assert not (root / "a" / "b.0123456789abcdef.partial").exists()
    assert not (root / "train" / "empty").exists()
    assert [kind for _, kind in storage.irregular()] == [
        "a FIFO",
        "a file whose name is no key",
        "a link",
        "a link",
    ]


def test_what_dies_while_it_writes_leaves_the_object_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    storage.put("a/b", DATA)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        storage.put("a/b", b"new")
    assert contents(tmp_path) == {"a": None, "a/b": DATA}


def test_what_was_opened_read_only_is_not_written(tmp_path: Path) -> None:
    open_storage(tmp_path).put("a/b", DATA)
    storage = open_storage(tmp_path, read_only=True)
    operations: list[Callable[[], object]] = [
        lambda: storage.put("a/b", b""),
        lambda: storage.remove("a/b"),
        lambda: storage.remove_below("a", []),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match="it was opened read-only; legal: a store that can be written"):
            operation()
    assert storage.get("a/b") == DATA


# -- locations


def test_a_path_that_leads_nowhere_is_an_error_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    locations: list[Any] = [
        *(tmp_path / name for name in ("x" * 300, "file/below", "gone", "loop", "fifo", "file", "a\0b")),
        *("~nobody-of-this-name/s.zarr", "file://[", "http://[", "s3://[", "\0", "\ud800", "file:///%00"),
    ]
    for location in locations:
        for read_only in (True, False):
            with pytest.raises((StorageError, NotAStore)) as caught:
                open_storage(location, read_only=read_only)
            assert "\n" not in str(caught.value)
            assert "legal: " in str(caught.value)


def test_every_operation_tells_a_name_too_long_in_a_line(storage: Storage) -> None:
    key = "a/" + "x" * 300
    operations: list[Callable[[], object]] = [
        lambda: storage.get(key),
        lambda: list(storage.ranges(key, [(0, 4)])),
        lambda: storage.size(key),
        lambda: storage.sizes(f"{key}/"),
        lambda: storage.put(key, DATA),
        lambda: storage.put(f"{key}/b", DATA),
        lambda: storage.remove(key),
        lambda: storage.remove_below(key, ["b"]),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match=r"in .*: File name too long$"):
            operation()


def test_an_object_is_no_folder(storage: Storage) -> None:
    for operation in (storage.get, storage.size, storage.remove, lambda key: storage.put(key, DATA)):
        with pytest.raises(StorageError, match=r"d.json is a file; legal: a folder of the store itself"):
            operation("d.json/below")
    assert storage.sizes("d.json/") == {}


def test_a_folder_that_another_process_removed_is_made_again(storage: Storage) -> None:
    other = open_storage(inside(storage))
    other.remove_below("a", ["b"])
    assert storage.get("a/b") is None
    storage.put("a/b", DATA)
    assert other.get("a/b") == DATA


# -- memory


def test_an_announced_petabyte_takes_no_memory(bucket: Bucket) -> None:
    told = r"cannot read 'a' in .*: it has 1000000000000000 bytes; legal: at most"
    keys = {key: value for key, value in bucket.options.items() if key != "endpoint"}
    with raw(endless) as url:
        web = open_storage(url, read_only=True)
        s3 = open_storage("s3://bucket/x", options=keys | {"endpoint": url})
        for storage in (web, s3):
            for most in (None, 10**6):
                with pytest.raises(StorageError, match=told):
                    storage.get("a", most)
            with pytest.raises(StorageError, match=told):
                storage.get_each(["a", "a"], 1000)


def test_no_more_is_taken_than_was_asked_for() -> None:
    # It knows no ranges.
    with raw(endless) as url, pytest.raises(StorageError, match="cannot read 'a' in http://"):
        list(open_storage(url, read_only=True).ranges("a", [(100, 200)]))
    with raw(endless_part) as url:
        part = open_storage(url, read_only=True)
        assert list(part.ranges("a", [(100, 200)])) == [b"x" * 100]


@contextlib.contextmanager
def little_memory(most: int = 4_000_000) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_no_more_is_taken_from_a_hub_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,) * len(answers._WAITS))
    told = "cannot read 'a' in .*: it has 1000000000000000 bytes; legal: at most 1000"
    with raw(endless) as url, little_memory():
        whole = repository(url, files={"a": RemoteFile(10**15, None)})
        for operation in (whole.get, lambda key, most: whole.get_each([key, key], most)):
            with pytest.raises(StorageError, match=told):
                operation("a", 1000)
        # It knows no ranges.
        assert list(whole.ranges("a", [(100, 200), (7, 7), (1 << 24, (1 << 24) + 9)])) == [
            b"x" * 100,
            b"",
            b"x" * 9,
        ]
    with raw(endless_part) as url, little_memory():
        assert list(repository(url).ranges("a", [(100, 200)])) == [b"x" * 100]
    with raw(endless_failure) as url, little_memory():
        assert repository(url).get("a") is None
    with raw(endless_redirect) as url, little_memory(), pytest.raises(StorageError, match="leads from one"):
        repository(url).get("a")
    # A page of a listing may have 16 MiB.
    with raw(endless) as url, little_memory(100_000_000):
        with pytest.raises(StorageError, match="list .*: .*/tree/.* is a page of more than 16777216 bytes"):
            repository(url).sizes()
        with pytest.raises(StorageError, match="find .*: .* is a page of more than 16777216 bytes"):
            open_storage("hf://datasets/a/b", read_only=True, options={"endpoint": url, "token": False})


@pytest.mark.parametrize(
    "listing",
    [
        b"<html>",
        b"{}",
        b"[1]",
        b'[{"type": "file", "path": "a"}]',
        b'[{"type": "file", "path": "a", "oid": "../x", "size": 1}]',
        b'[{"type": "file", "path": "a", "oid": "", "size": -1}]',
        b'[{"type": "file", "path": "a", "oid": "", "size": 1, "lfs": {"oid": "../x"}}]',
        b'[{"type": "file", "path": 1, "oid": "", "size": 1}]',
    ],
)
def test_a_listing_that_is_none_is_an_error(listing: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,) * len(answers._WAITS))

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD % (b"200 OK", len(listing), b"Connection: close\r\n") + listing)

    with raw(answer) as url, pytest.raises(StorageError, match="cannot list hf://datasets/someone/spine"):
        repository(url).sizes()


def test_a_listing_that_names_itself_as_its_next_page_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctspine_zarr.hub.answers._MOST_PAGES", 5)

    def answer(connection: socket.socket) -> None:
        url = b"http://127.0.0.1:%d" % connection.getsockname()[1]
        link = b'Link: <%s/next>; rel="next"\r\nConnection: close\r\n' % url
        connection.sendall(HEAD % (b"200 OK", 2, link) + b"[]")

    with raw(answer) as url, pytest.raises(StorageError, match="has more than 5 pages"):
        repository(url).sizes()


def test_a_range_makes_room_for_no_more_than_there_is(storage: Storage) -> None:
    tracemalloc.start()
    try:
        assert list(storage.ranges("a/b", [(0, 1 << 32), (1200, 1 << 31)])) == [DATA, DATA[1200:]]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("most", [1, 7, 256, 1279, 1280])
def test_a_read_goes_on_where_the_system_gives_less_than_was_asked_for(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """As Linux does beyond 2 GiB."""
    once = regular._read_once
    monkeypatch.setattr(
        regular, "_read_once", lambda file, length, start: once(file, min(length, most), start)
    )
    spans = [(0, 1280), (3, 900), (1000, 5000), (1280, 1290), (5, 5)]
    assert list(storage.ranges("a/b", spans)) == [DATA[start:stop] for start, stop in spans]


def test_a_read_of_a_file_that_is_cut_meanwhile_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    file, size = regular.open_regular(str(tmp_path / "a"))
    try:
        os.truncate(tmp_path / "a", 300)
        assert regular.read_at(file, size - 100, 100) == DATA[100:300]
        assert regular.read_at(file, size, 300) == b""
    finally:
        os.close(file)


@pytest.mark.parametrize("part", [500, 640, 1280, 1281, 1 << 26])
def test_an_object_is_proven_part_by_part(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(proof, "_PART_BYTES", part)
    written = StoredObject.of(DATA)
    proof.require_object(storage, "a/b", written)
    assert proof.proven_object(storage, "a/b", written) == DATA
    (inside(storage) / "empty").write_bytes(b"")
    assert proof.proven_object(storage, "empty", StoredObject.of(b"")) == b""
    wrong = {
        "was altered: its sha256 is not that in its receipt": (DATA[:-1] + b"?", "a/b"),
        "has 1280 bytes, 1279 were written": (DATA[:-1], "a/b"),
        "has 1280 bytes, 1281 were written": (DATA + b"?", "a/b"),
        "has 1280 bytes, 2560 were written": (DATA + DATA, "a/b"),
        "is missing": (DATA, "a/none"),
    }
    for message, (data, key) in wrong.items():
        for prove in (proof.require_object, proof.proven_object):
            with pytest.raises(Malformed, match=f"^{message}$"):
                prove(storage, key, StoredObject.of(data))


def test_a_large_object_is_proven_in_little_memory(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_PART_BYTES", 1 << 18)
    data = bytes(1 << 24)
    (inside(storage) / "large").write_bytes(data)
    written = StoredObject.of(data)
    del data
    tracemalloc.start()
    try:
        proof.require_object(storage, "large", written)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()


def test_a_local_file_of_holes_is_not_read(storage: Storage) -> None:
    with (inside(storage) / "holes").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match="it has 1099511627776 bytes; legal: at most 4294967296"):
        storage.get("holes")


# -- time


def remote_operations(storage: Storage) -> list[Callable[[], object]]:
    reads: list[Callable[[], object]] = [
        lambda: storage.get("a"),
        lambda: list(storage.ranges("a", [(0, 4), (8, 9)])),
        lambda: storage.size("a"),
        lambda: storage.get_each(["a", "b"]),
    ]
    writes: list[Callable[[], object]] = [
        storage.sizes,
        lambda: storage.put("a", DATA),
        lambda: storage.remove("a"),
    ]
    if isinstance(storage.backend, RepositoryFiles):
        return [*reads, storage.sizes]
    return reads + writes if storage.is_listable else reads


def repository(url: str, files: dict[str, RemoteFile] | None = None, **options: Any) -> Storage:
    """A repository on a Hub that is not asked for its commit, nor for the files that are given."""
    found = Repository.at("hf://datasets/someone/spine", {"endpoint": url, "token": False, **options})
    found.__dict__.update({"commit": COMMIT} if files is None else {"commit": COMMIT, "files": files})
    return Storage(RepositoryFiles(found), str(found))


def remote(url: str, kind: str, bucket: Bucket) -> Storage:
    """A web server, Hub or bucket at a URL of which a request may take 1.5 s."""
    if kind == "hf":
        return repository(url, timeout=1.5)
    if kind == "http":
        return open_storage(url, read_only=True, options={"timeout": 1.5})
    return open_storage("s3://bucket/x", options=bucket.options | {"endpoint": url, "timeout": "1.5"})


def require_error_in_time(operation: Callable[[], object], message: str, least: float = 0) -> None:
    begun = time.monotonic()
    with pytest.raises(StorageError, match=message):
        operation()
    # Twice its time: of a server that never answers, nothing else would end it within the test's.
    assert least < time.monotonic() - begun < 2 * 1.5


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kind", ["http", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "hf"))]
)
@pytest.mark.parametrize("answer", [silent, dripping_head, failing])
def test_every_request_ends_within_its_time(bucket: Bucket, answer: Answer, kind: str) -> None:
    with raw(answer) as url:
        told = r"given up(: a request may take|, for it did not end).*1.5 s"
        operations = remote_operations(remote(url, kind, bucket))
        # A failing server is asked again for the first half of the time, but for the last wait.
        least = 0.4 if answer is failing else 0
        with ThreadPoolExecutor(len(operations)) as threads:
            for ended in [threads.submit(require_error_in_time, one, told, least) for one in operations]:
                ended.result()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["http", "s3", "hf"])
def test_an_answer_that_drips_ends_within_its_time(bucket: Bucket, kind: str) -> None:
    told = r"given up, for it did not end within 1.5 s; the option timeout=SECONDS allows more"
    with raw(dripping) as url:
        storage = remote(url, kind, bucket)
        require_error_in_time(lambda: storage.get("a"), told)
        if storage.is_listable:
            require_error_in_time(storage.sizes, told)
    with raw(dripping_part) as url:
        part = remote(url, kind, bucket)
        require_error_in_time(lambda: list(part.ranges("a", [(0, 1 << 15)])), told)


@pytest.mark.parametrize("answer", [silent, dripping, failing])
def test_a_hub_that_does_not_answer_is_not_opened(answer: Answer) -> None:
    gave_up = "(given up, for it did not end within 1.5 s|.*; given up: a request may take 1.5 s)"
    told = f"cannot find hf://datasets/someone/spine: {gave_up}"
    options = {"timeout": 1.5, "token": False}
    with raw(answer) as url:
        require_error_in_time(
            lambda: open_storage(
                "hf://datasets/someone/spine", read_only=True, options=options | {"endpoint": url}
            ),
            told,
        )


@pytest.mark.parametrize("kind", ["http", "hf"])
def test_a_request_that_is_given_up_leaves_no_connection(kind: str) -> None:
    ended = threading.Event()

    def watch(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            dripping(connection)
        ended.set()

    with raw(watch) as url:
        options: dict[str, Any] = {"timeout": 0.5}
        web = (
            repository(url, **options) if kind == "hf" else open_storage(url, read_only=True, options=options)
        )
        with pytest.raises(StorageError, match="given up"):
            web.get("a")
        assert ended.wait(5)


@pytest.mark.parametrize("kind", ["http", "hf"])
def test_requests_that_were_given_up_keep_no_others_waiting(kind: str) -> None:
    options: dict[str, Any] = {"timeout": 0.3}
    with raw(dripping) as url:
        slow = (
            repository(url, **options) if kind == "hf" else open_storage(url, read_only=True, options=options)
        )
        with pytest.raises(StorageError, match="given up"):
            slow.get_each([f"{number}" for number in range(64)])
        begun = time.monotonic()
        assert within(5, [lambda _: "done"] * 8) == ["done"] * 8
        assert time.monotonic() - begun < 1


@pytest.fixture
def impatient_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hub's client waits less before it asks again, and has ended before the next test begins.

    Where it finds no server it closes the connections of all threads.
    """
    sleep = time.sleep
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda wait: sleep(min(wait, 0.05)))
    yield
    while pool("requests", 64)._lost:
        sleep(0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient_hub")
@pytest.mark.parametrize("answer", [silent, dripping_head, failing])
def test_what_is_sent_to_the_hub_ends_within_its_time(answer: Answer) -> None:
    with raw(answer) as url:
        there = Repository.at("hf://datasets/a/b", {"endpoint": url, "token": "x", "timeout": 1.5})
        sends: list[Callable[[], None]] = [
            lambda: there.create(private=True),
            lambda: there.change({"a": b"x"}, (), "A change"),
        ]
        for send in sends:
            begun = time.monotonic()
            with pytest.raises(HubError, match=r"cannot (create|commit to) .*(given up|timeout=SECONDS)"):
                send()
            assert time.monotonic() - begun < 2 * 1.5


def test_a_page_that_is_no_json_is_asked_for_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.hub.add("someone/spine", {"a": b"x"})
    there = Repository.at("hf://datasets/someone/spine", hub.options)
    seen = []

    def busy_once(page: bytes) -> Any:
        seen.append(page)
        return json.loads(b"<html>busy" if len(seen) == 1 else page)

    # The server's own `json` is left as it is.
    monkeypatch.setattr("ctspine_zarr.hub.files.json", SimpleNamespace(loads=busy_once))
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,))
    assert (len(there.commit), len(seen)) == (40, 2)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (HEAD % (b"200 OK", 4, b"Content-Encoding: gzip\r\n"), "answers encoded as gzip; legal: as it is"),
        (HEAD % (b"300 Multiple Choices", 4, b""), "answers with status 300"),
    ],
)
def test_an_answer_of_another_kind_is_an_error(
    head: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctspine_zarr.hub.answers._WAITS", (0,))
    with raw(lambda connection: connection.sendall(head + b"data")) as url:
        for read in (lambda: repository(url).get("a"), lambda: repository(url).sizes()):
            with pytest.raises(StorageError, match=told):
                read()


def test_no_password_is_told() -> None:
    url = "http://somebody:secret@127.0.0.1:9/x"
    for attempt in (
        lambda: open_storage(url),
        lambda: open_storage(url, read_only=True, options={"colour": "red"}),
        lambda: open_storage(f"{url}?a", read_only=True),
        lambda: open_storage(url.replace("http", "gopher"), read_only=True),
        lambda: open_storage(url, read_only=True, options={"timeout": 0.5}).get("a"),
    ):
        with pytest.raises(StorageError) as caught:
            attempt()
        assert "secret" not in str(caught.value)
        assert "127.0.0.1:9/x" in str(caught.value)


def test_a_failing_server_is_named_within_the_time() -> None:
    with raw(failing) as url, pytest.raises(StorageError, match="500 Internal Server Error"):
        open_storage(url, read_only=True, options={"timeout": 2}).get("a")


def test_a_failing_hub_is_named_within_the_time() -> None:
    with raw(failing) as url, pytest.raises(StorageError, match="500 Internal Server Error.*may take 2 s"):
        repository(url, timeout=2).get("a")


@pytest.mark.parametrize("value", [0, -1, "soon", True, float("nan"), float("inf"), None, 1e9])
@pytest.mark.parametrize("location", ["s3://bucket/x", "http://host/x", "hf://datasets/someone/spine"])
def test_a_time_that_is_none_is_an_error(location: str, value: Any) -> None:
    with pytest.raises(StorageError, match=r"option timeout .*; legal: seconds, a number above 0, at most"):
        open_storage(location, read_only=True, options={"timeout": value})


# -- options

PANICS = """
import sys
from datetime import timedelta
from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage import open_storage
from ctspine_zarr.storage.options import _CLIENT
WRONG = (5, "x", None, [], {"x": 1})
BACKOFFS = (
    5, {"base": 0}, {"base": 1}, {"base": float("nan")}, {"base": "x"}, {"base": None}, {"init_backoff": 5},
    {"max_backoff": timedelta(0)}, {"init_backoff": timedelta(1)}, {"init_backoff": -timedelta(1)},
)
tried = 0
for location, prefix, needed in (
    ("s3://b/x", "AWS_", {}), ("gs://b/x", "google_", {}), ("az://c/x", "azure_", {"account_name": "a"}),
    ("http://127.0.0.1:9/x", "", {}),
):
    names = [name for one in (*_CLIENT, "colour", "region") for name in {one, prefix + one}]
    given = [{name: value} for name in names for value in ("true", "1s", 5, {})]
    given += [{kind: value} for kind in ("client_options", "retry_config") for value in WRONG]
    given += [{"retry_config": {"backoff": value}} for value in BACKOFFS]
    for options in given:
        tried += 1
        try:
            open_storage(location, read_only=True, options=options | needed)
        except StorageError as error:
            assert "\\n" not in str(error)
print(tried)
"""


def test_no_option_makes_the_library_panic() -> None:
    done = subprocess.run([sys.executable, "-c", PANICS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 600


@pytest.mark.parametrize("value", [True, "true"])
@pytest.mark.parametrize("name", ["allow_http", "aws_allow_http"])
def test_a_plain_connection_can_be_asked_for(bucket: Bucket, name: str, value: object) -> None:
    location = bucket.new()
    storage = open_storage(location, options=bucket.options | {name: value})
    storage.put("a", DATA)
    assert (
        open_storage(location, options=bucket.options | {"client_options": {name[-10:]: value}}).get("a")
        == DATA
    )
