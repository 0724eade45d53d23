"""MONAI: the same pipelines from NIfTI files and from the store give the same voxels at the same places."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from servers import folder, served
from trees import NnunetTree, Tree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import NoMask, UnknownCase, UnknownValue

with warnings.catch_warnings():
    # Its own imports, not ours.
    warnings.simplefilter("ignore")
    monai = pytest.importorskip("monai", reason="needs MONAI: pip install 'ctspine-zarr[monai]'")
    import torch
    from monai import transforms as mt
    from monai.data import MetaTensor, decollate_batch, load_decathlon_datalist
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    from ctspine_zarr import monai as cm

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    # MONAI's own, of arguments it will give other defaults and of numpy's and PyTorch's changes.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning"),
]

BOTH = ["image", "segmentation"]
ISOTROPIC = np.array([[-1.5, 0, 0, 30], [0, -1.5, 0, 12], [0, 0, 1.5, -40], [0, 0, 0, 1]])
PAGE = (Path(__file__).parents[1] / "docs" / "frameworks.md").read_text()


@pytest.fixture(scope="module")
def store(phantom_store: cz.Store) -> cz.Store:
    """Three cases: LPS, PIR and RAS in their files, two with ids that have dots."""
    return phantom_store[["1.3.6.1.4.1.9328.50.4.0001", "1.3.6.1.4.1.9328.50.4.0004", "HN_P001", "liver_12"]]


@pytest.fixture
def isotropic(tree: Tree, tmp_path: Path) -> cz.Store:
    """A store of two cases of 1.5 mm, LPS in their files."""
    for seed, case in enumerate(("liver_1", "liver_2")):
        image = nibabel.Nifti1Image(voxels(seed, (24, 32, 40)), ISOTROPIC)
        mask = nibabel.Nifti1Image(labels((24, 32, 40)), ISOTROPIC)
        tree.add(case, image, mask)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "isotropic.zarr", workers=1))
    return cz.open_store(tmp_path / "isotropic.zarr")


def files(store: cz.Store, place: Path) -> list[dict[str, str]]:
    """The cases as NIfTI files, for a pipeline that begins with them."""
    found = []
    for case in store.values():
        item = {name: str(place / name / f"{case.id}.nii.gz") for name in BOTH}
        for name in BOTH:
            (place / name).mkdir(exist_ok=True)
            nibabel.save(case.to_nibabel(name), item[name])  # type: ignore[arg-type]
        found.append(item)
    return found


def paths(store: cz.Store) -> list[dict[str, str]]:
    return [{name: cm.case_path(store, case, name) for name in BOTH} for case in store]  # type: ignore[arg-type]


def from_files(*steps: Any) -> Any:
    """A pipeline of files; it begins in RAS, as what is resampled depends on where the grid begins."""
    return mt.Compose(
        [mt.LoadImaged(BOTH), mt.EnsureChannelFirstd(BOTH), mt.Orientationd(BOTH, "RAS"), *steps]
    )


def from_paths(*steps: Any, reader: Any = None) -> Any:
    load = mt.LoadImaged(BOTH, reader=reader or cm.CTSpineReader())
    return mt.Compose([load, mt.EnsureChannelFirstd(BOTH), *steps])


def from_samples(*steps: Any) -> Any:
    return mt.Compose([mt.Orientationd(BOTH, "RAS"), *steps])


def equal(one: Any, other: Any) -> bool:
    """Voxel by voxel, affine by affine."""
    return bool(torch.equal(one.as_tensor().double(), other.as_tensor().double())) and np.allclose(
        one.affine, other.affine, atol=1e-6, rtol=0
    )


def is_part(part: Any, whole: Any) -> bool:
    """Whether each voxel of the one is that of the other at its place in the world, or padding beyond it."""
    index = np.indices(part.shape[1:]).reshape(3, -1)
    world = part.affine.numpy() @ np.vstack([index, np.ones(index.shape[1])])
    there = (np.linalg.inv(whole.affine.numpy()) @ world)[:3]
    assert np.abs(there - there.round()).max() < 1e-4
    at = there.round().astype(int)
    inside = ((at >= 0) & (whole.shape[1:] > at.T).T).all(0)
    assert inside.any()
    return bool(np.array_equal(part.numpy()[0].ravel()[inside], whole.numpy()[0][tuple(at[:, inside])]))


def test_the_reader_gives_what_the_files_give(store: cz.Store, tmp_path: Path) -> None:
    assert {store.records[case].orientation for case in store} == {"LPS", "PIR", "RAS"}
    for file, path in zip(files(store, tmp_path), paths(store), strict=True):
        expected, found = from_files()(file), from_paths()(path)
        for name in BOTH:
            assert equal(found[name], expected[name]), path
            meta, other = found[name].meta, expected[name].meta
            assert np.allclose(meta["original_affine"], other["original_affine"], atol=1e-6)
            assert list(meta["spatial_shape"]) == list(other["spatial_shape"])
            assert meta["space"] == other["space"]


@pytest.mark.parametrize(
    "step",
    [
        lambda: mt.Spacingd(BOTH, (3, 3, 3), mode=("bilinear", "nearest")),
        lambda: mt.Orientationd(BOTH, "LPS"),
        lambda: mt.Orientationd(BOTH, "PIR"),
    ],
    ids=["3 mm", "LPS", "PIR"],
)
def test_pipelines_from_files_and_from_the_store_are_one(
    isotropic: cz.Store, store: cz.Store, tmp_path: Path, step: Callable[[], Any]
) -> None:
    for cases in (isotropic, store):
        dataset: Any = cm.Dataset(cases, cz.Volumes(), transform=from_samples(step()))
        every = zip(files(cases, tmp_path), paths(cases), dataset, strict=True)
        for file, path, sample in every:
            expected, read = from_files(step())(file), from_paths(step())(path)
            assert all(equal(read[name], expected[name]) for name in BOTH)
            assert all(equal(sample[name], expected[name]) for name in BOTH)
    # What once went wrong without a word.
    before: Any = cm.Dataset(isotropic, cz.Volumes())[0]
    assert before["image"].shape == (1, 40, 32, 24)
    assert before["image"].pixdim.tolist() == pytest.approx([1.5] * 3)
    if isinstance(step(), mt.Spacingd):
        after = mt.Compose([step()])(before)["image"]
        assert after.shape == (1, 20, 16, 12)
        assert after.pixdim.tolist() == pytest.approx([3] * 3)


def test_what_a_sample_is_for_monai(store: cz.Store) -> None:
    for channel in (False, True):
        dataset: Any = cm.Dataset(store, cz.Patches(16, channel=channel))
        sample = dataset[0]
        assert list(sample) == ["image", "segmentation", "patient_id", "case", "index", "start"]
        assert list(sample) == list(dataset.spec())
        assert all(isinstance(sample[name], MetaTensor) for name in BOTH)
        assert (sample["image"].dtype, sample["segmentation"].dtype) == (torch.float32, torch.int32)
        assert sample["image"].shape == dataset.spec()["image"][1] == (1, 16, 16, 16)
    assert sample["image"].meta["affine"] is not sample["segmentation"].meta["affine"]
    alone: Any = cm.Dataset(store, cz.Patches(16, segmentation=False))[0]
    assert "segmentation" not in alone
    with pytest.raises(UnknownValue, match="instead of a kind"):
        cm.Dataset(store, "patches")  # type: ignore[call-overload]


@pytest.mark.parametrize("orientation", ["SAR", "PIR", "hub"])
@pytest.mark.parametrize(
    "kind",
    [
        lambda **form: cz.Patches(20, strategy=cz.Foreground(probability=1), **form),
        lambda **form: cz.Windows((32, 40, 64), **form),
        lambda **form: cz.Volumes(crop="spine", **form),
        cz.Volumes,
        lambda **form: cz.Vertebrae((60, 80, 120), spacing=None, **form),
    ],
    ids=["patches", "windows", "crops", "volumes", "vertebrae"],
)
def test_each_voxel_is_where_it_is_in_the_volume(store: cz.Store, kind: Any, orientation: str) -> None:
    cases = store[["1.3.6.1.4.1.9328.50.4.0001", "HN_P001"]]
    whole = {path["image"]: from_paths()(path) for path in paths(cases)}
    dataset: Any = cm.Dataset(cases, kind(orientation=orientation))
    for number in range(0, len(dataset), max(1, len(dataset) // 6)):
        sample = dataset[number]
        volume = whole[cm.case_path(cases, sample["case"])]
        assert all(is_part(sample[name], volume[name]) for name in BOTH)


@pytest.mark.parametrize("workers", [0, 2])
def test_lists_of_crops_become_one_batch(store: cz.Store, workers: int) -> None:
    def crop(**options: Any) -> Any:
        found = mt.RandCropByPosNegLabeld(
            BOTH, "segmentation", spatial_size=(16, 24, 24), num_samples=3, **options
        )
        return found.set_random_state(4)

    whole = {case: from_paths()(path) for case, path in zip(store, paths(store), strict=True)}
    dataset: Any = cm.Dataset(store, cz.Volumes(), transform=crop())
    batches = list(cm.make_loader(dataset, 2, workers=workers, shuffle=True))
    assert [batch["image"].shape for batch in batches] == [(6, 1, 16, 24, 24)] * 2
    for batch in batches:
        assert batch["image"].affine.shape == (6, 4, 4)
        for crops in decollate_batch(batch):
            assert all(is_part(crops[name], whole[crops["case"]][name]) for name in BOTH)
    stream: Any = cm.Stream(store, cz.Volumes(), transform=crop())
    assert sum(len(batch["image"]) for batch in cm.make_loader(stream, 2, workers=workers)) == 3 * len(store)


def test_crops_from_files_and_from_the_store_are_one(store: cz.Store, tmp_path: Path) -> None:
    steps = [
        mt.RandCropByPosNegLabeld(BOTH, "segmentation", (24, 24, 16), num_samples=2),
        mt.RandFlipd(BOTH, 0.5),
    ]
    # The steps are shared: each pipeline begins with a random state of its own.
    expected = from_files(*steps).set_random_state(8)
    lists = [expected(file) for file in files(store, tmp_path)]
    dataset: Any = cm.Dataset(store, cz.Volumes(), transform=from_samples(*steps).set_random_state(8))
    for crops, others in zip(dataset, lists, strict=True):
        assert len(crops) == 2
        for crop, other in zip(crops, others, strict=True):
            assert all(equal(crop[name], other[name]) for name in BOTH)


class Drawn(mt.Randomizable, mt.Transform):  # type: ignore[misc, unused-ignore]
    """What is drawn, by MONAI's random state."""

    def __call__(self, sample: Any) -> Any:
        return {"case": sample["case"], "drawn": self.R.random()}


