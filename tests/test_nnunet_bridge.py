"""nnU-Net itself over a store: by pointers, by NIfTI, and read from the store as it is trained on."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

import ctspine_zarr as cz
from ctspine_zarr.cli import main, talk
from ctspine_zarr.datasets.phantom import write_phantom
from ctspine_zarr.errors import OutOfBounds, StoreMismatch, StoreUpdated, UnknownValue
from ctspine_zarr.nnunet.raw import write_raw

pytest.importorskip("nnunetv2", reason="needs the extra nnunet")
import blosc2
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from ctspine_zarr.nnunet import planning, preprocess, reader, trainer
from ctspine_zarr.nnunet.dataset import PreprocessedArray, StoreDataset

# nnU-Net forks where there are threads, and its libraries use what others deprecate.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

PATCH = [16, 32, 32]
NETWORK = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 16],
    "kernel_sizes": [[3, 3, 3]] * 3,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
}
SHORT = """
import torch
from ctspine_zarr.nnunet.trainer import CTSpineTrainer

class ShortTrainer(CTSpineTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 2, 1
"""


@dataclass(frozen=True)
class Place:
    """The folders of nnU-Net, and what was put there."""

    store: cz.Store
    root: Path
    pointers: Path
    nifti: Path

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed"

    def plans(self, raw: Path) -> Any:
        return json.loads((self.preprocessed / raw.name / "nnUNetPlans.json").read_text())


def tiny(path: Path) -> None:
    """Add a small network to a plan: one that resamples, and one that does not."""
    plans = json.loads(path.read_text())
    small = deepcopy(plans["configurations"]["3d_fullres"]) | {"patch_size": PATCH}
    small["data_identifier"] = "nnUNetPlans_tiny"
    small["architecture"]["arch_kwargs"] |= NETWORK
    own = small | preprocess.NO_RESAMPLING | {"data_identifier": "nnUNetPlans_own"}
    plans["configurations"] |= {"tiny": small, "own": own}
    path.write_text(json.dumps(plans))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("nnunet")
    source = write_phantom(root / "phantom", rows=48)
    cz.build_store(cz.plan_build(source, root / "spine.zarr"))
    store = cz.open_store(root / "spine.zarr")
    pointers = write_raw(store, root / "raw", id=601, name="Pointers", label_map="regions")
    nifti = write_raw(store, root / "raw", id=602, name="Nifti", label_map="regions", nifti=True)
    found = Place(store, root, pointers, nifti)
    (root / "trainers").mkdir()
    (root / "trainers" / "short.py").write_text(SHORT)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{name}", str(root / name))
        patch.setenv("nnUNet_extTrainer", str(root / "trainers"))
        for name, value in (("n_proc_DA", "2"), ("compile", "f"), ("def_n_proc", "1")):
            patch.setenv(f"nnUNet_{name}", value)
        for raw in (pointers, nifti):
            tiny(planning.plan(raw, found.preprocessed) / "nnUNetPlans.json")
            for configuration in ("tiny", "own"):
                preprocess.preprocess(raw, found.preprocessed, configuration=configuration)
        preprocess.preprocess(pointers, found.preprocessed, configuration="own", direct=True)
        yield found


def test_pointers_and_nifti_are_planned_alike(place: Place) -> None:
    one, other = (
        json.loads((place.preprocessed / raw.name / "dataset_fingerprint.json").read_text())
        for raw in (place.pointers, place.nifti)
    )
    assert one == other
    one, other = (place.plans(raw) for raw in (place.pointers, place.nifti))
    assert one.pop("dataset_name") != other.pop("dataset_name")
    del one["configurations"]["own_direct"]
    assert one == other
    assert one["image_reader_writer"] == "NibabelIOWithReorient"


def unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())  # noqa: S301 - our own


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
        )
    return np.array_equal(one, other) or not (len(one) or len(other))


@pytest.mark.parametrize("configuration", ["tiny", "own"])
def test_pointers_and_nifti_are_preprocessed_alike(place: Place, configuration: str) -> None:
    one, other = (
        place.preprocessed / raw.name / f"nnUNetPlans_{configuration}"
        for raw in (place.pointers, place.nifti)
    )
    names = sorted(path.name for path in one.glob("*.*") if path.is_file())
    assert names == sorted(path.name for path in other.glob("*.*") if path.is_file())
    assert len(names) == 3 * json.loads((place.pointers / "dataset.json").read_text())["numTraining"]
    for name in names:
        if name.endswith(".b2nd"):
            a, b = (blosc2.open(str(folder / name))[:] for folder in (one, other))
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        else:
            a, b = (unpickled(folder / name) for folder in (one, other))
            assert same(a["class_locations"], b["class_locations"])
            assert a["spacing"] == b["spacing"]


def test_stock_preprocessing_gives_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = place.root / "stock"
    shutil.copytree(
        place.preprocessed / place.nifti.name,
        elsewhere / place.nifti.name,
        ignore=shutil.ignore_patterns("nnUNetPlans_*"),
    )
    monkeypatch.setenv("nnUNet_preprocessed", str(elsewhere))
    DefaultPreprocessor(verbose=False).run(602, "tiny", "nnUNetPlans", 1)
    ours = place.preprocessed / place.pointers.name / "nnUNetPlans_tiny"
    stock = sorted((elsewhere / place.nifti.name / "nnUNetPlans_tiny").glob("*.b2nd"))
    assert stock
    for path in stock:
        assert np.array_equal(blosc2.open(str(path))[:], blosc2.open(str(ours / path.name))[:])


def test_from_the_store_come_the_same_voxels(place: Place) -> None:
    folder = place.preprocessed / place.pointers.name
    kind = infer_dataset_class(str(folder / "nnUNetPlans_own_direct"))
    direct, copied = (
        kind(str(folder / "nnUNetPlans_own_direct")),
        nnUNetDatasetBlosc2(str(folder / "nnUNetPlans_own")),
    )
    assert direct.identifiers == copied.identifiers
    box = (slice(None), slice(3, 9), slice(5, 17), slice(0, 11))
    for case in copied.identifiers:
        (image, mask, _, about), (image_, mask_, _, about_) = direct.load_case(case), copied.load_case(case)
        assert (image.shape, image[:].dtype) == (image_.shape, np.float32)
        for key in (slice(None), box):
            assert np.array_equal(image[key], image_[key])
            assert np.array_equal(mask[key], np.maximum(mask_[key], 0))
        assert same(about["class_locations"], about_["class_locations"])
        assert about["bbox_used_for_cropping"] == about_["bbox_used_for_cropping"]
    again = pickle.loads(pickle.dumps(direct))  # noqa: S301 - our own
    again.load_case(direct.identifiers[0])


def test_of_a_derived_store_nothing_is_left_to_resample(place: Place, tmp_path: Path) -> None:
    derived = tmp_path / "derived.zarr"
    cz.build_store(cz.plan_derive(place.root / "spine.zarr", derived, spacing=(5, 2.5, 2.5), workers=1))
    raw = write_raw(cz.open_store(derived), tmp_path / "raw", id=603, label_map="regions")
    folder = planning.plan(raw, tmp_path, fingerprint="catalog")
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    assert np.allclose(plans["configurations"]["3d_fullres"]["spacing"], (5, 2.5, 2.5))
    copied = nnUNetDatasetBlosc2(str(preprocess.preprocess(raw, tmp_path, configuration="3d_fullres")))
    where = preprocess.preprocess(raw, tmp_path, configuration="3d_fullres", direct=True)
    assert where.name == "nnUNetPlans_3d_fullres_direct"
    direct = StoreDataset(str(where))
    assert len(direct.identifiers) == len(copied.identifiers) > 1
    for case in copied.identifiers:
        (image, mask, _, about), (image_, mask_, _, about_) = direct.load_case(case), copied.load_case(case)
        assert np.array_equal(image[:], image_[:])
        assert np.array_equal(mask[:], np.maximum(mask_[:], 0))
        assert same(about["class_locations"], about_["class_locations"])


def test_masks_for_validation_lie_on_the_sources_grid(place: Place) -> None:
    truth = place.preprocessed / place.pointers.name / "gt_segmentations"
    table = np.frombuffer(place.store.label_map("regions").table, np.uint8)
    assert len(list(truth.iterdir())) == len(planning.files_of(place.pointers))
    for path in truth.iterdir():
        case = place.store[path.name.removesuffix(".nii.gz")]
        found: Any = nibabel.load(path)
        source = case.to_nibabel("segmentation")
        assert np.allclose(found.affine, source.affine, atol=1e-4)
        labels = np.asarray(source.dataobj).astype(np.uint8)
        assert np.array_equal(np.asarray(found.dataobj), table[labels])


def test_whole_cases_are_kept_and_parts_make_a_whole(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UnknownValue, match="no plan yet"):
        preprocess.preprocess(place.pointers, tmp_path, part=(1, 2))
    shutil.copytree(place.preprocessed / place.pointers.name, tmp_path / place.pointers.name)
    folder = tmp_path / place.pointers.name / "nnUNetPlans_own"
    first, second = sorted(folder.glob("*.pkl"))[:2]
    first.unlink()
    before = second.stat().st_mtime_ns
    for part in ((1, 2), (2, 2)):
        preprocess.preprocess(place.pointers, tmp_path, configuration="own", part=part)
    assert first.exists()
    assert second.stat().st_mtime_ns == before
    assert not list((folder / ".partial").iterdir())


def test_the_catalog_tells_about_the_same_fingerprint(place: Place, tmp_path: Path) -> None:
    found = planning.plan(place.pointers, tmp_path, fingerprint="catalog")
    ours, theirs = (
        json.loads((folder / "dataset_fingerprint.json").read_text())
        for folder in (found, place.preprocessed / place.pointers.name)
    )
    assert ours["spacings"] == theirs["spacings"]
    (ours,), (theirs,) = (
        one["foreground_intensity_properties_per_channel"].values() for one in (ours, theirs)
    )
    for key, tolerance in (("mean", 1), ("std", 1), ("percentile_00_5", 4), ("percentile_99_5", 4)):
        assert abs(ours[key] - theirs[key]) < tolerance, key
    with pytest.raises(UnknownValue, match="no pointers"):
        planning.plan(place.nifti, tmp_path, fingerprint="catalog")


def test_what_the_store_no_longer_holds_is_not_read(place: Place, tmp_path: Path) -> None:
    case, (image, _) = next(iter(planning.files_of(place.pointers).items()))
    stale = tmp_path / "stale.json"
    stale.write_text(Path(image).read_text().replace(place.store[case].record.content, "0" * 64))
    with pytest.raises(StoreUpdated):
        reader.CTSpineStoreIO().read_images([str(stale)])


def test_an_ignored_label_and_turned_axes_are_the_same_from_the_store(place: Place, tmp_path: Path) -> None:
    ignored = place.store.label_map("contiguous", ignore=["L6", "T12"])
    raw = write_raw(place.store, tmp_path / "raw", id=7, label_map=ignored)
    folder = planning.plan(raw, tmp_path, fingerprint="catalog")
    tiny(folder / "nnUNetPlans.json")
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    turned = {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans | turned))
    copied = nnUNetDatasetBlosc2(str(preprocess.preprocess(raw, tmp_path, configuration="own")))
    direct = StoreDataset(str(preprocess.preprocess(raw, tmp_path, configuration="own", direct=True)))
    for case in copied.identifiers:
        (image, mask, _, about), (image_, mask_, _, about_) = direct.load_case(case), copied.load_case(case)
        assert np.array_equal(image[:], image_[:])
        assert np.array_equal(mask[:], np.maximum(mask_[:], 0))
        assert [key for key in about["class_locations"] if isinstance(key, tuple)]
        assert same(about["class_locations"], about_["class_locations"])
    with pytest.raises(OutOfBounds, match="legal: 1"):
        image[:, ::2]


def test_boxes_of_a_cropped_and_turned_array_are_those_of_the_array() -> None:
    voxels: Any = np.random.default_rng(0).integers(-1000, 1000, (7, 9, 11))
    bbox = [[2, 10], [1, 6], [3, 9]]
    for forward in ((2, 0, 1), (1, 2, 0), (0, 1, 2)):
        turned = voxels.transpose(forward)
        box = [[start, min(stop, size)] for (start, stop), size in zip(bbox, turned.shape, strict=True)]
        whole = turned[tuple(slice(start, stop) for start, stop in box)][None]
        found = PreprocessedArray(voxels, forward, box, np.array)
        assert found.shape == whole.shape
        for key in np.s_[:, :, :, :], np.s_[:, 1:4, :2, 2:5], np.s_[0:1, -3:, :, 1:-1]:
            assert np.array_equal(found[key], whole[key])
        assert np.array_equal(found[:], whole)


def test_a_plan_of_another_dataset_is_not_gone_on_with(place: Place, tmp_path: Path) -> None:
    raw = write_raw(place.store, tmp_path, id=601, name="Pointers", label_map="binary")
    with pytest.raises(StoreMismatch, match="with other labels, ctspine_zarr"):
        preprocess.preprocess(raw, place.preprocessed)


def test_the_command_is_the_same(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.preprocessed / place.pointers.name, tmp_path / place.pointers.name)
    folder = tmp_path / place.pointers.name / "nnUNetPlans_own_direct"
    shutil.rmtree(folder)
    command = ["nnunet", "preprocess", str(place.pointers), str(tmp_path)]
    for part in ("1/2", "2/2"):
        more = ["--configuration", "own", "--direct", "--part", part]
        done = CliRunner().invoke(main.cli, [*command, *more])
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == str(folder)
    assert len(list(folder.glob("*.ctspine"))) == len(planning.files_of(place.pointers))
    for wrong, status in (
        (["--configuration", "none"], talk.USAGE),
        (["--part", "3/2"], talk.USAGE),
        (["--plan-only", "--fingerprint", "other"], talk.USAGE),
    ):
        assert CliRunner().invoke(main.cli, [*command, *wrong]).exit_code == status
    missing = ["nnunet", "preprocess", str(tmp_path / "none"), str(tmp_path)]
    assert CliRunner().invoke(main.cli, missing).exit_code == talk.FAILED


def trained(raw: Path, configuration: str) -> Any:
    """Two short epochs; the predictor that they give."""
    device = torch.device("cpu")
    run = get_trainer_from_args(raw.name, configuration, 0, "ShortTrainer", device=device)
    run.run_training()
    predictor = nnUNetPredictor(
        tile_step_size=1, use_gaussian=False, use_mirroring=False, device=device, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(
        os.fspath(Path(run.output_folder).parent), (0,), "checkpoint_final.pth"
    )
    return predictor


@pytest.mark.parametrize(
    ("form", "configuration"), [("pointers", "tiny"), ("nifti", "tiny"), ("pointers", "own_direct")]
)
def test_it_trains_and_predicts(
    place: Place, form: str, configuration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    torch.set_num_threads(2)
    predictor = trained(getattr(place, form), configuration)
    case = next(iter(place.store.select(split="test").values()))
    image = case.voxels("image")[...].astype(np.float32)[None]
    found = predictor.predict_single_npy_array(image, reader.properties_of(case))
    assert found.shape == case.shape
    assert trainer.TRAINERS.joinpath("ctspine_zarr_trainers.py").is_file()


def test_nnunet_finds_the_trainer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer.TRAINERS))
    assert recursive_find_trainer_class_by_name("CTSpineTrainer") is trainer.CTSpineTrainer
    assert place.root.exists()
