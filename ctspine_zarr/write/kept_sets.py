"""Label sets of a case that is built again: kept where its image is the same, else dropped."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from ctspine_zarr.errors import Malformed, OtherFormat
from ctspine_zarr.format import layout
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, StoredObject, encode_receipt
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.storage import Storage
from ctspine_zarr.write.label_sets import WrittenCase

type Objects = Mapping[str, bytes | bytearray | memoryview]


def with_kept_sets(
    objects: Objects, receipt: Receipt, earlier: Record, storage: Storage, spec: Spec
) -> tuple[Objects, Receipt]:
    """The objects and the receipt of a case with the label sets that the store has of it.

    Without them where the earlier case has another image, or is damaged: what is not proven to be labels of
    this image is wrong.

    Args:
        objects: of the case, by key below its group.
        receipt: of the case.
        earlier: record of the case of that id which the store has.
        storage: of the store.
        spec: of its dataset.

    Raises:
        StorageError: the store cannot be read.
    """
    try:
        old = _written(storage, earlier)
        new = WrittenCase.of(encode_receipt(receipt), bytes(objects[layout.METADATA]), receipt.record)
        if not new.has_image_of(old):
            return objects, receipt
        kept = new.with_sets_of(old, spec)
        arrays = _arrays(storage, old, spec)
    except (Malformed, OtherFormat):
        return objects, receipt
    shards = {key: data for key, data in objects.items() if key.endswith(layout.SHARD)}
    return {**shards, **arrays, **kept.documents(spec)}, kept.receipt


def _written(storage: Storage, record: Record) -> WrittenCase:
    keys = [record.receipt_key, f"{record.path}/{layout.METADATA}"]
    receipt, group = storage.get_each(keys, most=MOST_DOCUMENT_BYTES)
    found = WrittenCase.of(receipt, group, record)
    # Of what is joined they may be ahead, where that was interrupted: labels of the image they are still.
    three = (found.receipt.record, found.facts.record, record)
    seen = [structs.replace(one, series=(), metadata={}) for one in three]
    if seen[0] != seen[2] or seen[1] != seen[2]:
        message = "its documents are ahead of the catalog"
        raise Malformed(message)
    return found


def _arrays(storage: Storage, case: WrittenCase, spec: Spec) -> dict[str, bytes]:
    """Key below the group -> shard, of each label set."""
    record = case.facts.record
    found = {}
    for name, array in record.masks(spec.mask).items():
        key = f"{layout.mask_path(name, array.tag)}/{layout.SHARD}"
        if name in record.sets and array.bytes:
            data = storage.get(f"{record.path}/{key}")
            if data is None or StoredObject.of(data) != case.receipt.objects[key]:
                message = f"{key} is lost or altered"
                raise Malformed(message)
            found[key] = data
    return found