def test_each_worker_draws_for_itself(store: cz.Store) -> None:
    begun: list[int] = []

    def drawn(seed: int, workers: int = 2) -> list[float]:
        dataset: Any = cm.Dataset(store, cz.Volumes(), transform=mt.Compose([Drawn()]))
        loader = cm.make_loader(dataset, workers=workers, seed=seed, worker_init_fn=begun.append)
        return [float(batch["drawn"]) for _ in range(2) for batch in loader]

    assert len(set(drawn(1))) == 2 * len(store)
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    # Each worker has a list of its own.
    assert begun == []


def test_what_is_given_to_the_loader_is_used(store: cz.Store) -> None:
    dataset: Any = cm.Dataset(store, cz.Volumes())
    loader = cm.make_loader(dataset, 4, workers=0, collate_fn=len)
    assert list(loader) == [4]
    with pytest.raises(TypeError, match="unexpected"):
        cm.make_loader(dataset, 4, worker=0)
    with pytest.raises(UnknownValue, match=r"Dataset to load from; legal: .* of ctspine_zarr\.monai"):
        cm.make_loader(cz.Dataset(store, cz.Volumes()))  # type: ignore[arg-type]


@pytest.mark.parametrize("begin", ["samples", "paths", "resampled"])
def test_a_prediction_lies_on_the_source_file(isotropic: cz.Store, tmp_path: Path, begin: str) -> None:
    steps = [
        mt.Orientationd(BOTH, "PIR"),
        mt.Spacingd(BOTH, (0.75, 0.75, 0.75), mode=("bilinear", "nearest")),
        mt.SpatialPadd(BOTH, (90, 90, 90)),
    ]
    before = {"samples": from_samples, "paths": from_paths, "resampled": from_samples}[begin](*steps)
    after = mt.Compose(
        [
            mt.CopyItemsd("segmentation", names="pred"),
            mt.Invertd("pred", before, orig_keys="segmentation", nearest_interp=True),
            mt.SaveImaged(
                "pred",
                output_dir=tmp_path / "out",
                output_postfix="pred",
                separate_folder=False,
                resample=True,
                mode="nearest",
                print_log=False,
            ),
        ]
    )
    kind = cz.Volumes(spacing=0.75 if begin == "resampled" else None)
    inputs: Any = paths(isotropic) if begin == "paths" else cm.Dataset(isotropic, kind)
    for file, one in zip(files(isotropic, tmp_path), inputs, strict=True):
        after(before(one))
        source = nibabel.load(file["segmentation"])
        saved = nibabel.load(tmp_path / "out" / Path(file["image"]).name.replace(".nii", "_pred.nii"))
        assert np.allclose(saved.affine, source.affine, atol=1e-5)  # type: ignore[attr-defined]
        assert np.array_equal(np.asarray(saved.dataobj), np.asarray(source.dataobj))  # type: ignore[attr-defined]


