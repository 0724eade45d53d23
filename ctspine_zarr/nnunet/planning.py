"""nnU-Net's fingerprint and plan of a raw dataset, made by its own code where they are not there yet."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ctspine_zarr.errors import MissingDependency, StoreMismatch, UnknownValue, require_known
from ctspine_zarr.nnunet.files import read_json, write_json
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.nnunet.raw import DESCRIPTION, NIFTI_READER, OURS, POINTER_READER, SPLITS
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.foreground import ct_normalization
from ctspine_zarr.read.store import Store

try:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

from ctspine_zarr.nnunet.reader import register

type FingerprintBy = Literal["nnunet", "catalog"]

FINGERPRINT: Final = "dataset_fingerprint.json"
PLANS: Final = "nnUNetPlans"
_READER_KEYS: Final = {DESCRIPTION: "overwrite_image_reader_writer", f"{PLANS}.json": "image_reader_writer"}


def plan(
    raw: str | Path, preprocessed: str | Path, *, fingerprint: FingerprintBy = "nnunet", workers: int = 2
) -> Path:
    """The folder of a dataset below `nnUNet_preprocessed`, with its fingerprint and its plan.

    Both are nnU-Net's own, made from the raw dataset in place; what is there is kept. `nnUNetPlans.json`
    and `dataset.json` name nnU-Net's reader of NIfTI, which is all that its processes need from here on.

    Args:
        raw: a raw dataset, as `write_raw` gives it.
        preprocessed: `nnUNet_preprocessed`; made where it does not exist.
        fingerprint: `nnunet` by nnU-Net's extractor, which reads every voxel; `catalog` from what the build
            counted, in seconds: mean and deviation are those of all labelled voxels, percentiles within
            2 HU, sizes those of whole volumes. Of pointers alone.
        workers: processes of nnU-Net's extractor.

    Raises:
        UnknownValue: another `fingerprint`, or one by the catalog of what is none of pointers.
        StoreMismatch: the plan that is there is of another raw dataset.
        StorageError: there is no raw dataset, or a file cannot be written.
    """
    require_known("fingerprint", [fingerprint], ("nnunet", "catalog"))
    source = Path(raw).absolute()
    target = Path(preprocessed).absolute() / source.name
    description = read_json(source / DESCRIPTION)
    if (target / f"{PLANS}.json").exists():
        _require_same(source, description, target)
    else:
        _make(source, target, description, fingerprint, workers)
    return target


def _require_same(source: Path, asked: Mapping[str, Any], target: Path) -> None:
    seen = read_json(target / DESCRIPTION)
    other = [key for key in ("labels", "numTraining", OURS) if seen.get(key) != asked.get(key)]
    if other:
        message = (
            f"{target} was planned of another raw dataset than {source}, with other {', '.join(other)}; "
            "legal: another id, or another folder of preprocessed datasets"
        )
        raise StoreMismatch(message)


def files_of(raw: Path) -> dict[str, tuple[str, str]]:
    """Case -> the files of its image and mask, in order of cases.

    Raises:
        StorageError: there is no raw dataset.
    """
    listed = read_json(raw / DESCRIPTION).get("dataset")
    if listed is not None:
        return {
            case: (str(raw / of["images"][0]), str(raw / of["label"])) for case, of in sorted(listed.items())
        }
    ending = "_0000.nii.gz"
    images = sorted((raw / "imagesTr").glob(f"*{ending}"))
    cases = {path.name.removesuffix(ending): str(path) for path in images}
    return {case: (path, str(raw / "labelsTr" / f"{case}.nii.gz")) for case, path in sorted(cases.items())}


def _make(
    source: Path, target: Path, description: Mapping[str, Any], fingerprint: FingerprintBy, workers: int
) -> None:
    """Make fingerprint and plan in a folder aside, and put them in place, the plan last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".ctspine_zarr-") as aside:
        place = Path(aside) / source.name
        place.mkdir()
        if (target / FINGERPRINT).exists():
            shutil.copy(target / FINGERPRINT, place)
        elif fingerprint == "catalog":
            write_json(place / FINGERPRINT, _by_catalog(source, description))
        with _folders(source.parent, Path(aside)):
            register()
            DatasetFingerprintExtractor(source.name, workers).run()
            # It may have taken hours.
            _put(place / FINGERPRINT, target / FINGERPRINT)
            ExperimentPlanner(source.name).plan_experiment()
        for name, key in _READER_KEYS.items():
            write_json(place / name, read_json(place / name) | {key: NIFTI_READER})
        for name in (SPLITS, DESCRIPTION, f"{PLANS}.json"):
            if (place / name).exists():
                _put(place / name, target / name)


def _put(path: Path, target: Path) -> None:
    with whole_file(target) as file:
        file.write(path.read_bytes())


@contextlib.contextmanager
def _folders(raw: Path, preprocessed: Path) -> Iterator[None]:
    """nnU-Net finds its folders by the environment, and only them."""
    asked = {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(preprocessed)}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _by_catalog(source: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """A fingerprint without a voxel read."""
    if description.get("overwrite_image_reader_writer") != POINTER_READER:
        message = f"fingerprint catalog of {source}, which has no pointers; legal: nnunet"
        raise UnknownValue(message)
    pointers = [Pointer.require(mask) for _, mask in files_of(source).values()]
    cases = [pointer.open() for pointer in pointers]
    _require_all_foreground(pointers[0], cases)
    figures = _figures(pointers[0].open_store().select(cases=[case.id for case in cases]))
    return {
        "spacings": [[float(np.float32(mm)) for mm in case.spacing] for case in cases],
        "shapes_after_crop": [list(case.shape) for case in cases],
        "foreground_intensity_properties_per_channel": {"0": figures},
        "median_relative_size_after_cropping": 1.0,
    }


def _figures(store: Store) -> dict[str, float]:
    """The HU of labelled voxels; median, least and greatest, by which nnU-Net changes no CT, are rough."""
    ct = ct_normalization(store)
    records = store.records.values()
    return {
        "mean": ct.mean,
        "median": statistics.median(label.hu.p50 for record in records for label in record.labels),
        "std": ct.std,
        "min": min(record.intensity.min for record in records),
        "max": max(record.intensity.max for record in records),
        "percentile_99_5": ct.high,
        "percentile_00_5": ct.low,
    }


def _require_all_foreground(pointer: Pointer, cases: list[Case]) -> None:
    lost = {label.name for case in cases for label in case.record.labels if not pointer.table[label.label]}
    if lost:
        message = (
            f"fingerprint catalog of a map in which {', '.join(sorted(lost))} become background; "
            "legal: nnunet"
        )
        raise UnknownValue(message)
