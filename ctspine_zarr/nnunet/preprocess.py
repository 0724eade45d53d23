"""nnU-Net's preprocessing of a raw dataset, case by case by its own code: resumable, and in parts."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.errors import (
    CtspineError,
    MissingDependency,
    StorageError,
    UnknownValue,
    integer,
    require_known,
)
from ctspine_zarr.nnunet.files import read_json, write_json
from ctspine_zarr.nnunet.planning import PLANS, FingerprintBy, files_of, plan
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.nnunet.raw import DESCRIPTION
from ctspine_zarr.nnunet.reader import CTSpineStoreIO

try:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

from ctspine_zarr.nnunet.direct import DIRECT, ENDING, write_direct

GROUND_TRUTH: Final = "gt_segmentations"
_RECEIPTS: Final = "receipts"
_PARTIAL: Final = ".partial"
_OF_BLOSC: Final = (".b2nd", "_seg.b2nd", ".pkl")
_OF_DIRECT: Final = (f".{ENDING}", ".pkl")
NO_RESAMPLING: Final[Mapping[str, Any]] = {
    key: value
    for what in ("data", "seg", "probabilities")
    for key, value in (
        (f"resampling_fn_{what}", "no_resampling_hack"),
        (f"resampling_fn_{what}_kwargs", {}),
    )
}


def preprocess(
    raw: str | Path,
    preprocessed: str | Path,
    *,
    configuration: str = "3d_fullres",
    part: tuple[int, int] = (1, 1),
    direct: bool = False,
    fingerprint: FingerprintBy = "nnunet",
    workers: int = 2,
    on_case: Callable[[str], None] | None = None,
) -> Path:
    """The folder of preprocessed cases of a raw dataset, as nnU-Net's own preprocessor makes it.

    Fingerprint and plan are made first, as by `plan`, where they are not there. Each case has a receipt,
    written when its files are whole: a case whose receipt names what its pointer and the plan are now is
    kept, so that a run that was interrupted is completed by the same call. `gt_segmentations` has its mask
    as NIfTI on the source's grid. Cases are worked on one by one, in this process.

    Voxels are those of nnU-Net's preprocessing of the same cases as NIfTI, value for value. From here on
    `nnUNetv2_train`, `nnUNetv2_predict` and all others work as they are.

    Args:
        raw, preprocessed, fingerprint, workers: as for `plan`.
        configuration: of the plan.
        part: (number, count): every count-th case, from that number on, counted from 1; of several
            parts none makes the plan.
        direct: no voxels are written: a configuration `<configuration>_direct` is added to the plan, whose
            cases `CTSpineTrainer` reads from the store, each at its own spacing. Of pointers alone.
        on_case: told of the id of each case once it is there.

    Raises:
        UnknownValue: no such configuration or part; a part before there is a plan.
        StoreMismatch: the plan that is there is of another raw dataset.
        StoreUpdated: a case of the store holds something else than when the pointers were made.
        StorageError: there is no raw dataset, or a file cannot be written.
    """
    number, count = _legal(part)
    place = Path(preprocessed).absolute() / Path(raw).absolute().name
    if count > 1 and not (place / f"{PLANS}.json").exists():
        message = f"part {number}/{count} of {place.name}, which has no plan yet; legal: once it is planned"
        raise UnknownValue(message)
    plan(raw, preprocessed, fingerprint=fingerprint, workers=workers)
    work = _Work.of(place, configuration, is_direct=direct)
    for case, (image, mask) in list(files_of(Path(raw).absolute()).items())[number - 1 :: count]:
        work.do(case, image, mask)
        if on_case is not None:
            on_case(case)
    return work.target


def _legal(part: tuple[int, int]) -> tuple[int, int]:
    count = integer("count of parts", part[1], 1)
    number = integer("part", part[0], 1, f" to {count}")
    if number > count:
        message = f"part {number} of {count}; legal: 1/{count} to {count}/{count}"
        raise UnknownValue(message)
    return number, count


@dataclass(frozen=True)
class _Work:
    """What is to become of each case.

    Attributes:
        place: the dataset's folder.
        configuration: its name.
        is_direct: whether the voxels stay in the store.
    """

    place: Path
    configuration: str
    is_direct: bool

    @classmethod
    def of(cls, place: Path, configuration: str, *, is_direct: bool) -> _Work:
        """The work of a configuration of the plan; a direct one is added to the plan."""
        document = read_json(place / f"{PLANS}.json")
        known = document["configurations"]
        require_known("configuration", [configuration], known)
        if not is_direct:
            return cls(place, configuration, is_direct)
        name = f"{configuration}{DIRECT}"
        identifier = f"{PlansManager(document).get_configuration(configuration).data_identifier}{DIRECT}"
        added = {"inherits_from": configuration, "data_identifier": identifier, **NO_RESAMPLING}
        write_json(place / f"{PLANS}.json", document | {"configurations": known | {name: added}})
        return cls(place, name, is_direct)

    @cached_property
    def plans(self) -> Any:
        """The plan."""
        return PlansManager(str(self.place / f"{PLANS}.json"))

    @cached_property
    def settings(self) -> Any:
        """The configuration."""
        return self.plans.get_configuration(self.configuration)

    @cached_property
    def description(self) -> Any:
        """What dataset.json holds."""
        return read_json(self.place / DESCRIPTION)

    @property
    def target(self) -> Path:
        """The folder of the configuration's cases."""
        return self.place / str(self.settings.data_identifier)

    @cached_property
    def digest(self) -> str:
        """Of all that decides what becomes of a case, beside the case."""
        plans = {key: value for key, value in self.plans.plans.items() if key != "configurations"}
        return hashlib.sha256(repr((plans, self.settings.configuration)).encode()).hexdigest()

    def do(self, case: str, image: str, mask: str) -> None:
        """Make the files of a case, unless they are whole."""
        receipt = self.target / _RECEIPTS / f"{case}.json"
        source = {"case": case, "source": [_identity(image), _identity(mask)], "plan": self.digest}
        if _is_whole(receipt, source, self.target):
            return
        try:
            receipt.unlink(missing_ok=True)
            sizes = self._written(case, image, mask)
        except CtspineError:
            raise
        except OSError as error:
            message = f"cannot write {case} to {self.target}: {error.strerror or error}"
            raise StorageError(message) from error
        write_json(receipt, source | {"files": sizes})

    def _written(self, case: str, image: str, mask: str) -> dict[str, int]:
        """The sizes of a case's files, once they have their names."""
        names = [f"{case}{ending}" for ending in (_OF_DIRECT if self.is_direct else _OF_BLOSC)]
        (self.target / _PARTIAL).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.target / _PARTIAL) as aside:
            self._make(Path(aside) / case, image, mask)
            for name in names:
                (Path(aside) / name).replace(self.target / name)
            self._write_truth(Path(aside), case, mask)
        return {name: (self.target / name).stat().st_size for name in names}

    def _make(self, stem: Path, image: str, mask: str) -> None:
        if self.is_direct:
            write_direct(stem, image, mask, self.plans, self.description)
            return
        reader = CTSpineStoreIO()
        voxels, properties = reader.read_images([image])
        labels, _ = reader.read_seg(mask)
        data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
            voxels, labels, properties, self.plans, self.settings, self.description
        )
        _save(stem, data, seg, properties, tuple(self.settings.patch_size))

    def _write_truth(self, aside: Path, case: str, mask: str) -> None:
        name = f"{case}{self.description['file_ending']}"
        (self.place / GROUND_TRUTH).mkdir(exist_ok=True)
        reader = CTSpineStoreIO()
        labels, properties = reader.read_seg(mask)
        reader.write_seg(labels[0], str(aside / name), properties)
        (aside / name).replace(self.place / GROUND_TRUTH / name)


def _save(stem: Path, data: Any, seg: Any, properties: Any, patch: tuple[int, ...]) -> None:
    """Write a case as nnU-Net's preprocessor does."""
    data, seg = data.astype("float32", copy=False), seg.astype("int16", copy=False)
    blocks, chunks = comp_blosc2_params(data.shape, patch, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, patch, seg.itemsize)
    nnUNetDatasetBlosc2.save_case(
        data,
        seg,
        properties,
        str(stem),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
    )


def _identity(path: str) -> object:
    """What tells whether a file of the raw dataset is still what it was."""
    pointer = Pointer.read(path)
    if pointer is not None:
        # So that no part goes on with what the store no longer holds.
        pointer.open()
        return [pointer.content, hashlib.sha256(bytes(pointer.table)).hexdigest()]
    found = Path(path).stat()
    return [found.st_size, found.st_mtime_ns]


def _is_whole(receipt: Path, source: Mapping[str, Any], target: Path) -> bool:
    try:
        document = read_json(receipt)
        files: Mapping[str, int] = document.pop("files")
        sizes = [(target / name).stat().st_size for name in files]
    except (CtspineError, OSError, AttributeError, KeyError):
        return False
    return bool(document == dict(source) and sizes == list(files.values()))