def test_saved_files_have_the_cases_names_and_places(store: cz.Store, tmp_path: Path) -> None:
    save = mt.SaveImaged(
        "image", output_dir=tmp_path, output_postfix="", separate_folder=False, print_log=False
    )
    for path in paths(store):
        save(from_paths()(path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{case}.nii.gz" for case in store)
    windows: Any = cm.Dataset(store[["liver_12"]], cz.Windows(64))
    for window in windows:
        save(window)
    named = list(tmp_path.glob("liver_12_*.nii.gz"))
    assert len(named) == len(windows) > 2
    # Each lies where it was taken from.
    saved, source = nibabel.load(named[0]), nibabel.load(tmp_path / "liver_12.nii.gz")
    tensors = [
        MetaTensor(np.asarray(one.dataobj)[None], affine=one.affine)  # type: ignore[attr-defined]
        for one in (saved, source)
    ]
    assert is_part(*tensors)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_slices_have_the_affine_of_their_plane(store: cz.Store, axis: str) -> None:
    dataset: Any = cm.Dataset(store[["HN_P001"]], cz.Slices(axis=axis))
    sample = dataset[len(dataset) // 2]
    image, case = sample["image"], store["HN_P001"]
    kept = [at for at, name in enumerate(["axial", "coronal", "sagittal"]) if name != axis]
    spacing = [case.spacing[at] for at in kept]
    assert image.shape == (1, *(case.shape[at] for at in kept))
    assert image.affine.shape == (3, 3)
    assert image.pixdim.tolist()[:2] == pytest.approx(spacing)
    # Both axes run along the body's, in the order R, A, S of those two.
    origin = [case.affine[2 - at, 3] for at in kept][::-1]
    assert image.affine[:2, 2].tolist() == pytest.approx(origin)
    finer = mt.Spacingd(BOTH, [mm / 2 for mm in spacing], mode=("bilinear", "nearest"))(sample)
    assert finer["image"].shape == (1, *(2 * size - 1 for size in image.shape[1:]))
    assert finer["image"].pixdim.tolist()[:2] == pytest.approx([mm / 2 for mm in spacing])
    cropped = mt.CenterSpatialCropd(BOTH, (10, 10))(sample)["image"]
    first = np.linalg.inv(image.affine.numpy()) @ cropped.affine.numpy() @ [0, 0, 1]
    row, column = first[:2].round().astype(int)
    assert np.array_equal(cropped, image[:, row : row + 10, column : column + 10])
    turned = mt.Orientationd(BOTH, "RA")(sample)["image"]
    assert np.array_equal(turned[0], image[0].T)
    batch = next(iter(cm.make_loader(dataset, 3, workers=1)))
    assert batch["image"].affine.shape == (3, 3, 3)
    assert batch["image"].meta["patch_index"] == ["0", "1", "2"]


def test_an_oblique_slice_has_its_true_distances() -> None:
    random = np.random.default_rng()
    turn, _ = np.linalg.qr(np.eye(3) + random.normal(0, 0.1, (3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([3, 0.8, 0.7])[:, [2, 1, 0]]
    for cut in range(3):
        columns = np.delete(affine[:3, :3], cut, axis=1)
        found = cm._in_plane(affine, cut)[:2, :2]
        assert np.allclose(found.T @ found, columns.T @ columns)


def test_a_training_from_each_begins_with_the_same_loss(isotropic: cz.Store, tmp_path: Path) -> None:
    steps = [
        mt.ScaleIntensityRanged("image", -450, 1050, 0, 1, clip=True),
        mt.Lambdad("segmentation", lambda mask: (mask > 0).float()),
        mt.RandCropByPosNegLabeld(BOTH, "segmentation", (16, 16, 16), num_samples=2),
    ]
    monai.utils.set_determinism(0)

    def losses(batches: Any) -> list[float]:
        torch.manual_seed(0)
        net = UNet(3, 1, 1, channels=(4, 8), strides=(2,))
        loss_of, optimizer = DiceCELoss(sigmoid=True), torch.optim.Adam(net.parameters(), 1e-2)
        found = []
        for batch in batches:
            loss = loss_of(net(batch["image"]), batch["segmentation"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    usual = monai.data.Dataset(files(isotropic, tmp_path), from_files(*steps).set_random_state(2))
    plain = losses(monai.data.list_data_collate([usual[number]]) for number in range(len(usual)))
    dataset: Any = cm.Dataset(isotropic, cz.Volumes(), transform=from_samples(*steps).set_random_state(2))
    own = losses(cm.make_loader(dataset, 1, workers=0))
    monai.utils.set_determinism(None)
    assert len(own) == 2
    assert own[0] == pytest.approx(plain[0], abs=1e-6)
    assert own == pytest.approx(plain, abs=1e-5)


def test_a_data_list_is_read_as_monai_reads_it(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = tmp_path / "datalist.json"
    place.write_text(json.dumps(cm.datalist(phantom_store)))
    for key, split in {"training": "train", "validation": "validation", "testing": "test"}.items():
        items = load_decathlon_datalist(place, data_list_key=key)
        cases = phantom_store.select(split=split)
        assert items == [
            {"image": cm.case_path(cases, case), "label": cm.case_path(cases, case, "segmentation")}
            for case in cases
        ]
    load = mt.LoadImaged(["image", "label"], reader="ctspine_zarr.monai.CTSpineReader")
    loaded = load(items[0])
    assert np.array_equal(loaded["label"], cases[next(iter(cases))].segmentation.compute().T)
    assert json.loads(place.read_text())["labels"]["24"] == "L5"


def test_folds_are_numbers_in_a_data_list(phantom_store: cz.Store) -> None:
    known = phantom_store.select(split=["train", "validation"])
    folds = known.folds(3, seed=1)
    found = cm.datalist(phantom_store, folds)
    assert len(found["training"]) == len(known)
    assert found["validation"] == []
    assert len(found["testing"]) == len(phantom_store.select(split="test"))
    for number, fold in enumerate(folds):
        images = {item["image"] for item in found["training"] if item["fold"] == number}
        assert images == {cm.case_path(known, case) for case in fold.validation}
    [own] = phantom_store.folds(by="split")
    single = cm.datalist(phantom_store, [own])
    assert single["training"] == cm.datalist(own.train)["training"]
    assert all("fold" not in item for item in single["training"])
    assert len(single["validation"]) == len(own.validation)
    with pytest.raises(UnknownValue, match="validate on .* not exactly once; legal: those of"):
        cm.datalist(phantom_store, folds[:2])


def test_cases_without_a_mask_are_only_tested_on(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "source")
    tree.add("with")
    tree.add("without", mask=False, folder="Ts")
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    assert cm.datalist(store)["testing"] == [{"image": cm.case_path(store, "without")}]
    fold = cz.Fold(store.select(split="test"), store.select(split="train"))
    with pytest.raises(UnknownValue, match=r"training cases without a mask: without; legal: select\("):
        cm.datalist(store, [fold])
    with pytest.raises(NoMask):
        cm.case_path(store, "without", "segmentation")
    with pytest.raises(UnknownCase):
        cm.case_path(store, "nobody")


def test_the_reader_refuses_what_it_cannot_read(store: cz.Store, tmp_path: Path) -> None:
    reader = cm.CTSpineReader()
    path = cm.case_path(store, "liver_12")
    assert reader.verify_suffix(path)
    assert reader.verify_suffix([Path(path), path])
    for other in ("a.nii.gz", "spine.zarr#image/liver_12", "spine.zarr#other/liver_12.ctspine"):
        assert not reader.verify_suffix([path, other])
        with pytest.raises(UnknownValue, match="legal: what case_path gives"):
            reader.read(other)
    with pytest.raises(UnknownCase, match="no case 'liver_13'"):
        mt.LoadImage(reader)(path.replace("liver_12", "liver_13"))
    with pytest.raises(UnknownValue, match="legal: cases of one grid"):
        mt.LoadImage(reader)([path, cm.case_path(store, "HN_P001")])
    # The source files begin with their first stacked channel, as MONAI's own reader stacks them.
    stacked = mt.LoadImage(reader, ensure_channel_first=True)([path, path])
    assert stacked.shape == (2, *store["liver_12"].shape[::-1])
    shutil.rmtree(tmp_path)
    copied = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own
    assert equal(mt.LoadImage(copied)(path), mt.LoadImage(cm.CTSpineReader(store))(path))


def test_paths_of_a_selection_with_a_label_set_are_of_its_labels(store: cz.Store, tmp_path: Path) -> None:
    store = cz.open_store(shutil.copytree(store.location, tmp_path / "copy.zarr"))
    mask = store["liver_12"].voxels("segmentation")[...]
    store.add_labels("corrected", {"liver_12": np.roll(mask, 1, 0)})
    chosen = cz.open_store(store.location).select(labels="corrected")
    assert cm.case_path(chosen, "liver_12") == cm.case_path(store, "liver_12")
    path = cm.case_path(chosen, "liver_12", "segmentation")
    assert path.endswith("#segmentation@corrected/liver_12.ctspine")
    for reader in (cm.CTSpineReader(), cm.CTSpineReader(chosen)):
        found = mt.LoadImage(reader, dtype=np.uint8)(path)
        assert np.array_equal(np.asarray(found).transpose(), np.roll(mask, 1, 0))
    [item] = cm.datalist(chosen)["validation"]
    assert item["label"] == path


def test_a_registered_reader_is_found_by_the_paths(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mt.io.array.SUPPORTED_READERS, "ctspinereader", cm.CTSpineReader)
    path = cm.case_path(store, "liver_12")
    assert equal(mt.LoadImage()(path), mt.LoadImage(cm.CTSpineReader())(path))


def test_auto3dseg_finds_in_the_store_what_it_finds_in_the_files(
    isotropic: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai.apps.auto3dseg import DataAnalyzer  # noqa: PLC0415 - slow to import

    monkeypatch.setitem(mt.io.array.SUPPORTED_READERS, "ctspinereader", cm.CTSpineReader)
    listed = cm.datalist(isotropic, isotropic.folds(2))
    saved = {item["image"]: item["segmentation"] for item in files(isotropic, tmp_path)}
    of_files = [{"image": image, "label": mask, "fold": 0} for image, mask in saved.items()]
    found = []
    for name, training in (("store", listed["training"]), ("files", of_files)):
        analyzer = DataAnalyzer(
            {"training": training, "testing": []},
            dataroot="/",
            output_path=str(tmp_path / f"{name}.yaml"),
            device="cpu",
            worker=0,
            image_key="image",
            label_key="label",
        )
        found.append(analyzer.get_all_case_stats()["stats_summary"])
    assert found[0] == found[1]
    assert found[0]["image_foreground_stats"]["intensity"]["max"] > 0


def test_paths_of_urls_survive_what_monai_makes_of_them(store: cz.Store, tmp_path: Path) -> None:
    with served(folder(Path(store.location))) as url:
        remote = cz.open_store(url)
        item = {"image": cm.case_path(remote, "liver_12")}
        (tmp_path / "list.json").write_text(json.dumps({"training": [item]}))
        [joined] = load_decathlon_datalist(tmp_path / "list.json")
        expected = mt.LoadImage(cm.CTSpineReader())(cm.case_path(store, "liver_12"))
        for path in (item["image"], joined["image"]):
            assert equal(mt.LoadImage(cm.CTSpineReader(threads=1))(path), expected)


def test_the_page_runs(phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(phantom_store.location, tmp_path / "spine.zarr")
    monkeypatch.chdir(tmp_path)
    section = PAGE.split("## TorchIO")[0]
    blocks = re.findall(r"```python(?: monai)?\n(.*?)```", section, re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/frameworks.md", "exec"), names)  # noqa: S102 - our own
    assert isinstance(names["batch"]["image"], MetaTensor)
