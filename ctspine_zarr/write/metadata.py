"""What is joined to the cases of a store: rows of a user's tables, lines of series; their voxels stay."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.datasets.metadata import MOST_BYTES, Joined, MetadataTable, read_table
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, SourceError, UnknownValue, require_known
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.record import Columns, Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.manifest.claims import Claim, claimed
from ctspine_zarr.manifest.state import State, load
from ctspine_zarr.storage import Location, Storage, open_storage
from ctspine_zarr.write.changes import Change, make_hold, read_documents, tidy
from ctspine_zarr.write.label_sets import WrittenCase

type Files = str | Path | Sequence[str | Path]

# Cases that come to hold together, whose documents are in memory: 60 kB each.
_AT_ONCE: Final = 256


@dataclass(frozen=True)
class MetadataAdded(Joined):
    """The result of joining a table to the cases of a store; as a text a line for a person.

    Attributes:
        name: of the table's file, under which the store has it.
        rows: case id -> column -> value, of the cases that have a row.
        unmatched_rows: keys of rows of no case.
        unmatched_cases: ids of the cases without a row.
        changed: of the cases whose documents were written: they had another row, or none, or lost theirs.
    """

    changed: tuple[str, ...]


def add_metadata(
    location: Location,
    files: Files,
    *,
    key: str | None = None,
    take_over: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[MetadataAdded, ...]:
    """Join tables of metadata to the cases of a store; no voxel is read or written.

    A table has its place by the name of its file: one of the same name replaces it, in all cases, and others
    stay. The list of series of CTSpine1K's authors is known by its form: its lines become the `series` of
    cases, and take those of no other case away. Cases come to hold 256 at a time. Interrupted at any moment,
    the store opens; run again, it completes. Whoever has opened the store before reads on, or one error says:
    updated, open again.

    Args:
        location: of the store.
        files: of one table or several: `.csv`, `.tsv` or `.xlsx`, as `read_table` says.
        key: the column that tells which case a row is of: `COLUMN=case` or `COLUMN=patient`.
        take_over: see `build_store`.
        storage_options: see `open_store`.

    Returns:
        What was joined and what was not, of each table.

    Raises:
        SourceError: a file that cannot be read, or is no such table, or one of whose rows none is of a case
            here; nothing was written.
        UnknownValue: a key that is no column; nothing was written.
        NotAStore, DamagedStore: there is no store, or a document of it is damaged.
        StoreMismatch: its first build has not ended.
        StoreInUse: another process writes to the store.
        StorageError: the store cannot be read or written.
    """
    tables = read_tables(files, key)
    return added_to(open_storage(location, options=storage_options), tables, take_over=take_over)


def remove_metadata(
    location: Location,
    name: str,
    *,
    take_over: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> MetadataAdded:
    """Take a table of metadata out of a store.

    Args:
        location, take_over, storage_options: as for `add_metadata`.
        name: of the file that it was added from, without its folder.

    Returns:
        The result, of whose `changed` are the cases that had a row.

    Raises:
        UnknownValue: no case has a row of such a table, and nobody was interrupted who took it out.
        Others: as `add_metadata`.
    """
    storage = open_storage(location, options=storage_options)
    state = load(storage)
    names = dict.fromkeys(sorted(name for one in state.records.values() for name in one.metadata))
    # Where something is left of work that was interrupted, it may have been this, which is then completed.
    if _is_tidy(storage, state):
        require_known("metadata", [name], names)
    return added_to(storage, [MetadataTable(name, "case", {})], take_over=take_over)[0]


def read_tables(files: Files, key: str | None) -> tuple[MetadataTable, ...]:
    """The tables of files; see `add_metadata`.

    Raises:
        SourceError: a file cannot be read, is no such table, or has the name of another.
        UnknownValue: a key that is no column.
    """
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(file) for file in files]
    tables = tuple(read_table(_bytes_of(path), path.name, key) for path in paths)
    if len({table.name for table in tables}) < len(tables):
        message = f"metadata {', '.join(map(str, paths))}; legal: files of different names"
        raise SourceError(message)
    return tables


def planned_tables(files: Files, key: str | None, *, is_part: bool) -> tuple[MetadataTable, ...]:
    """The tables of a plan, of which nobody but its one builder knows.

    Raises:
        SourceError: as `read_tables`.
        UnknownValue: tables for a part of a plan, or a key without a table, or one that is no column.
    """
    tables = read_tables(files, key)
    if tables and is_part:
        message = "metadata for a part of a plan; legal: once it is finalized, ctspine-zarr metadata"
        raise UnknownValue(message)
    if key is not None and not tables:
        message = f"metadata key {key!r} without metadata; legal: both"
        raise UnknownValue(message)
    return tables


def tables_of(records: Mapping[str, Record]) -> tuple[MetadataTable, ...]:
    """The tables that were joined to cases, as far as they have rows.

    Args:
        records: by case id.
    """
    names = sorted({name for record in records.values() for name in record.metadata})
    rows = {
        name: {case: one.metadata[name] for case, one in records.items() if name in one.metadata}
        for name in names
    }
    return tuple(MetadataTable(name, "case", rows[name]) for name in names)


def added_to(
    storage: Storage, tables: Sequence[MetadataTable], *, take_over: bool, is_planned: bool = False
) -> tuple[MetadataAdded, ...]:
    """As `add_metadata`, of a store by its storage, which can be written.

    Args:
        storage: of the store.
        tables: the tables.
        take_over: see `build_store`.
        is_planned: whether rows are known to be of cases that a plan has, if not all of them of the store.
    """
    state = load(storage)
    state.require_ended(storage.location)
    if not is_planned:
        for table in tables:
            joined_to(table, state.records).require_some(table)
    if not _changed(state, tables) and _is_tidy(storage, state):
        return tuple(_told(table, state, ()) for table in tables)
    claim = Claim.own(secrets.token_hex(32), f"to add metadata: {', '.join(table.name for table in tables)}")
    with claimed(storage, claim, take_over=take_over) as held:
        state = load(storage)
        changed = _changed(state, tables)
        for some in itertools.batched(state.entries, _AT_ONCE):
            named = [entry for entry in some if entry.record.id in changed]
            if named:
                cases = [_rewritten(storage, one, changed[one.record.id], state.spec) for one in named]
                make_hold([Change.to(case, state.spec) for case in cases], held)
        tidy(held)
    return tuple(_told(table, state, changed) for table in tables)


def joined_to(table: MetadataTable, records: Mapping[str, Record]) -> Joined:
    """A table beside the cases of a store."""
    return table.joined({case: record.patient_id for case, record in records.items()})


def _told(table: MetadataTable, state: State, changed: Collection[str]) -> MetadataAdded:
    found = joined_to(table, state.records)
    had = {case: state.records[case] for case in changed}
    own = tuple(case for case, record in had.items() if _differ(table.added_to(record), record))
    return MetadataAdded(found.name, found.rows, found.unmatched_rows, found.unmatched_cases, own)


def _is_tidy(storage: Storage, state: State) -> bool:
    """Whether nobody who was interrupted, or writes still, has left anything."""
    keys = storage.sizes()
    own = None if state.root.catalog is None else state.root.catalog.key
    return not any(layout.is_build(key) or (layout.is_catalog(key) and key != own) for key in keys)


def _changed(state: State, tables: Sequence[MetadataTable]) -> dict[str, Record]:
    """Case id -> the record to be, of each case to which something else is joined."""
    found = {}
    for case, record in state.records.items():
        new = record
        for table in tables:
            new = table.added_to(new)
        if _differ(new, record):
            found[case] = new
    return found


def _differ(one: Record, other: Record) -> bool:
    """Whether two records of a case differ in what is joined to them."""
    same = (one.series, one.metadata) == (other.series, other.metadata)
    return not same or _kinds(one.metadata) != _kinds(other.metadata)


def _kinds(metadata: Mapping[str, Columns]) -> list[tuple[str, str, type]]:
    # 1, 1.0 and True are equal, and are not the same.
    cells = ((name, column, cell) for name, row in metadata.items() for column, cell in row.items())
    return sorted((name, column, type(cell)) for name, column, cell in cells)


def _rewritten(storage: Storage, entry: Entry, new: Record, spec: Spec) -> WrittenCase:
    """A case as the catalog has it, but for what is joined to its record.

    Raises:
        DamagedStore: its documents are not those that the catalog proves.
    """
    record = entry.record
    try:
        written = read_documents(storage, record).held(entry, spec)
    # A ValueError where parts of the documents are of two states.
    except (Malformed, OtherFormat, ValueError) as error:
        message = f"case {record.id}: its documents are damaged ({error}); run verify, and repair"
        raise DamagedStore(message) from error
    return written.restored(new, spec)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        message = f"cannot read metadata {path}: {error.strerror or error}; legal: a file, of CSV or Excel"
        raise SourceError(message) from error
