"""The tables of a store that is repaired."""

from __future__ import annotations

from contextlib import suppress

from msgspec import structs

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.catalog import decode_root, encode_root
from ctspine_zarr.format.receipt import StoredObject
from ctspine_zarr.maintain.above import has_root, wrong_tables
from ctspine_zarr.maintain.mending import FromSource, FromStore, Supply
from ctspine_zarr.manifest.state import State
from ctspine_zarr.read.proof import proven_object
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.tables import made_tables


def with_tables(state: State, storage: Storage, supply: Supply) -> State:
    """The state to be, whose root names tables where it was lost and had to be made anew.

    Args:
        state: of the store, its cases mended.
        storage: of the store.
        supply: what it is mended from.

    Raises:
        StorageError: receipts cannot be read.
    """
    is_here = bool(state.root.tables) or has_root(storage, state.root)
    if is_here or not isinstance(supply, FromSource):
        return state
    made = made_tables(storage, state.entries, state.spec)
    tables = {key: StoredObject.of(data) for key, data in made.items()}
    return State(decode_root(encode_root(structs.replace(state.root, tables=tables))), state.entries)


def mended_tables(state: State, storage: Storage, supply: Supply) -> dict[str, bytes]:
    """Key -> bytes of each table that is wrong here, as the root has it: made again, or another store's.

    One that another version of the library wrote, and no other store has, is left out.

    Args: as for `with_tables`.

    Raises:
        StorageError: receipts, or the other store, cannot be read.
    """
    wrong = set(wrong_tables(state.root, storage))
    if not wrong:
        return {}
    written, made = state.root.tables, made_tables(storage, state.entries, state.spec)
    found = {
        key: data for key, data in made.items() if key in wrong and StoredObject.of(data) == written[key]
    }
    if isinstance(supply, FromStore):
        for key in sorted(wrong - found.keys()):
            with suppress(Malformed):
                found[key] = bytes(proven_object(supply.storage, key, written[key]))
    return found
