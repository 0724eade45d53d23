"""Samples are the voxels that nibabel reads, where they say, as asked for; each slab is decoded once."""

from __future__ import annotations

import itertools
import json
import pickle
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.ndimage
from arrays import decoded
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stores import without_masks
from trees import Tree, labels, load, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import DamagedStore, NoMask, OutOfBounds, UnknownValue
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.sampling.strategies import Aim, Strategy
from ctspine_zarr.training import samples

CASE = "1.3.6.1.4.1.9328.50.4.0001"
LUMBAR = ("1.3.6.1.4.1.9328.50.4.0001", "1.3.6.1.4.1.9328.50.4.0004", "liver_0")


@pytest.fixture(scope="session")
def train(phantom_store: cz.Store) -> cz.Store:
    return phantom_store.select(split="train")


def files_of(root: Path) -> Iterator[tuple[str, Path, Path]]:
    """Id, volume and mask of each case, in order of id."""
    for image in sorted(root.glob("raw_data/volumes/*/*.nii.gz"), key=lambda path: path.name[:-7]):
        case = image.name.removesuffix(".nii.gz")
        yield case, image, root / "raw_data/labels" / image.parent.name / f"{case}_seg.nii.gz"


def hub_recipe(root: Path) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """What the Hub's loader makes of each case: the NIfTI array, (i, j, k), as (k, i, j)."""
    for case, *paths in files_of(root):
        image, mask = (load(path).get_fdata().transpose(2, 0, 1) for path in paths)
        yield case, image.astype("float32"), mask.astype("int32")


def check_hub(root: Path, store: cz.Store) -> None:
    volumes = cz.Dataset(store, cz.Volumes(orientation="hub"))
    slices = cz.Dataset(store, cz.Slices(orientation="hub"))
    numbers = {case: number for number, case in enumerate(store)}
    ends = iter(range(len(slices)))
    rows = {case: [next(ends) for _ in range(volumes[n]["image"].shape[0])] for case, n in numbers.items()}
    for case, image, mask in hub_recipe(root):
        found = volumes[numbers[case]]
        assert (found["patient_id"], found["index"]) == (case, numbers[case])
        assert np.array_equal(found["image"], image)
        assert np.array_equal(found["segmentation"], mask)
        for k, row in enumerate(rows[case]):
            sample = slices[row]
            assert (sample["patient_id"], sample["slice_index"]) == (case, k)
            assert np.array_equal(sample["image"], image[k])
            assert np.array_equal(sample["segmentation"], mask[k])
    assert next(ends, None) is None


def test_hub_samples_are_the_hubs_value_for_value(phantom: Path, phantom_store: cz.Store) -> None:
    check_hub(phantom, phantom_store)


@pytest.mark.slow
def test_hub_samples_of_real_ct_are_the_hubs_value_for_value(mini: Path, mini_store: cz.Store) -> None:
    # What is decoded is kept, or it would be decoded again for each of a slab's slices.
    check_hub(mini, cz.open_store(mini_store.location, cache_bytes=400_000_000))


def test_a_volume_is_nibabels(phantom: Path, phantom_store: cz.Store) -> None:
    dataset = cz.Dataset(phantom_store, cz.Volumes())
    paths = {case: image for case, image, _ in files_of(phantom)}
    for index, sample in enumerate(dataset):
        image = nibabel.as_closest_canonical(load(paths[sample["patient_id"]]))
        assert sample["index"] == index
        assert sample["image"].dtype == np.float32
        assert sample["segmentation"].dtype == np.int32
        assert np.array_equal(sample["image"], image.get_fdata(dtype=np.float32).transpose())
        assert np.allclose(sample["spacing"], image.header.get_zooms()[::-1], atol=1e-5)
        assert np.allclose(sample["affine"], image.affine[:, [2, 1, 0, 3]], atol=1e-4)
    assert index + 1 == len(dataset) == len(phantom_store)


ORIENTATIONS = ["SAR", "RAS", "LPS", "IPL", "hub"]
KINDS: dict[str, Any] = {
    "volumes": lambda store, **options: cz.Dataset(store, cz.Volumes(**options)),
    "axial": lambda store, **options: cz.Dataset(store, cz.Slices(every=7, **options)),
    "sagittal": lambda store, **options: cz.Dataset(store, cz.Slices(axis="sagittal", every=29, **options)),
    "patches": lambda store, **options: cz.Dataset(store, cz.Patches((20, 30, 40), **options)),
    "windows": lambda store, **options: cz.Dataset(store, cz.Windows((40, 80, 80), overlap=0, **options)),
    "cropped": lambda store, **options: cz.Dataset(
        store, cz.Patches((20, 30, 40), crop="spine", margin_mm=5, **options)
    ),
    "vertebrae": lambda store, **options: cz.Dataset(store, cz.Vertebrae((60, 50, 40), **options)),
    "coarse": lambda store, **options: cz.Dataset(store, cz.Patches((8, 9, 10), spacing=6, **options)),
}


@pytest.mark.parametrize(
    # The Hub has axial slices only.
    ("kind", "orientation"),
    sorted(set(itertools.product(KINDS, ORIENTATIONS)) - {("sagittal", "hub")}),
)
def test_the_affine_says_where_each_voxel_lies(train: cz.Store, kind: str, orientation: str) -> None:
    """Where its affine says that a sample's voxels are, the case has their values."""
    dataset = KINDS[kind](train, orientation=orientation)
    compared = 0
    for number in np.linspace(0, len(dataset) - 1, 9).astype(int).tolist():
        sample = dataset[number]
        image = (
            np.expand_dims(sample["image"], cut_of(kind, orientation)) if is_slice(kind) else sample["image"]
        )
        assert np.allclose(np.linalg.norm(sample["affine"][:3, :3], axis=0), sample["spacing"])
        case = train[sample["patient_id"]]
        some = np.random.default_rng(number).integers(0, image.shape, (200, 3))
        world = sample["affine"] @ np.c_[some, np.ones(200)].T
        z, y, x = np.linalg.solve(case.affine, world)[2::-1].round(6)
        inside = np.all([(at >= 0) & (at <= n - 1) for at, n in zip((z, y, x), case.shape, strict=True)], 0)
        stored = case.voxels("image")[...].astype("float32")
        expected = scipy.ndimage.map_coordinates(stored, [z[inside], y[inside], x[inside]], order=1)
        assert np.allclose(image[tuple(some[inside].T)], expected, atol=0.5)
        compared += int(np.count_nonzero(inside))
    assert compared > 900


