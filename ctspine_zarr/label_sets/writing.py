"""Label sets of a store written and taken out: case by case, then a state that has them, by one switch.

Voxels go to keys that no state names; then `write.changes` makes a state of it hold.
"""

from __future__ import annotations

from typing import Final

from ctspine_zarr.errors import CaseRefused, Malformed, OtherFormat
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.changes import read_documents
from ctspine_zarr.write.label_sets import EncodedSet, WrittenCase

AT_ONCE: Final = 32
"""Cases that come to hold together: what an interruption loses, and whose documents are in memory."""


def read_case(storage: Storage, entry: Entry, spec: Spec, name: str) -> WrittenCase:
    """A case as the catalog has it, from its documents.

    Label sets that somebody began to write and did not bring to hold are left out. Only of the set of that
    name, where it was being replaced, they may be ahead of the catalog.

    Raises:
        CaseRefused: they are damaged.
        StorageError: they cannot be read.
    """
    record = entry.record
    try:
        seen = read_documents(storage, record)
        return seen if name in record.sets and seen.is_ahead(entry, name) else seen.held(entry, spec)
    # A ValueError where what was begun is another set's removal: parts of the receipt are of two states.
    except (Malformed, OtherFormat, ValueError) as error:
        message = (
            f"case {record.id}: its documents are damaged, or were being replaced ({error}); legal: to do "
            "again what was interrupted, or verify"
        )
        raise CaseRefused(message) from error


def put_voxels(storage: Storage, path: str, name: str, encoded: EncodedSet) -> None:
    """Write the array of a label set, which no state names yet.

    Args:
        storage: of the store.
        path: of the case's group.
        name: of the label set.
        encoded: the label set.

    Raises:
        StorageError: the store cannot be written.
    """
    array = f"{path}/{layout.mask_path(name, encoded.array.stored.tag)}"
    if encoded.array.shard:
        storage.put(f"{array}/{layout.SHARD}", encoded.array.shard)
    storage.put(f"{array}/{layout.METADATA}", encode(encoded.array.metadata))
