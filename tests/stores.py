"""Stores that count, fail and can be compared."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from trees import Tree
from zarr.storage import LocalStore, MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.format.catalog import CatalogFile, Entry, Provenance, Root, counted, encode_catalog
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.inventory import documents_above, is_beside
from ctspine_zarr.storage import Storage, open_storage


def objects(folder: Path) -> dict[str, bytes]:
    """Every object of a local store, without what goes along with a published one."""
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {key: path.read_bytes() for key, path in paths.items() if not is_beside(key)}


def beside(folder: Path) -> dict[str, bytes]:
    """What goes along with a published store in a folder."""
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {key: path.read_bytes() for key, path in paths.items() if is_beside(key)}


def objects_at(storage: Storage) -> dict[str, bytes]:
    """The same of a store anywhere."""
    return {key: storage.get(key) or b"" for key in storage.sizes() if not is_beside(key)}


def builds(found: dict[str, bytes]) -> dict[str, bytes]:
    """The objects of a store but for what differs between two builds: the root's time of writing, and its
    seal, which covers that.
    """
    return found | {"zarr.json": re.sub(rb'"(written|seal)": "[^"]*"', b"", found["zarr.json"])}


def without_time(found: dict[str, bytes]) -> dict[str, bytes]:
    """The same, without what those who write to a store say of themselves."""
    return builds({key: data for key, data in found.items() if not key.startswith("builds/")})


def built(source: Tree, location: Any, **options: Any) -> cz.BuildResult:
    """A store of a tree, made in this process."""
    return cz.build_store(cz.plan_build(source.root, location, workers=1, **options))


def catalog_of(folder: Path) -> Path:
    """The one catalog of a local store that nobody is updating."""
    [found] = folder.glob("catalog-*.jsonl")
    return found


def write_state(folder: Path, spec: Spec, records: Iterable[Record]) -> None:
    """Root and catalog of a store of these cases, whose voxels nobody reads."""
    entries = [Entry(record, "0" * 64, "0" * 64) for record in records]
    catalog = encode_catalog(spec, entries)
    root = Root(
        dataset=spec,
        catalog=CatalogFile(sha256(catalog), len(catalog), len(entries)),
        cases=counted(spec, (entry.record for entry in entries)),
        refused=(),
        provenance=Provenance(writer="", written="", python="", libraries={}),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for key, data in documents_above(root, entries, {}).items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)


class FailingStore(MemoryStore):
    """Keeps objects in memory and fails at the n-th put, once."""

    def __init__(self, fail_at: int, error: BaseException) -> None:
        super().__init__()
        self.puts: list[str] = []
        self._fail_at = fail_at
        self._error = error

    async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
        self.puts.append(key)
        if len(self.puts) == self._fail_at:
            raise self._error
        await super().set(key, value, byte_range)

    @property
    def written(self) -> list[str]:
        """Keys of the puts of what a store consists of, in order: those by which builds tell of each other
        are left out.
        """
        return [key for key in self.puts if not key.startswith("builds/")]

    def contents(self) -> dict[str, bytes]:
        return {key: value.to_bytes() for key, value in self._store_dict.items()}


class Killed(BaseException):
    """The end of a process, which nothing catches."""


class KilledAt(FailingStore):
    """A store that ends at its n-th put of what it consists of: nothing is done after it."""

    async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
        if self.is_dead:
            raise Killed
        await super().set(key, value, byte_range)

    async def delete(self, key: str) -> None:
        if self.is_dead:
            raise Killed
        await super().delete(key)

    @property
    def is_dead(self) -> bool:
        return 0 < self._fail_at <= len(self.puts)


def filled(contents: Mapping[str, bytes], fail_at: int = -1) -> KilledAt:
    store = KilledAt(-1, Killed())
    location = open_storage(store)
    for key, data in contents.items():
        location.put(key, data)
    store.puts.clear()
    store._fail_at = fail_at
    return store


def without_masks(store: cz.Store, *cases: str) -> cz.Store:
    """The store, as if these cases had come without a mask."""
    entries = {
        case: Entry(replace(entry.record, segmentation=None, labels=()), entry.receipt, entry.group)
        if case in cases
        else entry
        for case, entry in store.entries.items()
    }
    return cz.Store(store.storage, store.root, entries, store.reading)


class CountingStore(LocalStore):
    """A local store that notes every read: (key, bytes)."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=True)
        self.reads: list[tuple[str, int]] = []

    def _note(self, key: str, found: Any) -> Any:
        self.reads.append((key, 0 if found is None else len(found)))
        return found

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        return self._note(key, await super().get(key, prototype, byte_range))

    def get_sync(self, key: str, **options: Any) -> Any:
        return self._note(key, super().get_sync(key, **options))

    def bytes_of(self, ending: str) -> int:
        return sum(size for key, size in self.reads if key.endswith(ending))


class DeadlyStore(LocalStore):
    """A local store of which a worker process dies when it reads or writes a key.

    Args:
        root: of the store.
        ending: of the key.
        notes: a folder with a file for each death.
        most: deaths.
    """

    def __init__(self, root: Path, ending: str, notes: Path, most: int) -> None:
        super().__init__(root)
        self._ending, self._notes, self._most = ending, notes, most

    @property
    def deaths(self) -> int:
        return len(list(self._notes.glob("death-*")))

    def _touch(self, key: str) -> None:
        # Not the test's own process.
        if key.endswith(self._ending) and multiprocessing.parent_process() and self.deaths < self._most:
            (self._notes / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        self._touch(key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Any) -> None:
        self._touch(key)
        await super().set(key, value)
