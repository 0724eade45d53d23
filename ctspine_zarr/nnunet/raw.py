"""Raw datasets of nnU-Net 2 from a store, by pointers to its arrays or by NIfTI files.

It imports neither torch nor nnunetv2.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ctspine_zarr import nifti as files
from ctspine_zarr.arrays.conversion import looked_up
from ctspine_zarr.errors import StorageError, StoreMismatch, UnknownValue, integer
from ctspine_zarr.format.label_map import AnyMap
from ctspine_zarr.nnunet.files import read_json, write_json
from ctspine_zarr.nnunet.labels import Numbering
from ctspine_zarr.nnunet.pointers import Pointer, location_of
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.store import Fold, Store

DESCRIPTION: Final = "dataset.json"
SPLITS: Final = "splits_final.json"
OURS: Final = "ctspine_zarr"
"""Of dataset.json, what of it is not nnU-Net's: the store, and what else tells this dataset from others."""
PROVENANCE: Final = f"{OURS}.json"
POINTER_READER: Final = "CTSpineStoreIO"
NIFTI_READER: Final = "NibabelIOWithReorient"
_ENDING: Final = ".nii.gz"
_TRAINING: Final = ("train", "validation")
_MOST_ID: Final = 999


def write_raw(
    store: Store,
    folder: str | Path,
    *,
    id: int,  # noqa: A002 - as nnU-Net calls it
    name: str | None = None,
    label_map: AnyMap | Path = "contiguous",
    folds: int | None = None,
    nifti: bool = False,
    on_case: Callable[[str], None] | None = None,
) -> Path:
    """A raw dataset of nnU-Net 2, `folder/Dataset601_NAME`; returns its path.

    Its cases for training are those of train and validation that have a mask. `splits_final.json` has no
    case in whose group (`Store.groups`) another is on the fold's other side, or in the test split. Each
    file appears under its name when it is whole, `dataset.json` last: a run that was interrupted is
    completed by the same call, and what is there is kept.

    By pointers no voxel is written: small JSON files name the store, the case and its digest, and
    `preprocess` reads the store. By NIfTI, `imagesTr` has HU in the stored dtype and `labelsTr` uint8, both
    RAS+ with the affine of the case; cases of test come to `imagesTs`, and `labelsTs` where they have a mask.

    Args:
        store: the whole store, or a selection.
        folder: `nnUNet_raw`; made where it does not exist.
        id: 1 to 999, of no other dataset there.
        name: letters, digits, `_` and `-`; by default the store's dataset's.
        label_map: as for `Store.label_map`, or what it gave; values with gaps between them are numbered
            anew in their order, from 1 on, `ignore` last.
        folds: folds for cross-validation, 2 or more; by default one, the store's own train and validation.
        nifti: files instead of pointers.
        on_case: told of the id of each case once it is there.

    Raises:
        UnknownValue: no legal id, name, map or number of folds, or no case to train on.
        StoreMismatch: the folder holds something else, or another dataset there has the id.
        StorageError: a file cannot be written.
    """
    numbering = Numbering.of(store.label_map(label_map))
    raw = _Raw(store, _place(folder, id, name or _legal(store.spec.name)), numbering, is_nifti=nifti)
    splits = _splits(store, raw.training, folds)
    _claim(raw, splits)
    for case in raw.cases:
        raw.write(case)
        if on_case is not None:
            on_case(case.id)
    write_json(raw.place / SPLITS, splits)
    write_json(raw.place / DESCRIPTION, _description(raw, _provenance(raw, splits)))
    return raw.place


@dataclass(frozen=True)
class _Raw:
    """A raw dataset that is being written.

    Attributes:
        store: where the voxels are.
        place: the dataset's folder.
        numbering: of its labels.
        is_nifti: whether voxels are written.
    """

    store: Store
    place: Path
    numbering: Numbering
    is_nifti: bool

    @property
    def training(self) -> Store:
        """The cases to train on."""
        return _training(self.store)

    @property
    def cases(self) -> Iterator[Case]:
        """The cases to write, by id."""
        tests = [case.id for case in self.store.values() if self.is_nifti and case.record.split == "test"]
        for case in sorted({*self.training, *tests}):
            yield self.store[case]

    def write(self, case: Case) -> None:
        """Write the files of a case, but for those that are there."""
        if self.is_nifti:
            self._write_nifti(case)
        else:
            self._write_pointers(case)

    def _write_nifti(self, case: Case) -> None:
        folder = "Ts" if case.record.split == "test" else "Tr"
        _write_nifti(self.place / f"images{folder}" / f"{case.id}_0000{_ENDING}", case, None)
        if case.has_mask:
            _write_nifti(self.place / f"labels{folder}" / f"{case.id}{_ENDING}", case, self.numbering.table)

    def _write_pointers(self, case: Case) -> None:
        image, mask = pointer_paths(case.id)
        table = tuple(self.numbering.table)
        write_json(self.place / image, Pointer.to(self.store, case, "image").document)
        write_json(self.place / mask, Pointer.to(self.store, case, "segmentation", table).document)


