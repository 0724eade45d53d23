"""Byte ranges are those of the object, wherever it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import CountingStore
from zarr.storage import LocalStore, MemoryStore, ZipStore

from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage import Location, Storage, open_storage

DATA = bytes(range(256)) * 5
SPAN = st.tuples(st.integers(0, 1279), st.integers(1, 1280)).map(lambda span: (span[0], sum(span)))


@pytest.fixture(scope="module", params=["folder", "store of another class", "memory", "zip"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """One object of 1,280 bytes."""
    folder = tmp_path_factory.mktemp("storage")
    if request.param == "store of another class":
        open_storage(folder).put("a/b", DATA)
        return open_storage(CountingStore(folder), read_only=True)
    kinds: dict[str, Location] = {
        "folder": folder,
        "memory": MemoryStore(),
        "zip": ZipStore(folder / "s.zip", mode="w"),
    }
    storage = open_storage(kinds[request.param])
    storage.put("a/b", DATA)
    return storage


@settings(max_examples=50, deadline=None)
@given(
    spans=st.lists(
        st.tuples(st.integers(0, 1279), st.integers(1, 1280)).map(lambda r: (r[0], sum(r))), max_size=5
    )
)
def test_ranges_are_those_of_the_object(storage: Storage, spans: list[tuple[int, int]]) -> None:
    assert list(storage.ranges("a/b", spans)) == [DATA[start:stop] for start, stop in spans]


def test_a_missing_object_has_no_bytes(storage: Storage) -> None:
    assert list(storage.ranges("a/c", [(0, 4), (8, 9)])) == [b"", b""]


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


@pytest.mark.parametrize("location", [None, 5, b"s.zarr"])
def test_what_is_no_location_is_an_error(location: object) -> None:
    with pytest.raises(StorageError, match="location .*; legal: a local path"):
        open_storage(location)  # type: ignore[arg-type]
