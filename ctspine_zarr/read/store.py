"""A store, opened by two small reads: of its root, and of the catalog that the root names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.errors import require_case
from ctspine_zarr.format.catalog import Entry, Root
from ctspine_zarr.format.label_map import AnyMap, Ignored, LabelMap
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.state import State, UpdateCheck, load
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.label_maps import label_map_of
from ctspine_zarr.read.select import Criteria, select, table
from ctspine_zarr.storage import DEFAULT_BYTES, Location, Storage, cached, open_storage

if TYPE_CHECKING:
    import pandas as pd
    import xarray


class Store(Mapping[str, Case]):
    """The cases of a store, or of a selection from it: a mapping of case id to `Case`.

    Everything but voxels and a case's attributes is known from root and catalog; no method here
    reads more, but where it says so.

    Attributes:
        storage: where the store is.
        root: the store's root: the dataset, counts, refused cases, provenance.
        entries: case id -> line of the catalog.
        reading: threads and caches.
    """

    def __init__(self, storage: Storage, root: Root, entries: Mapping[str, Entry], reading: Reading) -> None:
        self.storage = storage
        self.root = root
        self.entries = entries
        self.reading = reading
        self._cases: dict[str, Case] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Storage, Root, Mapping[str, Entry], Reading]]:
        # Caches are left out of a pickle: reading again is faster than sending.
        return Store, (self.storage, self.root, self.entries, self.reading)

    def __repr__(self) -> str:
        partial = ", partial" * self.is_partial
        return f"<Store {self.location}: {self.spec.name}, {len(self)} cases{partial}>"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, case: str) -> Case:
        """A case by id.

        Raises:
            UnknownCase: no such case here; the message names the nearest ones.
        """
        require_case(case, self.entries.keys(), self.location)
        # One Case an id: what it has read of its shards' indices is not read again.
        if case not in self._cases:
            self._cases[case] = Case(self.storage, self.entries[case], self.spec, self.reading)
        return self._cases[case]

    @property
    def location(self) -> str:
        """Where the store is."""
        return self.storage.location

    @property
    def spec(self) -> Spec:
        """The dataset's description: labels and their names, regions, splits, licence, citation."""
        return self.root.dataset

    @property
    def is_partial(self) -> bool:
        """Whether the first build has not ended: the cases are those that were whole when it was opened."""
        return self.root.is_partial

    @property
    def digest(self) -> str:
        """The seal of the root, 64 hex digits: who keeps it can prove every byte of the store by `verify`."""
        return self.root.seal

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """Case id -> what is known of it."""
        return {case: entry.record for case, entry in self.entries.items()}

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row a case, indexed by case id.

        Columns: split, source, patient_id; slices, rows, columns (voxels along z, y, x);
        spacing_z, spacing_y, spacing_x (mm); orientation (of the source image's axes); hu_min,
        hu_max (HU, over every voxel), hu_mean, hu_std (without padding), hu_padding (its value, or
        None); has_mask; labels (names, in order of value), label_voxels; transitional (kind or
        None); findings (codes); spreadsheet (rows of the dataset's spreadsheet); dtype, codec,
        stored_bytes, source_bytes, path.
        """
        return table(self.records.values())

    def select(self, **criteria: Unpack[Criteria]) -> Store:
        """The cases that fit every criterion, as a store of their own; may be empty.

        Raises:
            UnknownValue: a split, source or label that does not exist.
        """
        chosen = select(self.records.values(), self.spec, criteria)
        entries = {record.id: self.entries[record.id] for record in chosen}
        return Store(self.storage, self.root, entries, self.reading)

    def label_map(self, asked: AnyMap | Path, *, ignore: Ignored = ()) -> LabelMap:
        """A map of the dataset's labels to another numbering.

        Args:
            asked: `contiguous`, `regions`, `binary`, `verse`, `totalsegmentator`, a dictionary of labels or
                regions to values, or the path of a JSON file with one; see `LabelMap.of`.
            ignore: labels that become the highest value, `ignore`; or `rest`, those without a value.

        Raises:
            UnknownValue: a name, label or value that is not legal, or a label without a value.
        """
        return label_map_of(asked, self.spec, ignore)

    def to_datatree(self, **criteria: Unpack[Criteria]) -> xarray.DataTree:
        """`/split/source/case` -> `Case.to_xarray()`, lazily, for the cases that fit.

        Raises:
            UnknownValue: a split, source or label that does not exist.
        """
        import xarray

        chosen = self.select(**criteria)
        nodes = {f"{one.record.split}/{one.record.source}/{one.id}": one for one in chosen.values()}
        return xarray.DataTree.from_dict({path: case.to_xarray() for path, case in nodes.items()})


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
    for every slab of chunks that it touches, all of them at once; small masks come whole.

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
