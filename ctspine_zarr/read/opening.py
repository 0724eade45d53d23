"""Opening a store by two small reads: of its root, and of the catalog that the root names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.manifest.state import State, UpdateCheck, load
from ctspine_zarr.read.store import Store
from ctspine_zarr.storage import DEFAULT_BYTES, Location, Storage, cached, open_storage


def open_store(
    location: Location,
    *,
    threads: int | None = None,
    cache_bytes: int = 0,
    storage_options: Mapping[str, Any] | None = None,
    disk_cache: str | Path | None = None,
    disk_cache_bytes: int = DEFAULT_BYTES,
) -> Store:
    """Open a store for reading: its root and the catalog that the root names and proves, nothing more.

    A store is opened as it is at that moment. Where it is updated later, what was opened is read as
    before, or a read says that the store was updated (`StoreUpdated`): then open it again. A store
    whose first build goes on, or was interrupted, opens with the cases that are whole (`is_partial`);
    their receipts are read, one for each.

    Args:
        location: a local path, s3://, gs://, az://, http(s)://, hf://datasets/USER/NAME[@REVISION]/PATH,
            memory://, file:// or a zarr Store object.
        threads: that one read may use. By default every core this process may use, but 1 in
            a process that multiprocessing started, as a DataLoader's workers are.
        cache_bytes: memory for decoded chunks, so that walking a volume slice by slice decodes
            each once; none by default. 8 MB hold a slab of 512 x 512, its mask 4 MB more. Each
            process, and each copy by pickle, has a cache of its own.
        storage_options: for buckets `anonymous`, `endpoint`, `region` and all else that obstore's
            stores know; for them and web servers `timeout` in seconds, and obstore's `client_options`
            and `retry_config`; for hf:// `token`, `endpoint` and `timeout`. What is not here comes
            from the environment, such as AWS_ACCESS_KEY_ID or HF_TOKEN. They go along where a store is
            pickled for a worker.
        disk_cache: a local folder that keeps what is read from elsewhere, for this process and all
            others, now and later; none by default.
        disk_cache_bytes: that the folder may take, and a twentieth more for each process that is
            writing; what was used least recently goes first.

    Elsewhere than on a local disk each read is one request for every array's index, once, and one
    for every slab of chunks that it touches, all of them at once; small masks come whole. A first
    slice asks for index and slab together, by what the catalog tells of slabs.

    Arrays whose codec this version does not know are read through zarr-python, whatever
    `threads`, `cache_bytes` and `disk_cache` say.

    Raises:
        NotAStore: there is no store, or its format is another.
        DamagedStore: the root is altered, or the catalog missing or altered.
        StorageError: the location cannot be read.
        UnknownValue: a number of threads or bytes that is not legal.
    """
    cache = ArrayCache(cache_bytes)
    storage = open_storage(location, read_only=True, options=storage_options)
    state = load(storage)
    updated = UpdateCheck(storage, state.root.seal)
    reading = Reading(threads, cache if cache_bytes else None, state.cases_digest, updated=updated)
    if disk_cache is not None and storage.path is None:
        storage = cached(storage, Path(disk_cache), disk_cache_bytes, reading.cases_digest)
    return store_of(storage, state, reading)


def store_of(storage: Storage, state: State, reading: Reading) -> Store:
    """The store that holds a state."""
    entries = {entry.record.id: entry for entry in state.entries}
    return Store(storage, state.root, entries, reading)
