"""The contract of storage: objects and byte ranges are the same, wherever they lie."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
import zarr
from conftest import Bucket, Hub
from fakehub import FakeHub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import Watched, folder, served
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from stores import CountingStore
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, MemoryStore, ZipStore

from ctspine_zarr.errors import NotAStore, StorageError
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.storage.guarded import GuardedStore

DATA = bytes(range(256)) * 5
OBJECTS = {"a/b": DATA, "a/c": b"", "ab": b"beside", "d.json": b"{}"}
WRITABLE = ("folder", "store of another class", "memory", "memory://", "zip", "s3")
READ_ONLY = ("http", "hf")
SPANS = st.lists(
    st.tuples(st.integers(0, 1279), st.integers(1, 1280)).map(lambda r: (r[0], sum(r))), max_size=5
)


def filled(location: Location, **options: Any) -> Storage:
    storage = open_storage(location, options=options or None)
    for key, data in OBJECTS.items():
        storage.put(key, data)
    return storage


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    root = tmp_path_factory.mktemp("web")
    filled(root / "below")
    with served(folder(root)) as url:
        yield open_storage(f"{url}/below", read_only=True)


@pytest.fixture(scope="module")
def repository() -> Iterator[Storage]:
    fake = FakeHub()
    fake.add("someone/spine", {f"below/{key}": data for key, data in OBJECTS.items()})
    with served(Watched(fake.app)) as url:
        location = "hf://datasets/someone/spine/below"
        yield open_storage(location, read_only=True, options={"endpoint": url})


@pytest.fixture(scope="module")
def writable(s3_server: Bucket, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Storage]:
    root = tmp_path_factory.mktemp("storage")
    filled(root / "other")
    return {
        "folder": filled(root / "plain"),
        "store of another class": open_storage(CountingStore(root / "other"), read_only=True),
        "memory": filled(MemoryStore()),
        "memory://": filled("memory://contract"),
        "zip": filled(ZipStore(root / "s.zip", mode="w")),
        "s3": filled(s3_server.new(), **s3_server.options),
    }


@pytest.fixture(params=[*WRITABLE, *READ_ONLY])
def storage(
    request: pytest.FixtureRequest, writable: dict[str, Storage], web: Storage, repository: Storage
) -> Storage:
    """`OBJECTS`, wherever a store may be."""
    return (writable | {"http": web, "hf": repository})[request.param]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(spans=SPANS)
def test_ranges_are_those_of_the_object(storage: Storage, spans: list[tuple[int, int]]) -> None:
    assert list(storage.ranges("a/b", spans)) == [DATA[start:stop] for start, stop in spans]


def test_a_range_beyond_the_end_has_no_bytes(storage: Storage) -> None:
    assert list(storage.ranges("a/b", [(1280, 1300), (5000, 6000)])) == [b"", b""]


def test_objects_are_what_was_put(storage: Storage) -> None:
    assert {key: storage.get(key) for key in OBJECTS} == OBJECTS
    assert storage.get_each([*OBJECTS, "none"]) == [*OBJECTS.values(), None]
    assert {key: storage.size(key) for key in OBJECTS} == {key: len(data) for key, data in OBJECTS.items()}


def test_a_missing_object_has_no_bytes(storage: Storage) -> None:
    assert list(storage.ranges("a/none", [(0, 4), (8, 9)])) == [b"", b""]
    assert (storage.get("a/none"), storage.size("a/none")) == (None, None)


def test_a_listing_is_of_a_prefix(storage: Storage) -> None:
    if storage.location.startswith("http"):
        with pytest.raises(StorageError, match=r"cannot list 'a/' in http://.*: it has no such operation"):
            storage.sizes("a/")
        return
    everything = {key: len(data) for key, data in sorted(OBJECTS.items())}
    assert storage.sizes() == everything
    assert storage.sizes("a/") == {key: size for key, size in everything.items() if key.startswith("a/")}
    assert storage.sizes("nothing/") == {}


def test_zarr_sees_the_same_objects(storage: Storage) -> None:
    found = sync(GuardedStore(storage).get("a/b", default_buffer_prototype()))
    assert found is not None
    assert found.to_bytes() == DATA


def test_a_handle_of_what_others_see_can_be_sent_to_them(storage: Storage) -> None:
    given = getattr(storage.backend, "store", None)
    if storage.is_shared and not isinstance(given, CountingStore | ZipStore):
        assert pickle.loads(pickle.dumps(storage)).get("a/b") == DATA  # noqa: S301 - our own
    else:
        assert not isinstance(given, zarr.storage.ObjectStore)


NO_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../victim",
    "a/../../victim",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a\x7f",
    "a\ud800",
    None,
    5,
    b"a",
)


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_is_an_error_of_every_operation(storage: Storage, key: Any) -> None:
    operations: list[Callable[[], object]] = [
        lambda: storage.get(key),
        lambda: storage.get_each(["d.json", key]),
        lambda: list(storage.ranges(key, [(0, 4)])),
        lambda: storage.put(key, b"new"),
        lambda: storage.size(key),
        lambda: storage.remove(key),
        lambda: storage.remove_below(key, []),
        lambda: storage.remove_below("a", [key]),
    ]
    for operation in operations:
        with pytest.raises(StorageError, match=r"cannot \w+ .* in .*: it is no key of a store; legal: names"):
            operation()


@pytest.mark.parametrize("prefix", ["a", "/", "../", "a/../", "a//", "/etc/", None])
def test_what_is_no_prefix_is_not_listed(storage: Storage, prefix: Any) -> None:
    with pytest.raises(
        StorageError, match=r"cannot list .*: it is no prefix of keys; legal: nothing, or a key"
    ):
        storage.sizes(prefix)


def test_an_object_longer_than_it_may_be_is_an_error(storage: Storage) -> None:
    assert storage.get("a/b", most=1280) == DATA
    assert storage.get("a/c", most=0) == b""
    assert storage.get("a/none", most=0) is None
    assert storage.get_each(["a/b", "ab"], most=1280) == [DATA, b"beside"]
    too_long = r"cannot read 'a/b' in .*: it has 1280 bytes; legal: at most 1279"
    with pytest.raises(StorageError, match=too_long):
        storage.get("a/b", most=1279)
    with pytest.raises(StorageError, match=too_long):
        storage.get_each(["ab", "a/b"], most=1279)


@pytest.mark.parametrize("span", [(-1, 4), (4, 3), (0, 10**15), (10**15, 3 * 10**15)])
def test_what_is_no_range_is_an_error(storage: Storage, span: tuple[int, int]) -> None:
    with pytest.raises(StorageError, match=r"cannot read 'a/b' in .*: bytes .* are asked for; legal: up to"):
        list(storage.ranges("a/b", [(0, 4), span]))


def test_an_empty_range_has_no_bytes(storage: Storage) -> None:
    assert list(storage.ranges("a/b", [(5, 5), (0, 0), (2000, 2000)])) == [b"", b"", b""]


def test_objects_alone_leave_nothing_irregular(storage: Storage) -> None:
    assert storage.irregular() == []


@pytest.fixture(params=["folder", "memory", "memory://", "s3"])
def place(request: pytest.FixtureRequest, bucket: Bucket, tmp_path: Path) -> Callable[[], Storage]:
    """Opens a place where nothing is yet, as often as it is called."""
    memory, key = MemoryStore(), bucket.new()
    return {
        "folder": lambda: open_storage(tmp_path / "s.zarr"),
        "memory": lambda: open_storage(memory),
        "memory://": lambda: open_storage(f"memory://{tmp_path}"),
        "s3": lambda: open_storage(key, options=bucket.options),
    }[request.param]


def test_what_is_put_is_seen_whole_by_others(place: Callable[[], Storage]) -> None:
    large = bytes(range(251)) * 60_000
    assert place().sizes() == {}
    for data in (large, b"shorter", b""):
        place().put("a/b", bytearray(data))
        assert place().get("a/b") == data
        assert place().sizes() == {"a/b": len(data)}


def test_what_is_removed_is_gone(place: Callable[[], Storage]) -> None:
    for key, data in OBJECTS.items():
        place().put(key, data)
    place().remove("d.json")
    place().remove("d.json")
    place().remove_below("a", ["b", "c", "none"])
    assert place().sizes() == {"ab": 6}


def test_nothing_is_made_by_a_look(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "s.zarr")
    assert (storage.get("a"), storage.size("a"), storage.sizes()) == (None, None, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_request_that_fails_is_made_again(bucket: Bucket, status: int) -> None:
    bucket.server.fault = lambda number, *_: status if number % 2 else None
    storage = filled(bucket.new(), **bucket.options)
    assert {key: storage.get(key) for key in OBJECTS} == OBJECTS
    assert sum(request.status == status for request in bucket.server.requests) >= 2 * len(OBJECTS)


def test_an_answer_that_is_cut_is_gone_on_with(bucket: Bucket) -> None:
    data = bytes(range(251)) * 8_000
    storage = open_storage(bucket.new(), options=bucket.options)
    storage.put("a", data)
    bucket.server.fault = lambda number, method, _: "cut" if method == "GET" and number % 2 else None
    assert storage.get("a") == data
    assert list(storage.ranges("a", [(5, 1_900_000)])) == [data[5:1_900_000]]


def test_a_request_that_keeps_failing_is_an_error(bucket: Bucket) -> None:
    bucket.server.fault = lambda *_: 503
    retries = {"max_retries": 2}
    storage = open_storage(bucket.new(), options=bucket.options | {"retry_config": retries})
    with pytest.raises(
        StorageError, match=r"cannot read 'a' in s3://bucket/.*503 Service Unavailable"
    ) as caught:
        storage.get("a")
    assert "\n" not in str(caught.value)
    assert len(bucket.server.requests) == 3


def test_a_refusal_says_where_credentials_come_from(bucket: Bucket) -> None:
    bucket.server.fault = lambda *_: 403
    storage = open_storage(bucket.new(), options=bucket.options)
    with pytest.raises(
        StorageError, match="credentials come from the environment, such as AWS_ACCESS_KEY_ID"
    ):
        storage.get("a")


def test_a_bucket_is_found_by_the_environment_alone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    location = bucket.new()
    filled(location, **bucket.options)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    assert open_storage(location).get("a/b") == DATA


def test_an_anonymous_request_is_not_signed(bucket: Bucket) -> None:
    options = {key: bucket.options[key] for key in ("endpoint", "region")} | {"anonymous": True}
    location = bucket.new()
    filled(location, **bucket.options)
    bucket.server.requests.clear()
    with pytest.raises(StorageError, match="403 Forbidden"):
        open_storage(location, options=options).get("a/b")
    assert [request.signed for request in bucket.server.requests] == [False]


def test_secrets_are_not_shown(bucket: Bucket) -> None:
    assert "secret" not in repr(open_storage(bucket.new(), options=bucket.options))


def test_a_zarr_store_over_obstore_is_one_too(bucket: Bucket) -> None:
    location = bucket.new()
    filled(location, **bucket.options)
    handle = obstore.store.from_url(location, **bucket.options, client_options={"allow_http": True})
    given = open_storage(zarr.storage.ObjectStore(handle))
    assert (given.get("a/b"), given.is_fork_safe) == (DATA, False)


def test_a_web_server_without_ranges_is_an_error() -> None:
    app = Starlette(routes=[Route("/{path:path}", lambda _: Response(DATA))])
    with served(app) as url, pytest.raises(StorageError, match="cannot read 'a/b' in http://"):
        list(open_storage(url, read_only=True).ranges("a/b", [(5, 9)]))


def test_a_server_that_is_not_there_is_an_error() -> None:
    options = {"retry_config": {"max_retries": 1}}
    storage = open_storage("http://127.0.0.1:9/s.zarr", read_only=True, options=options)
    with pytest.raises(
        StorageError, match=r"cannot read 'a' in http://127.0.0.1:9/s.zarr: .*after 1 retries"
    ):
        storage.get("a")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://b/s?x=1", "cannot open s3://b/s.x=1: a store has objects below it; legal: a URL without"),
        ("s3:/bucket/s", "location s3:/bucket/s; legal: s3://..., with two slashes and as a str"),
        (Path("s3://bucket/s"), "location s3:/bucket/s; legal: s3://..., with two slashes"),
        (
            "http://host/s.zarr",
            "cannot write to http://host/s.zarr: http:// can only be read; legal:",
        ),
        (
            "hf://datasets/someone/spine",
            "cannot write to hf://datasets/someone/spine: hf:// can only",
        ),
        ("ftp://host/s.zarr", "cannot open ftp://host/s.zarr: ftp:// is not supported; legal: a local path"),
        ("", "the store's location is empty; legal: a local path"),
        (None, "location None; legal: a local path"),
        (5, "location 5; legal: a local path"),
        (b"s.zarr", "location b's.zarr'; legal: a local path"),
    ],
)
def test_what_is_no_place_to_write_is_an_error(location: Any, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        open_storage(location)


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        (
            "s3://bucket/s.zarr",
            {"colour": "red"},
            r"cannot open s3://bucket/s.zarr \(options colour\): ",
        ),
        (
            "http://host/s.zarr",
            {"region": "here"},
            "option 'region' for http://host/s.zarr; legal: client_opt",
        ),
        (
            "hf://datasets/a/b",
            {"region": "here"},
            "option 'region' for hf://datasets/a/b; legal: token",
        ),
        ("hf://models/a/b", {}, "location hf://models/a/b is a model; legal: hf://datasets/USER/NAME"),
        ("hf://datasets/a", {}, "location hf://datasets/a; legal: hf://datasets/USER/NAME"),
        ("s.zarr", {"region": "here"}, "options region for s.zarr; legal: none for a store of this kind"),
        ("memory://a", {"region": "here"}, "options region for memory://a; legal: none"),
    ],
)
def test_an_option_that_does_not_exist_is_an_error(
    location: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(StorageError, match=message):
        open_storage(location, read_only=True, options=options)


def test_a_folder_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="there is no such folder"):
        open_storage(tmp_path / "none", read_only=True)


def test_what_is_no_object_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot read 'a/b' in .*: Is a directory"):
        list(open_storage(tmp_path).ranges("a/b", [(0, 4)]))


def test_whatever_a_store_raises_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_bytes(b"no zip")
    with pytest.raises(StorageError, match="cannot read 'a' in .*s.zip: File is not a zip file"):
        open_storage(ZipStore(tmp_path / "s.zip", mode="r"), read_only=True).get("a")


def test_a_folder_given_as_a_store_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage(LocalStore("relative"))
    storage.put("a", DATA)
    monkeypatch.chdir("/")
    assert storage.get("a") == DATA
    assert list(storage.ranges("a", [(0, 5)])) == [DATA[:5]]


def test_a_revision_stays_what_it_was(hub: Hub) -> None:
    hub.hub.add("someone/spine", {"a": b"one"})
    location = "hf://datasets/someone/spine"
    before = open_storage(location, read_only=True, options=hub.options)
    hub.hub.add("someone/spine", {"a": b"two"})
    assert before.get("a") == b"one"
    assert pickle.loads(pickle.dumps(before)).get("a") == b"one"  # noqa: S301 - our own
    assert open_storage(location, read_only=True, options=hub.options).get("a") == b"two"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (
            "hf://datasets/someone/else",
            "there is no such dataset, or it is private or gated: run `hf",
        ),
        ("hf://datasets/someone/spine@v9", "there is no such revision"),
    ],
)
def test_what_is_not_on_the_hub_is_an_error(hub: Hub, location: str, message: str) -> None:
    hub.hub.add("someone/spine", {"a": b"one"})
    with pytest.raises(StorageError, match=message):
        open_storage(location, read_only=True, options=hub.options)


def test_a_forked_child_is_told_that_it_cannot_read(bucket: Bucket) -> None:
    """Run where a hang would end the test, not the tests."""
    location = bucket.new()
    filled(location, **bucket.options)
    code = (
        "import os, sys, signal; from ctspine_zarr.storage import open_storage\n"
        "storage = open_storage(sys.argv[1], read_only=True)\n"
        "storage.get('a/b')\n"
        "pid = os.fork()\n"
        "if pid:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "signal.alarm(20)\n"
        "try:\n"
        "    storage.get('a/b')\n"
        "except Exception as error:\n"
        "    print(error, flush=True)\n"
        "    os._exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, location],
        env=os.environ | bucket.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "forked from one that has read an object store" in done.stdout
    assert "legal: the start methods forkserver and spawn" in done.stdout