def is_slice(kind: str) -> bool:
    return kind in {"axial", "sagittal"}


def cut_of(kind: str, orientation: str) -> int:
    """The axis of a sample that its slice does not have."""
    sides = {"axial": "SI", "sagittal": "RL"}[kind]
    return 0 if orientation == "hub" else next(at for at, code in enumerate(orientation) if code in sides)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("orientation", ["SAR", "LPI"])
def test_a_slice_is_its_volumes(train: cz.Store, axis: str, orientation: str) -> None:
    volumes = cz.Dataset(train, cz.Volumes(orientation=orientation))
    cut = {"SAR": {"axial": 0, "coronal": 1, "sagittal": 2}, "LPI": {"axial": 2, "coronal": 1, "sagittal": 0}}
    dataset = cz.Dataset(train, cz.Slices(axis=axis, every=11, orientation=orientation))
    for sample in dataset:
        volume = volumes[sample["index"]]
        at = cut[orientation][axis]
        assert np.array_equal(sample["image"], volume["image"].take(sample["slice_index"], at))
        assert np.array_equal(sample["segmentation"], volume["segmentation"].take(sample["slice_index"], at))


def test_a_patch_is_the_cases(train: cz.Store) -> None:
    for sample in cz.Dataset(train, cz.Patches((20, 100, 30), keep_dtype=True)):
        expected = train[sample["patient_id"]].patch(start=sample["start"], size=(20, 100, 30))
        assert np.array_equal(sample["image"], expected["image"])
        assert np.array_equal(sample["segmentation"], expected["segmentation"])
        # 96 rows: the volume is in the middle, with 2 rows of air on either side.
        assert sample["start"][1] == -2
        assert (sample["image"][:, [0, 1, 98, 99]] == -1024).all()
        assert (sample["image"][:, 2:98] > -1024).any()


def test_a_patch_around_voxels_has_one_in_its_middle(train: cz.Store) -> None:
    strategy = cz.Balanced(where="voxel", weights={"L3": 1, "C5": 1})
    for sample in cz.Dataset(train, cz.Patches(17, strategy=strategy, samples_per_volume=8)):
        inside = all(
            0 < s < n - 17 for s, n in zip(sample["start"], train[sample["patient_id"]].shape, strict=True)
        )
        assert sample["segmentation"][8, 8, 8] in (22, 5) or not inside
        assert np.isin(sample["segmentation"], (22, 5)).any()


@pytest.mark.parametrize("spacing", [2.0, (7.5, 2.9, 4.1)])
def test_a_resampled_patch_is_that_of_the_whole_volume_resampled(train: cz.Store, spacing: Any) -> None:
    volumes = list(cz.Dataset(train, cz.Volumes(spacing=spacing)))
    dataset = cz.Dataset(
        train, cz.Patches((9, 30, 12), spacing=spacing, strategy=cz.Foreground(probability=1))
    )
    for sample in dataset:
        whole = volumes[sample["index"]]
        pad = [(30, 30)] * 3
        box = tuple(slice(30 + s, 30 + s + e) for s, e in zip(sample["start"], (9, 30, 12), strict=True))
        assert np.allclose(
            sample["image"], np.pad(whole["image"], pad, constant_values=-1024)[box], atol=1e-2
        )
        assert np.array_equal(sample["segmentation"], np.pad(whole["segmentation"], pad)[box])
        assert np.allclose(sample["spacing"], np.broadcast_to(spacing, 3))
        assert (sample["segmentation"] > 0).any()


def test_spacings_mix_in_a_batch(phantom_store: cz.Store) -> None:
    dataset = cz.Dataset(phantom_store, cz.Patches((16, 24, 24), spacing=4, strategy=cz.Balanced()))
    samples = [dataset[number] for number in range(len(dataset))]
    assert len({tuple(np.round(phantom_store[s["patient_id"]].spacing, 2)) for s in samples}) > 2
    assert np.stack([sample["image"] for sample in samples]).shape == (36, 16, 24, 24)
    assert np.allclose([sample["spacing"] for sample in samples], 4)


