"""The checks of one case: its receipt, every object, every voxel."""

from __future__ import annotations

from collections.abc import Iterator

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.digest import VoxelDigest, sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat, StorageError
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import Entry, require_dataset
from ctspine_zarr.format.label_sets import with_mask
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, Receipt, decode_receipt
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.maintain.metadata import differences
from ctspine_zarr.maintain.reports import require_here
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.original import kept_header
from ctspine_zarr.read.proof import require_object
from ctspine_zarr.read.sample import Name
from ctspine_zarr.storage import Storage


def case_problems(entry: Entry, storage: Storage, spec: Spec) -> tuple[str, ...]:
    """Lines on all that is wrong with a case; every byte and voxel of it is read.

    Args:
        entry: its line of the catalog.
        storage: of the store.
        spec: of its dataset.

    Raises:
        StorageError: a store elsewhere than in a folder cannot be read.
    """
    try:
        return tuple(_problems(entry, storage, spec))
    except (DamagedStore, StorageError) as error:
        require_here(storage, error)
        return (str(error),)


def judged(data: bytes | None, entry: Entry, spec: Spec) -> tuple[Receipt | None, tuple[str, ...]]:
    """A receipt as it lies in a store, and what is wrong with it.

    Args:
        data: the object; None where there is none.
        entry: the case's line of the catalog.
        spec: of the dataset.

    Returns:
        None in place of a receipt that says nothing of the case's objects.
    """
    try:
        receipt = decode_receipt(data, entry.record.receipt_key)
    except (Malformed, OtherFormat) as error:
        return None, (f"its receipt is damaged ({error})",)
    problems = tuple(_disagreements(receipt, sha256(data or b""), entry, spec))
    is_of_case = receipt.record == entry.record and receipt.group.sha256 == entry.group
    if not is_of_case:
        return None, (*problems, "its line of the catalog differs from its receipt")
    return receipt, problems


def _disagreements(receipt: Receipt, digest: str, entry: Entry, spec: Spec) -> Iterator[str]:
    if digest != entry.receipt:
        yield "its receipt was altered: its sha256 is not that in the catalog"
    try:
        require_dataset(receipt, spec)
    except Malformed as error:
        yield f"its receipt does not hold: {error}"


def named(receipt: Receipt, key: str, error: Malformed) -> str:
    """The line on an object of a case that is not what was written."""
    return f"{key.removeprefix(receipt.record.path + '/')} {error}"


def _problems(entry: Entry, storage: Storage, spec: Spec) -> Iterator[str]:
    data = storage.get(entry.record.receipt_key, most=MOST_DOCUMENT_BYTES)
    receipt, problems = judged(data, entry, spec)
    yield from problems
    if receipt is not None:
        damaged = list(_damaged_objects(receipt, storage))
        yield from damaged or _damaged_content(entry, receipt, storage, spec)


def _damaged_objects(receipt: Receipt, storage: Storage) -> Iterator[str]:
    for key, written in receipt.keys.items():
        try:
            require_object(storage, key, written)
        except Malformed as error:
            yield named(receipt, key, error)


def _damaged_content(entry: Entry, receipt: Receipt, storage: Storage, spec: Spec) -> Iterator[str]:
    """Facts and voxels that are not those of the receipt."""
    case = Case(storage, entry, spec, Reading())
    facts = case.facts
    if (facts.record, facts.voxels) != (receipt.record, receipt.voxels):
        yield f"{layout.METADATA} says other things of the case than its receipt"
    for name in case.names:
        yield from _damaged_array(case, name, receipt, storage)
    for other in entry.record.sets:
        with_set = Case(storage, entry.with_labels(other), with_mask(spec, other), Reading())
        for line in _damaged_array(with_set, "segmentation", receipt, storage):
            yield f"label set {other}: {line}"


def _damaged_array(case: Case, name: Name, receipt: Receipt, storage: Storage) -> Iterator[str]:
    yield from differences(case, name, storage)
    try:
        kept_header(case.nifti_source(name), case.record, name)
    except DamagedStore as error:
        yield str(error)
    expected = receipt.voxels.image if name == "image" else receipt.voxels.mask(case.spec.mask)
    if _voxels_digest(case.voxels(name)) != expected:
        yield f"the {name} decodes to other voxels than went in"


def _voxels_digest(voxels: Voxels) -> str:
    digest = VoxelDigest()
    thickness = voxels.chunk[0]
    for start in range(0, voxels.shape[0], thickness):
        digest.update(voxels[start : start + thickness])
    return digest.hexdigest()
