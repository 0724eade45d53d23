"""A store, opened by one small read of its catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.shards import Reading
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, NotAStore, OtherFormat, require_case
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import About, Entry, decode_catalog
from ctspine_zarr.format.encoding import OWN_ATTRIBUTES, decode
from ctspine_zarr.format.record import Record
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.select import Criteria, select, table
from ctspine_zarr.storage import DEFAULT_BYTES, Location, Storage, cached, open_storage

if TYPE_CHECKING:
    import pandas as pd
    import xarray


class Store(Mapping[str, Case]):
    """The cases of a store, or of a selection from it: a mapping of case id to `Case`.

    Everything but voxels and a case's attributes is known from the catalog; no method here
    reads more.
    """

    def __init__(self, storage: Storage, records: Mapping[str, Record], reading: Reading) -> None:
        self.storage = storage
        self.records = records
        self.reading = reading
        self._cases: dict[str, Case] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Storage, Mapping[str, Record], Reading]]:
        # What was read so far stays behind: it is quicker read than sent.
        return Store, (self.storage, self.records, self.reading)

    def __repr__(self) -> str:
        return f"<Store {self.location}: {len(self)} cases>"

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __getitem__(self, case: str) -> Case:
        """A case by id.

        Raises:
            UnknownCase: no such case here; the message names the nearest ones.
        """
        require_case(case, self.records.keys(), self.location)
        # One Case an id: what it has read of its shards' indices is not read again.
        if case not in self._cases:
            self._cases[case] = Case(self.storage, self.records[case], self.reading)
        return self._cases[case]

    @property
    def location(self) -> str:
        """Where the store is."""
        return self.storage.location

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row a case, indexed by case id.

        Columns: split, source, patient_id; slices, rows, columns (voxels along z, y, x);
        spacing_z, spacing_y, spacing_x (mm); orientation (of the source image's axes); hu_min,
        hu_max, hu_mean (HU); labels (names, from C1 down), label_voxels; transitional (kind or
        None); findings (codes); spreadsheet (rows of the dataset's spreadsheet); dtype, codec,
        stored_bytes, source_bytes, path.
        """
        return table(self.records.values())

    @cached_property
    def about(self) -> About:
        """Counts, refused cases and provenance, from the root's attributes; one small read.

        Raises:
            DamagedStore: the root is missing or damaged.
        """
        return parse_about(self.storage, self.storage.get(layout.ROOT))

    def select(self, **criteria: Unpack[Criteria]) -> Store:
        """The cases that fit every criterion, as a store of their own; may be empty.

        Raises:
            UnknownValue: a split, source or label that does not exist.
        """
        chosen = select(self.records.values(), criteria)
        return Store(self.storage, {record.id: record for record in chosen}, self.reading)

    def to_datatree(self, **criteria: Unpack[Criteria]) -> xarray.DataTree:
        """`/split/source/case` -> `Case.to_xarray()`, lazily, for the cases that fit.

        Raises:
            UnknownValue: a split, source or label that does not exist.
        """
        import xarray

        chosen = self.select(**criteria)
        return xarray.DataTree.from_dict({case.record.path: case.to_xarray() for case in chosen.values()})


def open_store(
    location: Location,
    *,
    threads: int | None = None,
    cache_bytes: int = 0,
    storage_options: Mapping[str, Any] | None = None,
    disk_cache: str | Path | None = None,
    disk_cache_bytes: int = DEFAULT_BYTES,
) -> Store:
    """Open a store for reading: its catalog and the root that proves it, nothing more.

    Args:
        location: a local path, s3://, gs://, az://, http(s)://, hf://datasets/USER/NAME[@REVISION]/PATH,
            memory://, file:// or a zarr Store object.
        threads: that one read may use. By default every core this process may use, but 1 in
            a process that multiprocessing started, as a DataLoader's workers are.
        cache_bytes: memory for decoded chunks, so that walking a volume slice by slice decodes
            each once; none by default. 8 MB hold a slab of 512 x 512, its mask 4 MB more. Each
            process, and each copy by pickle, has a cache of its own.
        storage_options: for buckets `anonymous`, `endpoint`, `region` and all else that obstore's
            stores know; for them and web servers obstore's `client_options` and `retry_config`; for
            hf:// `token` and `endpoint`. What is not here comes from the environment, such as
            AWS_ACCESS_KEY_ID or HF_TOKEN. They go along where a store is pickled for a worker.
        disk_cache: a local folder that keeps what is read from elsewhere, for this process and all
            others, now and later; none by default.
        disk_cache_bytes: that the folder may take, and a twentieth more for each process that is
            writing; what was used least recently goes first.

    Elsewhere than on a local disk each read is one request for every array's index, once, and one
    for every slab of 16 slices that it touches, all of them at once; small masks come whole.

    Arrays whose codec this version does not know are read through zarr-python, whatever
    `threads`, `cache_bytes` and `disk_cache` say.

    Raises:
        NotAStore: there is no store, its build has not ended, or its format is another.
        DamagedStore: the catalog is not the one that the root has the sha256 of, or there is
            no root.
        StorageError: the location cannot be read.
        UnknownValue: a number of threads or bytes that is not legal.
    """
    cache = ArrayCache(cache_bytes)
    storage = open_storage(location, read_only=True, options=storage_options)
    catalog, root = storage.get_each([layout.CATALOG, layout.ROOT])
    entries = parse_catalog(storage, catalog)
    reading = Reading(threads, cache if cache_bytes else None, sha256(catalog or b""))
    if disk_cache is not None and storage.path is None:
        storage = cached(storage, Path(disk_cache), disk_cache_bytes, reading.catalog)
    store = Store(storage, {entry.record.id: entry.record for entry in entries}, reading)
    store.about = parse_about(storage, root)
    if store.about.catalog_sha256 != reading.catalog:
        message = (
            f"{store.location}: {layout.CATALOG} was altered: its sha256 is not that in {layout.ROOT}; "
            "run its build again"
        )
        raise DamagedStore(message)
    return store


def parse_about(storage: Storage, root: bytes | None) -> About:
    """What a store's root says.

    Raises:
        DamagedStore: the root is missing or damaged.
    """
    try:
        return decode(root, About.from_json, OWN_ATTRIBUTES)
    except (Malformed, OtherFormat) as error:
        message = f"{storage.location}: {layout.ROOT} is damaged ({error}); run the build again"
        raise DamagedStore(message) from error


def parse_catalog(storage: Storage, data: bytes | None) -> list[Entry]:
    """A store's catalog as its lines; not yet compared with the root.

    Raises:
        NotAStore: there is none, or it cannot be read.
        StorageError: the storage itself fails.
    """
    if data is None:
        raise NotAStore(_absence(storage))
    try:
        return decode_catalog(data)
    except (Malformed, OtherFormat) as error:
        message = f"{storage.location}: its catalog cannot be read ({error}); run its build again"
        raise NotAStore(message) from error


def _absence(storage: Storage) -> str:
    if storage.is_listable and storage.sizes(layout.RECEIPTS):
        return f"{storage.location} has receipts but no {layout.CATALOG}: run its build again to the end"
    return f"{storage.location} is no ctspine_zarr store: it has no {layout.CATALOG}"