def test_a_resampled_patch_reads_no_more_than_it_needs(
    train: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = cz.open_store(train.location, threads=1).select(source="HNSCC-3DCT-RT")
    (case,) = only.values()
    z, y, x = case.spacing
    strategy = cz.Balanced(weights={"C3": 1}, where="centroid")
    dataset = cz.Dataset(only, cz.Patches((4, 8, 8), spacing=(z / 2, y / 2, x / 2), strategy=strategy))
    with decoded(monkeypatch) as count:
        sample = dataset[0]
    first = sample["start"] / 2 - 1
    last = first + np.array([4, 8, 8]) / 2 + 2
    touched = np.prod(last // DEFAULT_CHUNK - np.maximum(first, 0) // DEFAULT_CHUNK + 1)
    assert 0 < count[0] <= 2 * touched < 12


@pytest.mark.parametrize("kind", KINDS)
def test_the_spec_is_that_of_every_sample(train: cz.Store, kind: str) -> None:
    for options in ({}, {"keep_dtype": True}, {"channel": True, "window": (0, 100)}, {"orientation": "RAS"}):
        dataset = KINDS[kind](train, **options)
        spec = dataset.spec()
        for number in np.linspace(0, len(dataset) - 1, 9).astype(int):
            sample = dataset[number]
            assert list(sample) == list(spec)
            for key, (dtype, shape) in spec.items():
                value = np.asarray(sample[key], object if key in ("patient_id", "case") else None)
                assert value.dtype == dtype, key
                assert value.ndim == len(shape), key
                assert all(want in (None, has) for want, has in zip(shape, value.shape, strict=True)), key


def test_the_spec_of_a_transform_is_not_known(train: cz.Store) -> None:
    with pytest.raises(UnknownValue, match="legal: transform=None"):
        cz.Dataset(train, cz.Volumes(), transform=len).spec()


def test_intensities(train: cz.Store) -> None:
    plain = cz.Dataset(train, cz.Volumes())
    window = cz.Dataset(train, cz.Volumes(window=(-450, 1050)))
    own = cz.Dataset(train, cz.Volumes(normalize="volume"))
    given_moments = cz.Dataset(train, cz.Volumes(normalize=cz.Normalization(100, 250)))
    for number, sample in enumerate(plain):
        hu, record = sample["image"], train[sample["patient_id"]].record.intensity
        assert np.allclose(window[number]["image"], np.clip((hu + 450) / 1500, 0, 1), atol=1e-6)
        assert np.allclose(own[number]["image"], (hu - record.mean) / record.std, atol=1e-5)
        assert np.allclose(given_moments[number]["image"], (hu - 100) / 250, atol=1e-5)
        # The catalog's moments are those of every voxel: none of these cases has padding.
        assert abs(own[number]["image"].mean(dtype=np.float64)) < 1e-5
        assert abs(own[number]["image"].std(dtype=np.float64) - 1) < 1e-5
        assert all(d[number]["image"].dtype == np.float32 for d in (window, own, given_moments))


def test_padding_does_not_squeeze_bone(phantom_store: cz.Store) -> None:
    """What a scanner writes outside its field of view is no measurement, and scales nothing."""
    padded = {case: phantom_store[case] for case in ("1.3.6.1.4.1.9328.50.4.0064", "liver_12")}
    scaled = {sample["index"]: sample for sample in cz.Dataset(phantom_store, cz.Volumes(normalize="volume"))}
    for index, name in enumerate(phantom_store):
        if name not in padded:
            continue
        hu, mask = (padded[name].voxels(which)[...] for which in ("image", "segmentation"))
        found, measured = scaled[index]["image"], hu > -3024
        assert 0.1 < np.mean(~measured) < 0.5
        figures = padded[name].record.intensity
        assert figures.mean == pytest.approx(hu[measured].mean(dtype=np.float64), rel=1e-9)
        assert figures.std == pytest.approx(hu[measured].std(dtype=np.float64), rel=1e-9)
        assert found[measured].std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
        bone = hu[mask > 0].std(dtype=np.float64)
        assert found[mask > 0].std(dtype=np.float64) == pytest.approx(bone / figures.std, rel=1e-4)
        # With padding in the figures it would be spread by less than two thirds of that.
        assert figures.std < 2 / 3 * hu.std(dtype=np.float64)


def test_stored_dtypes_channel_and_transform(train: cz.Store) -> None:
    sample = cz.Dataset(train, cz.Slices(keep_dtype=True, channel=True))[3]
    assert [sample["image"].dtype, sample["segmentation"].dtype] == ["int16", "uint8"]
    assert sample["image"].shape == sample["segmentation"].shape == (1, 96, 96)
    assert sample["image"].flags.c_contiguous
    assert sample["image"].flags.writeable
    rounded = cz.Dataset(train, cz.Patches(8, keep_dtype=True, spacing=1.7))
    exact = cz.Dataset(train, cz.Patches(8, spacing=1.7))
    assert rounded[0]["image"].dtype == np.int16
    assert np.array_equal(rounded[0]["image"], np.rint(exact[0]["image"]))
    shapes = cz.Dataset(train, cz.Patches(8), transform=lambda sample: sample["image"].shape)
    assert list(shapes) == [(8, 8, 8)] * 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (5, 5)}, r"window \(5, 5\); legal: \(low, high\)"),
        ({"normalize": "mri"}, 'normalize .mri.; legal: "ct", "volume", Normalization'),
        ({"orientation": ["R", "A", "S"]}, "orientation .*; legal: .*hub"),
        ({"normalize": (0, 1)}, "normalize .0, 1.; legal"),
        ({"label_map": "binary", "segmentation": False}, "label_map 'binary' without masks; legal"),
        ({"window": (0, 1), "normalize": "volume"}, "legal: one of them"),
        ({"window": (0, 1), "keep_dtype": True}, "scaled values are float32"),
        ({"orientation": "XYZ"}, "orientation 'XYZ'; legal"),
    ],
)
def test_options_that_are_none_are_refused(options: Any, message: str) -> None:
    for kind in (cz.Volumes, cz.Slices, partial(cz.Patches, 8), partial(cz.Vertebrae, 8)):
        with pytest.raises(UnknownValue, match=message):
            kind(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda store: cz.Dataset(store, cz.Patches(0)), "patch size"),
        (lambda store: cz.Dataset(store, cz.Patches((8, 8))), "size"),
        (
            lambda store: cz.Dataset(store, cz.Patches(8, samples_per_volume=0)),
            "samples_per_volume 0; legal: an integer from 1",
        ),
        (lambda store: cz.Dataset(store, cz.Patches(8, spacing=-1)), "spacing -1; legal: mm above 0"),
        (lambda store: cz.Dataset(store, cz.Patches(8, spacing=(1, 2))), "one number or"),
        (
            lambda store: cz.Dataset(store, cz.Patches(999, fill=1e9))[0],
            r"fill 1000000000.0; legal: what int16 holds",
        ),
        (lambda store: cz.Stream(store, cz.Patches(8, patches_per_region=0)), "patches_per_region 0"),
        (lambda store: cz.Stream(store, cz.Slices(), buffer=0), "buffer 0; legal: an integer from 1"),
        (lambda store: cz.Stream(store, cz.Slices(seed=-1)), "seed -1; legal: an integer from 0"),
        (lambda store: cz.Stream(store, cz.Slices()).set_epoch(-1), "epoch -1; legal"),
        (lambda store: cz.Dataset(store, cz.Windows(8, overlap=1)), "overlap 1; legal: from 0 and below 1"),
        (lambda store: cz.Dataset(store.location, cz.Volumes()), "legal: what open_store"),
    ],
)
def test_arguments_that_are_none_are_refused(train: cz.Store, make: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        make(train)


def test_what_is_no_kind_of_samples_is_refused(train: cz.Store) -> None:
    for kind in (cz.Slices, "slices", None):
        with pytest.raises(UnknownValue, match=r"instead of a kind of samples; legal: Slices\(\)"):
            cz.Dataset(train, kind)  # type: ignore[call-overload]
    with pytest.raises(UnknownValue, match="transform 3; legal: a callable"):
        cz.Stream(train, cz.Slices(), transform=3)  # type: ignore[call-overload]


# Cases without a mask


@pytest.fixture(scope="session")
def mixed(train: cz.Store) -> cz.Store:
    """Two cases of five have no mask."""
    return without_masks(train, CASE, "liver_0")


def test_masks_that_are_not_there_are_never_zeros(mixed: cz.Store) -> None:
    for make in EVERY:
        with pytest.raises(
            UnknownValue,
            match=f"2 of 5 cases of the selection have no mask, such as {CASE}; "
            r"legal: select\(has_mask=True\), or segmentation=False",
        ):
            make(mixed)
        assert len(make(mixed.select(has_mask=True))) > 0
    with pytest.raises(NoMask):
        cz.Dataset(mixed, cz.Volumes(segmentation=False))._case(0).regions([], names=("segmentation",))


def test_a_test_set_without_masks_gives_its_images(tmp_path: Path) -> None:
    """As built from files, of a dataset with names of its own."""
    source, mask = tmp_path / "Dataset001_Abdomen", labels()
    for place, name in (("Tr", "one"), ("Ts", "two")):
        for folder in ("images", "labels"):
            (source / f"{folder}{place}").mkdir(parents=True)
        (source / f"images{place}" / f"{name}_0000.nii.gz").write_bytes(packed(voxels()))
    (source / "labelsTr" / "one.nii.gz").write_bytes(packed((mask == 24).astype("uint8")))
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    (source / "dataset.json").write_text(
        json.dumps(description | {"numTraining": 1, "file_ending": ".nii.gz"})
    )
    cz.build_store(cz.plan_build(source, tmp_path / "s.zarr"))
    store = cz.open_store(tmp_path / "s.zarr")
    assert [case.has_mask for case in store.values()] == [True, False]
    with pytest.raises(UnknownValue, match="1 of 2 cases of the selection have no mask, such as two; legal:"):
        cz.Stream(store, cz.Slices())
    unlabelled = [
        sample for sample in cz.Stream(store, cz.Slices(segmentation=False)) if sample["index"] == 1
    ]
    assert len(unlabelled) == store["two"].shape[0]
    for sample in unlabelled:
        assert "segmentation" not in sample
        assert np.array_equal(sample["image"], voxels()[:, :, sample["slice_index"]].T)
    around = cz.Balanced(weights={"liver": 1}, where="voxel")
    assert all(
        s["segmentation"][2, 2, 2] == 1
        for s in cz.Dataset(store.select(split="train"), cz.Patches(4, strategy=around))
    )
    for name, message in (("L1", "unknown label 'L1'; legal: liver$"), ("liver", "it has|no case")):
        with pytest.raises(UnknownValue, match=message):
            cz.Dataset(
                store.select(split="test"),
                cz.Patches(8, segmentation=False, strategy=cz.Balanced(weights={name: 1})),
            )


@pytest.mark.parametrize("keep_dtype", [False, True])
def test_images_alone_are_those_beside_masks(train: cz.Store, mixed: cz.Store, keep_dtype: bool) -> None:
    # A crop and a vertebra need labels.
    for make in (make for kind, make in KINDS.items() if kind not in {"cropped", "vertebrae"}):
        alone = make(mixed, segmentation=False, keep_dtype=keep_dtype)
        both = make(train, keep_dtype=keep_dtype)
        assert len(alone) == len(both)
        assert list(alone.spec()) == [name for name in both.spec() if name != "segmentation"]
        for number in np.linspace(0, len(both) - 1, 7).astype(int):
            sample, expected = alone[number], both[number]
            assert list(sample) == list(alone.spec())
            assert all(np.array_equal(sample[name], expected[name]) for name in sample)


@pytest.mark.parametrize("kind", ["slices", "sagittal", "patches"])
def test_streams_of_images_alone_have_what_those_with_masks_have(
    train: cz.Store, mixed: cz.Store, kind: str
) -> None:
    alone = list(STREAMS[kind](mixed, segmentation=False))
    both = list(STREAMS[kind](train))
    assert {"segmentation"} == set(both[0]) - set(alone[0])
    for sample, expected in zip(alone, both, strict=True):
        assert all(np.array_equal(sample[name], expected[name]) for name in sample)


def test_masks_that_are_not_asked_for_are_not_read(
    phantom_store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    fill = Voxels.fill

    def noted(voxels: Voxels, *arguments: Any) -> None:
        read.append(voxels.dtype.name)
        fill(voxels, *arguments)

    monkeypatch.setattr(Voxels, "fill", noted)
    for options in ({}, {"strategy": cz.Balanced()}, {"spacing": 5}):
        list(cz.Stream(phantom_store, cz.Patches(8, segmentation=False, **options)))
        assert read
        assert "uint8" not in read
        list(cz.Stream(phantom_store, cz.Patches(8, **options)))
        assert "uint8" in read
        read.clear()


def test_what_draws_from_labels_leaves_out_cases_without_a_mask(mixed: cz.Store) -> None:
    masked = set(mixed.select(has_mask=True))
    options: dict[str, Any] = {"segmentation": False}
    slices = {s["patient_id"] for s in cz.Dataset(mixed, cz.Slices(foreground_only=True, **options))}
    assert slices == masked
    for where in ("box", "voxel"):
        balanced = cz.Dataset(mixed, cz.Patches(8, strategy=cz.Balanced(where=where), **options))
        assert {sample["patient_id"] for sample in balanced} <= masked
    foreground = cz.Dataset(mixed, cz.Patches(8, strategy=cz.Foreground(probability=1), **options))
    assert {sample["patient_id"] for sample in foreground} == set(mixed)


def test_a_state_with_masks_goes_on_without_them(train: cz.Store, mixed: cz.Store) -> None:
    """What samples look like is no part of their order."""
    stream = cz.Stream(train, cz.Slices())
    begun = iter(stream)
    for _ in range(9):
        next(begun)
    other = cz.Stream(mixed, cz.Slices(segmentation=False))
    other.load_state_dict(stream.state_dict())
    assert next(iter(other))["slice_index"] == next(begun)["slice_index"]


EVERY: list[Any] = [
    lambda store: cz.Dataset(store, cz.Volumes()),
    lambda store: cz.Dataset(store, cz.Slices()),
    lambda store: cz.Stream(store, cz.Slices()),
    lambda store: cz.Dataset(store, cz.Patches(8)),
    lambda store: cz.Stream(store, cz.Patches(8)),
    lambda store: cz.Dataset(store, cz.Windows(8)),
]


@pytest.mark.parametrize("make", EVERY)
def test_an_empty_selection_is_refused(phantom_store: cz.Store, make: Any) -> None:
    with pytest.raises(UnknownValue, match="the selection has no case; legal: 1 or more"):
        make(phantom_store.select(min_slices=10_000))


@pytest.mark.parametrize("number", [20, -21, 1.5, "one", None, slice(0, 2)])
def test_a_sample_that_is_none_is_refused(train: cz.Store, number: Any) -> None:
    with pytest.raises(OutOfBounds, match=r"legal: -20 to 19"):
        cz.Dataset(train, cz.Patches(8))[number]
    assert cz.Dataset(train, cz.Patches(8))[-1]["index"] == 4


def test_a_volume_of_one_slice(tree: Tree, tmp_path: Path) -> None:
    mask = labels((20, 24, 1))
    mask[5:9, 5:9, 0] = 20
    tree.add("liver_1", voxels(shape=(20, 24, 1)), mask)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    store = cz.open_store(tmp_path / "s.zarr")
    assert cz.Dataset(store, cz.Slices())[0]["image"].shape == (24, 20)
    assert len(list(cz.Stream(store, cz.Slices()))) == 1
    assert len(list(cz.Stream(store, cz.Slices(axis="coronal")))) == 24
    for spacing in (None, 1.0):
        (patch, *_) = cz.Stream(store, cz.Patches(8, strategy=cz.Balanced(), spacing=spacing, channel=True))
        assert patch["image"].shape == (1, 8, 8, 8)
        assert (patch["segmentation"] == 20).any()
        assert (patch["image"] == -1024).any()
    (window,) = cz.Dataset(store, cz.Windows(32))
    assert (window["image"] > -1024).sum() <= 24 * 20 < window["image"].size


def test_windows_make_the_volume_again(train: cz.Store) -> None:
    dataset = cz.Dataset(train, cz.Windows((20, 40, 40), overlap=0.25))
    volumes = cz.Dataset(train, cz.Volumes())
    for case, volume in enumerate(volumes):
        windows = [dataset[number] for number in dataset.numbers_of(case)]
        assert {window["index"] for window in windows} == {case}
        found = cz.assemble(((w["start"], w["image"]) for w in windows), dataset.shape_of(case))
        assert np.allclose(found, volume["image"], atol=0.01)
    assert sum(len(dataset.numbers_of(case)) for case in range(len(train))) == len(dataset)
    assert dataset.numbers_of(-1) == dataset.numbers_of(len(train) - 1)


# Streams

STREAMS: dict[str, Any] = {
    "slices": lambda store, **options: cz.Stream(store, cz.Slices(**options), buffer=4),
    "sagittal": lambda store, **options: cz.Stream(
        store, cz.Slices(axis="sagittal", every=5, **options), buffer=2
    ),
    "patches": lambda store, **options: cz.Stream(
        store, cz.Patches(16, samples_per_volume=6, **options), buffer=3
    ),
    "balanced": lambda store, **options: cz.Stream(
        store, cz.Patches(16, strategy=cz.Balanced(where="voxel"), **options), buffer=3
    ),
}


def key(sample: Any) -> tuple[Any, ...]:
    """What tells samples apart, a check sum of their voxels included."""
    where = sample["slice_index"] if "slice_index" in sample else tuple(sample["start"].tolist())
    return sample["patient_id"], where, float(sample["image"].sum()), int(sample["segmentation"].sum())


def test_a_slice_stream_has_what_the_dataset_has(train: cz.Store) -> None:
    for options in ({}, {"axis": "coronal", "every": 9}, {"foreground_only": True}, {"orientation": "hub"}):
        dataset, stream = cz.Dataset(train, cz.Slices(**options)), cz.Stream(train, cz.Slices(**options))
        assert len(stream) == len(dataset)
        assert sorted(map(key, stream)) == sorted(map(key, dataset))
        assert list(map(key, stream)) != list(map(key, dataset))


def test_a_patch_stream_of_single_patches_is_the_dataset_shuffled(train: cz.Store) -> None:
    for options in ({}, {"strategy": cz.Balanced()}, {"spacing": 3.0}):
        dataset = cz.Dataset(train, cz.Patches(16, **options))
        stream = cz.Stream(train, cz.Patches(16, patches_per_region=1, **options))
        for epoch in (0, 3):
            dataset.set_epoch(epoch)
            stream.set_epoch(epoch)
            assert sorted(map(key, stream)) == sorted(map(key, dataset))


@pytest.mark.parametrize("kind", STREAMS)
def test_a_pass_follows_from_seed_and_epoch(train: cz.Store, kind: str) -> None:
    def keys(seed: int, epoch: int) -> list[tuple[Any, ...]]:
        stream = STREAMS[kind](train, seed=seed)
        stream.set_epoch(epoch)
        return list(map(key, stream))

    first = keys(0, 0)
    assert keys(0, 0) == first
    assert keys(0, 1) != first
    assert keys(1, 0) != first


@settings(max_examples=12, deadline=None)
@given(ranks=st.integers(1, 4), seed=st.integers(0, 3), even=st.booleans())
@pytest.mark.parametrize("kind", STREAMS)
def test_ranks_share_an_epoch_without_loss_or_double(
    train: cz.Store, kind: str, ranks: int, seed: int, even: bool
) -> None:
    alone = sorted(map(key, STREAMS[kind](train, seed=seed)))
    shared: list[tuple[Any, ...]] = []
    for rank in range(ranks):
        stream = STREAMS[kind](train, seed=seed)
        stream.shard(rank, ranks, even=even)
        mine = list(map(key, stream))
        assert len(mine) == len(stream)
        shared += mine
    if not even:
        assert sorted(shared) == alone
    else:
        assert len(shared) == len(alone) - len(alone) % ranks
        assert not [one for one in shared if one not in alone]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_goes_on_with_the_exact_next_sample(train: cz.Store, kind: str, data: st.DataObject) -> None:
    stream = STREAMS[kind](train)
    stream.shard(1, 2)
    stream.set_epoch(data.draw(st.integers(0, 2)))
    whole = list(map(key, stream))
    count = data.draw(st.integers(0, len(whole)))
    begun = iter(stream)
    first = [key(next(begun)) for _ in range(count)]
    state = pickle.loads(pickle.dumps(stream.state_dict()))  # noqa: S301 - our own
    other = STREAMS[kind](train)
    other.shard(1, 2)
    other.load_state_dict(state)
    assert count == len(whole) or other.state_dict() == state
    if count == len(whole):
        stream.set_epoch(stream.epoch + 1)
        assert list(map(key, other)) == list(map(key, stream))
        return
    assert first + list(map(key, other)) == whole
    # The pass after that is whole again.
    assert list(map(key, other)) == whole


def test_a_state_of_other_samples_is_refused(train: cz.Store) -> None:
    state = cz.Stream(train, cz.Slices()).state_dict()
    for other, named in (
        (cz.Stream(train, cz.Slices(seed=1)), "seed 0"),
        (cz.Stream(train, cz.Slices(), buffer=7), "buffer 16"),
        (cz.Stream(train, cz.Slices(every=2)), "every=1"),
        (cz.Stream(train, cz.Slices(axis="sagittal"), buffer=16), "axis='axial'"),
        (cz.Stream(train, cz.Slices(foreground_only=True)), "foreground=False"),
        (cz.Stream(train, cz.Slices(orientation="LPI")), "orientation='SAR'"),
        (cz.Stream(train.select(source="COLONOG"), cz.Slices()), "cases"),
        (cz.Stream(train, cz.Patches(8), buffer=16), "plan .SlicePlan"),
    ):
        with pytest.raises(UnknownValue, match=f"{named}.* cannot go on here; legal:"):
            other.load_state_dict(state)
    halved = cz.Stream(train, cz.Slices())
    halved.shard(0, 2)
    with pytest.raises(UnknownValue, match="rank"):
        halved.load_state_dict(state)
    patches = cz.Stream(train, cz.Patches(8, seed=1))
    for options in (
        {"size": 9},
        {"strategy": cz.Balanced()},
        {"strategy": cz.Foreground()},
        {"spacing": 2},
        {"seed": 2},
        {"samples_per_volume": 5},
        {"patches_per_region": 2},
    ):
        other = cz.Stream(train, cz.Patches(**{"size": 8, "seed": 1} | options))
        with pytest.raises(UnknownValue, match="cannot go on here"):
            other.load_state_dict(patches.state_dict())
    for place in ({"position": -1}, {"position": 10_000}, {"position": 1.5}, {"epoch": None}):
        with pytest.raises(UnknownValue, match="; legal: "):
            patches.load_state_dict(patches.state_dict() | place)


def test_a_place_is_that_of_its_epoch_only(train: cz.Store) -> None:
    stream = cz.Stream(train, cz.Slices())
    next(iter(stream))
    stream.load_state_dict(stream.state_dict())
    stream.set_epoch(0)
    assert len(list(stream)) == len(stream) - 1
    stream.load_state_dict(stream.state_dict() | {"position": 5})
    stream.set_epoch(1)
    assert len(list(stream)) == len(stream)


def chunks_of(store: cz.Store) -> int:
    return sum(
        int(np.prod([-(-n // c) for n, c in zip(case.shape, case.record.image.chunk, strict=True)]))
        for case in store.values()
    )


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_each_slab_is_decoded_once(train: cz.Store, axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with decoded(monkeypatch) as count:
        for _ in cz.Stream(train, cz.Slices(axis=axis), buffer=2):
            pass
    # Masks leave out empty chunks.
    assert chunks_of(train) < count[0] <= 2 * chunks_of(train)


def test_each_region_is_decoded_once(train: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def chunks(patches_per_region: int) -> int:
        with decoded(monkeypatch) as count:
            stream = cz.Stream(
                train, cz.Patches((16, 40, 40), samples_per_volume=40, patches_per_region=patches_per_region)
            )
            assert len(list(stream)) == 200
        return count[0]

    assert chunks(8) < 1.3 * chunks(1) / 8


def test_no_voxel_is_read_to_draw_from_the_catalog(train: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        pytest.fail("voxels were read")

    monkeypatch.setattr("ctspine_zarr.training.samples.Samples._voxels", fail)
    dataset = cz.Dataset(train, cz.Patches(16, strategy=cz.Balanced(jitter=5)))
    assert len([dataset._unit(number) for number in range(len(dataset))]) == 20


def test_samples_pickle_small_and_equal(train: cz.Store) -> None:
    for make in (*KINDS.values(), *STREAMS.values()):
        made = make(train)
        first = next(iter(made))
        data = pickle.dumps(made)
        assert len(data) < 40_000
        assert key_or_sum(next(iter(pickle.loads(data)))) == key_or_sum(first)  # noqa: S301 - our own


def key_or_sum(sample: Any) -> tuple[Any, ...]:
    return key(sample) if {"start", "slice_index"} & set(sample) else (float(sample["image"].sum()),)


def test_damage_is_an_error_of_the_sample_that_touches_it(tree: Tree, tmp_path: Path) -> None:
    for number in (1, 2):
        tree.add(f"liver_{number}")
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    store = cz.open_store(tmp_path / "s.zarr")
    shard = tmp_path / "s.zarr/train/MSD-T10/liver_2/image/c/0/0/0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    dataset = cz.Dataset(store, cz.Volumes())
    assert dataset[0]["patient_id"] == "liver_1"
    with pytest.raises(DamagedStore, match="liver_2"):
        dataset[1]
    with pytest.raises(DamagedStore, match="liver_2"):
        list(cz.Stream(store, cz.Slices()))


def test_a_state_is_plain_and_of_one_pass(train: cz.Store) -> None:
    kind: Any = cz.Patches(np.int64(8), seed=np.int64(3))  # type: ignore[arg-type]
    stream: Any = cz.Stream(train, kind, buffer=np.int64(2))  # type: ignore[call-overload]
    stream.set_epoch(np.int64(1))
    first, second = iter(stream), iter(stream)
    for _ in range(5):
        next(first)
    next(second)
    next(first)
    assert json.loads(json.dumps(stream.state_dict())) == stream.state_dict()
    assert (stream.state_dict()["epoch"], stream.state_dict()["position"]) == (1, 1)
    stream.set_epoch(4)
    assert (stream.state_dict()["epoch"], stream.state_dict()["position"]) == (4, 0)


def test_integers_of_numpy_are_integers(train: cz.Store) -> None:
    options: dict[str, Any] = {"samples_per_volume": np.uint8(200)}
    assert len(cz.Dataset(train, cz.Patches(8, **options))) == 1000
    assert len(cz.Stream(train, cz.Patches(8, patches_per_region=np.int8(3), **options))) == 1000  # type: ignore[arg-type]
    assert cz.Dataset(train, cz.Patches(8))[np.int8(-1)]["index"] == 4


@pytest.mark.parametrize(
    "options", [{}, {"axis": "sagittal"}, {"orientation": "hub"}, {"every": 5, "orientation": "LPI"}]
)
def test_slices_read_together_are_those_read_alone(train: cz.Store, options: Any) -> None:
    dataset: Any = cz.Dataset(train, cz.Slices(**options))
    numbers = np.random.default_rng(0).integers(-len(dataset), len(dataset), 12).tolist()
    for together, number in zip(dataset.__getitems__(numbers), numbers, strict=True):
        alone = dataset[number]
        assert all(np.array_equal(together[name], alone[name]) for name in alone)
    with pytest.raises(OutOfBounds, match="sample 10000"):
        dataset.__getitems__([0, 10_000])


class Extended(cz.Dataset[Any]):
    def __getitem__(self, number: Any) -> Any:
        return super().__getitem__(number) | {"more": 1}


def test_a_subclass_makes_its_samples_itself(train: cz.Store) -> None:
    dataset = Extended(train, cz.Slices())
    assert all("more" in sample for sample in (*dataset, *dataset.__getitems__([0, 5])))


def test_slices_in_order_decode_each_slab_once(train: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = cz.Dataset(train, cz.Slices())
    with decoded(monkeypatch) as count:
        assert len(list(dataset)) == len(dataset)
    assert count[0] <= 2 * chunks_of(train)
    with decoded(monkeypatch) as count:
        dataset.__getitems__(range(DEFAULT_CHUNK[0]))
    assert count[0] <= 2 * 4


def test_a_stream_holds_no_more_slabs_than_are_open(train: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slices: list[weakref.ref[NDArray[Any]]] = []
    read = samples.Samples._read

    def noted(*arguments: Any) -> list[cz.Sample]:
        found = read(*arguments)
        slices.extend(weakref.ref(sample["image"]) for sample in found)
        return found

    monkeypatch.setattr(samples.Samples, "_read", noted)
    alive = [sum(one() is not None for one in slices) for _ in cz.Stream(train, cz.Slices(), buffer=3)]
    assert len(slices) == len(alive)
    assert 16 < max(alive) <= 3 * 16


def test_going_on_reads_only_what_is_left(train: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = cz.Stream(train, cz.Slices(), buffer=2)
    begun = iter(stream)
    for _ in range(len(stream) - 3):
        next(begun)
    stream.load_state_dict(stream.state_dict())
    slices: list[cz.Sample] = []
    read = samples.Samples._read

    def noted(*arguments: Any) -> list[cz.Sample]:
        found = read(*arguments)
        slices.extend(found)
        return found

    monkeypatch.setattr(samples.Samples, "_read", noted)
    assert len(list(stream)) == len(slices) == 3


def test_a_slab_is_shuffled_unlike_in_each_epoch_and_share(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    # 24 coronal slices: one slab.
    stream = cz.Stream(cz.open_store(tmp_path / "s.zarr"), cz.Slices(axis="coronal"))

    def order(rank: int, ranks: int, epoch: int) -> list[int]:
        stream.shard(rank, ranks)
        stream.set_epoch(epoch)
        found = [sample["slice_index"] for sample in stream]
        return [index - min(found) for index in found]

    assert order(0, 1, 0) != order(0, 1, 1)
    assert order(0, 2, 0) != order(1, 2, 0)


def interpolated(case: cz.Case, *along: NDArray[np.float64]) -> NDArray[np.float32]:
    """A case's own HU at positions along z, y and x, in voxels, as scipy has them."""
    stored = case.voxels("image")[...].astype("float32")
    grid = np.meshgrid(*along, indexing="ij")
    found: NDArray[np.float32] = scipy.ndimage.map_coordinates(stored, grid, order=1, mode="nearest")
    return found


@pytest.mark.parametrize("spacing", [None, 3.3])
def test_padding_is_the_fill_and_all_else_the_cases_own(train: cz.Store, spacing: float | None) -> None:
    patch = cz.Dataset(train, cz.Patches(300, spacing=spacing, fill=-500))[0]
    case = train[patch["patient_id"]]
    assert patch["image"][0, 0, 0] == -500
    inside, along = [], []
    for start, own, count in zip(patch["start"], case.spacing, case.shape, strict=True):
        step = 1 if spacing is None else spacing / own
        positions = ((start + np.arange(300) + 0.5) * step - 0.5).round(6)
        inside.append((positions >= -0.5) & (positions <= count - 0.5))
        along.append(positions[inside[-1]])
    expected = np.full((300, 300, 300), -500, "float32")
    expected[np.ix_(*inside)] = interpolated(case, *along)
    assert np.allclose(patch["image"], expected, rtol=0, atol=0 if spacing is None else 0.01)


def test_a_resampled_patch_around_voxels_has_the_label_in_its_middle(train: cz.Store) -> None:
    strategy = cz.Balanced(where="voxel", weights={"L3": 1})
    for sample in cz.Dataset(train, cz.Patches(9, strategy=strategy, spacing=2.5)):
        volume = np.round(
            np.multiply(train[sample["patient_id"]].shape, train[sample["patient_id"]].spacing) / 2.5
        )
        if all(0 < start < n - 9 for start, n in zip(sample["start"], volume, strict=True)):
            assert 22 in sample["segmentation"][3:6, 3:6, 3:6]


def test_a_volume_of_one_value_is_zeros(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1", np.full((20, 24, 18), 7, "int16"))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    (sample,) = cz.Dataset(cz.open_store(tmp_path / "s.zarr"), cz.Volumes(normalize="volume"))
    assert (sample["image"] == 0).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_windows_make_the_volume_again_in_any_orientation(train: cz.Store, orientation: str) -> None:
    options: dict[str, Any] = {"orientation": orientation, "spacing": 5.0}
    dataset, volumes = (
        cz.Dataset(train, cz.Windows(20, overlap=0.2, **options)),
        cz.Dataset(train, cz.Volumes(**options)),
    )
    for case in (0, 2, len(train) - 1):
        windows = (dataset[number] for number in dataset.numbers_of(case))
        found = cz.assemble(((w["start"], w["image"]) for w in windows), dataset.shape_of(case))
        assert np.allclose(found, volumes[case]["image"], atol=0.01)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_start_is_that_of_the_volume_in_its_orientation(train: cz.Store, orientation: str) -> None:
    volumes = cz.Dataset(train, cz.Volumes(orientation=orientation))
    for patch in cz.Dataset(train, cz.Patches((8, 20, 30), orientation=orientation)):
        box = tuple(slice(s, s + n) for s, n in zip(patch["start"], patch["image"].shape, strict=True))
        assert np.array_equal(patch["image"], volumes[patch["index"]]["image"][box])


@pytest.mark.parametrize("spacing", [1000, 2500])
def test_volumes_thinner_than_the_spacing_have_their_middle_as_one_voxel(
    train: cz.Store, spacing: float
) -> None:
    volume = cz.Dataset(train, cz.Volumes(spacing=spacing))[0]
    patch = cz.Dataset(train, cz.Patches(4, spacing=spacing))[0]
    for sample, padding in ((volume, 0), (patch, 63)):
        case = train[sample["patient_id"]]
        [middle] = interpolated(case, *(np.array([(count - 1) / 2]) for count in case.shape)).ravel()
        assert middle > -1024
        assert np.allclose(np.sort(sample["image"].ravel()), [-1024] * padding + [middle], rtol=0, atol=0.01)


class Broken(Strategy):
    def aiming(self, *_: Any) -> Any:
        def aim(*_: Any) -> Any:
            message = "a strategy's own"
            raise IndexError(message)

        return aim


def test_an_error_of_a_strategy_stays_its_own(train: cz.Store) -> None:
    with pytest.raises(IndexError, match="a strategy's own") as found:
        cz.Dataset(train, cz.Patches(8, strategy=Broken()))[0]
    assert not isinstance(found.value, OutOfBounds)


class Fixed(Strategy):
    def aiming(self, records: Any, spec: Any) -> Any:
        def aim(case: int, _: Any) -> Aim:
            label = records[case].labels[0]
            assert spec.labels[label.label] == label.name
            return Aim(case, label, "centroid")

        return aim


def test_a_users_strategy_aims(train: cz.Store) -> None:
    for sample in cz.Dataset(train, cz.Patches(1, strategy=Fixed())):
        centroid = train[sample["patient_id"]].record.labels[0].centroid
        assert np.array_equal(sample["start"], np.rint(centroid))


@pytest.mark.parametrize("case", [20, "one", None])
def test_a_case_that_is_none_is_refused(train: cz.Store, case: Any) -> None:
    for of_case in (
        cz.Dataset(train, cz.Slices()).of_case,
        cz.Dataset(train, cz.Volumes()).of_case,
        cz.Dataset(train, cz.Windows(8)).numbers_of,
        cz.Dataset(train, cz.Windows(8)).shape_of,
    ):
        with pytest.raises(OutOfBounds, match=r"case .*; legal: -5 to 4"):
            of_case(case)