def pointer_paths(case: str) -> tuple[str, str]:
    """The paths of the pointers to a case's image and mask, below the dataset's folder."""
    return f"pointers/{case}_0000.json", f"pointers/{case}.json"


def _training(store: Store) -> Store:
    chosen = [case for case, record in store.records.items() if record.split in _TRAINING and record.has_mask]
    if not chosen:
        message = f"no case of {' or '.join(_TRAINING)} with a mask in {store.location}; legal: one or more"
        raise UnknownValue(message)
    return store.select(cases=chosen)


def _place(folder: str | Path, number: int, name: str) -> Path:
    found = integer("id", number, 1, f" to {_MOST_ID}")
    if found > _MOST_ID:
        message = f"id {found}; legal: 1 to {_MOST_ID}"
        raise UnknownValue(message)
    if name != _legal(name):
        message = f"name {name!r}; legal: letters, digits, _ and -"
        raise UnknownValue(message)
    place = Path(folder) / f"Dataset{found:03}_{name}"
    for other in place.parent.glob(f"Dataset{found:03}_*"):
        if other.name != place.name:
            message = f"id {found} for {place.name}; {other} has it; legal: an id that is free"
            raise StoreMismatch(message)
    return place


def _legal(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "Spine"


def _splits(store: Store, training: Store, count: int | None) -> list[dict[str, list[str]]]:
    """What splits_final.json holds: of each fold the ids to train and to validate on."""
    if count is None:
        return [_fold(store.folds(by="split")[0], training)]
    tested = {one for group in store.groups if _is_tested(store, group) for one in group}
    apart = training.select(cases=[case for case in training if case not in tested])
    return [_fold(fold, training) for fold in apart.folds(count)]


def _is_tested(store: Store, group: tuple[str, ...]) -> bool:
    return any(store.records[case].split not in _TRAINING for case in group)


def _fold(fold: Fold, training: Store) -> dict[str, list[str]]:
    sides = {"train": fold.train, "val": fold.validation}
    return {side: sorted(case for case in cases if case in training) for side, cases in sides.items()}


def _claim(raw: _Raw, splits: object) -> None:
    """Note in the folder what is written there, before anything else is.

    Raises:
        StoreMismatch: it holds something else.
    """
    path = raw.place / PROVENANCE
    asked = _provenance(raw, splits)
    if not path.exists():
        if raw.place.exists() and any(raw.place.iterdir()):
            message = f"{raw.place} holds something else than a raw dataset of a store; legal: another folder"
            raise StoreMismatch(message)
        write_json(path, asked)
        return
    _require_same(raw.place, read_json(path), asked)


def _require_same(place: Path, seen: Any, asked: Mapping[str, Any]) -> None:
    held = seen if isinstance(seen, Mapping) else {}
    other = [key for key, value in asked.items() if held.get(key) != value]
    if other:
        message = (
            f"{place} was written with other {', '.join(other)}; asked: "
            f"{', '.join(f'{key} {_short(asked[key])}' for key in other)}; seen: "
            f"{', '.join(f'{key} {_short(held.get(key))}' for key in other)}; legal: another id or folder"
        )
        raise StoreMismatch(message)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _provenance(raw: _Raw, splits: object) -> dict[str, Any]:
    """What tells one raw dataset from another; of files, not where the store lies."""
    cases = "\n".join(case.id for case in raw.cases)
    where = {} if raw.is_nifti else {"store": location_of(raw.store)}
    chosen = {} if raw.store.label_set is None else {"label_set": raw.store.label_set}
    return (
        where
        | chosen
        | {
            "form": "nifti" if raw.is_nifti else "pointers",
            "store_digest": raw.store.digest,
            "cases": hashlib.sha256(cases.encode()).hexdigest(),
            "labels": raw.numbering.labels,
            "table": raw.numbering.table.hex(),
            "splits": hashlib.sha256(json.dumps(splits).encode()).hexdigest(),
        }
    )


def _description(raw: _Raw, provenance: Mapping[str, Any]) -> dict[str, Any]:
    spec = raw.store.spec
    training = raw.training
    return {
        "channel_names": {"0": "CT"},
        "labels": raw.numbering.labels,
        "numTraining": len(training),
        "file_ending": _ENDING,
        "overwrite_image_reader_writer": NIFTI_READER if raw.is_nifti else POINTER_READER,
        "name": spec.name,
        "description": spec.title,
        "licence": spec.licence,
        "reference": spec.citation,
        OURS: provenance,
    } | ({} if raw.is_nifti else {"dataset": {case: _listed(case) for case in sorted(training)}})


def _listed(case: str) -> dict[str, Any]:
    image, mask = pointer_paths(case)
    return {"images": [image], "label": mask}


def _write_nifti(path: Path, case: Case, table: bytes | None) -> None:
    """Write an array of a case, or its mask by a table, in RAS+; one that is there is kept."""
    if path.exists():
        return
    voxels = case.voxels("image" if table is None else "segmentation")[...]
    stored = voxels if table is None else looked_up(voxels, table)
    try:
        files.write(path, [files.encode(stored.transpose(), case.affine)])
    except MemoryError as error:
        message = f"cannot write {path}: out of memory"
        raise StorageError(message) from error
