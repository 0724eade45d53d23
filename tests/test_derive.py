"""A derived store is a store as any other, and holds what its recipe says, by an independent reading."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.ndimage
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.derive.cases import DerivedCases
from ctspine_zarr.derive.filtering import taps_of
from ctspine_zarr.derive.majority import majority
from ctspine_zarr.errors import StoreMismatch, UnknownValue
from ctspine_zarr.geometry import Lattice

ONE = "liver_0"


def derived(parent: cz.Store, place: Path, **recipe: Any) -> cz.Store:
    cases = recipe.pop("cases", (ONE,))
    plan = cz.plan_derive(parent.location, place, workers=1, selection=cz.Selection(cases=cases), **recipe)
    result = cz.build_store(plan)
    assert not result.refused
    return cz.open_store(place)


def voxels(case: cz.Case, which: Any = "image") -> NDArray[Any]:
    found: NDArray[Any] = case.voxels(which)[...]
    return found


@pytest.mark.parametrize("spacing", [1.0, (1.7, 0.6, 1.1)])
def test_a_finer_store_has_what_linear_and_nearest_samples_have(
    phantom_store: cz.Store, tmp_path: Path, spacing: Any
) -> None:
    case = derived(phantom_store, tmp_path / "d.zarr", spacing=spacing)[ONE]
    own = phantom_store[ONE]
    finer = tuple(min(one, mm) for one, mm in zip(np.broadcast_to(spacing, 3), own.spacing, strict=True))
    if finer != tuple(np.broadcast_to(spacing, 3)):
        spacing = finer
        case = derived(phantom_store, tmp_path / "e.zarr", spacing=spacing)[ONE]
    (sample,) = cz.Dataset(phantom_store[[ONE]], cz.Volumes(spacing=spacing))
    assert np.abs(voxels(case) - np.rint(sample["image"])).max() <= 1
    assert np.array_equal(voxels(case, "segmentation"), sample["segmentation"])
    assert np.allclose(case.affine_of("SAR"), sample["affine"], atol=1e-3)
    assert case.record.image.dtype == "int16"


def test_a_coarser_store_is_filtered(phantom_store: cz.Store, tmp_path: Path) -> None:
    spacing = tuple(3 * mm for mm in phantom_store[ONE].spacing)
    case = derived(phantom_store, tmp_path / "d.zarr", spacing=spacing, dtype="float32")[ONE]
    # A triangle of half width 3: the mean of means of 3, in the middle of each three voxels.
    image = voxels(phantom_store[ONE]).astype(np.float64)
    for axis in range(3):
        line = np.array([1, 2, 3, 2, 1]) / 9
        image = scipy.ndimage.correlate1d(image, line, axis, mode="nearest")
    expected = image[1::3, 1::3, 1::3][: case.shape[0], : case.shape[1], : case.shape[2]]
    inside = (slice(1, -1),) * 3
    assert np.allclose(voxels(case)[inside], expected[inside], atol=0.05)


def test_a_cropped_and_mapped_store_is_exact_and_its_own_dataset(
    phantom_store: cz.Store, tmp_path: Path
) -> None:
    store = derived(phantom_store, tmp_path / "d.zarr", crop="spine", margin_mm=10, label_map="regions")
    case = store[ONE]
    kind = cz.Volumes(crop="spine", margin_mm=10, label_map="regions", keep_dtype=True)
    (sample,) = cz.Dataset(phantom_store[[ONE]], kind)
    assert np.array_equal(voxels(case), sample["image"])
    assert np.array_equal(voxels(case, "segmentation"), sample["segmentation"])
    assert list(store.spec.labels.values()) == ["cervical", "thoracic", "lumbar", "L6"]
    assert store.spec.levels == ()
    assert set(case.labels) <= set(store.spec.regions)
    recipe = store.spec.derived
    assert recipe is not None
    assert (recipe.parent, recipe.crop, recipe.margin) == (phantom_store.digest, "spine", (10, 10, 10))
    assert (store.spec.name, store.spec.licence) == (phantom_store.spec.name, phantom_store.spec.licence)
    assert not cz.verify(tmp_path / "d.zarr").problems


def test_values_beyond_a_window_are_cut_off(phantom_store: cz.Store, tmp_path: Path) -> None:
    case = derived(phantom_store, tmp_path / "d.zarr", window=(-200, 300))[ONE]
    assert np.array_equal(voxels(case), np.clip(voxels(phantom_store[ONE]), -200, 300))


def test_it_is_exported_as_a_file_that_nibabel_reads(phantom_store: cz.Store, tmp_path: Path) -> None:
    case = derived(phantom_store, tmp_path / "d.zarr", spacing=2.0)[ONE]
    done = cz.export_cases(tmp_path / "d.zarr", tmp_path / "files", [ONE])
    assert not done.failed
    [path] = (tmp_path / "files").rglob("liver_0.nii.gz")
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj), voxels(case).transpose())  # type: ignore[attr-defined]
    assert np.allclose(image.affine, case.affine)  # type: ignore[attr-defined]


def test_a_second_run_goes_on_and_another_recipe_is_refused(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = tmp_path / "d.zarr"
    derived(phantom_store, place, spacing=3.0)
    plan = cz.plan_derive(phantom_store.location, place, spacing=3.0, workers=1)
    assert (len(plan.whole), len(plan.pending)) == (1, len(phantom_store) - 1)
    before = {path: path.read_bytes() for path in place.rglob("c/0/0/0")}
    cz.build_store(plan)
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(cz.open_store(place)) == len(phantom_store)
    with pytest.raises(StoreMismatch, match="legal: the same dataset, or another store"):
        cz.plan_derive(phantom_store.location, place, spacing=2.0)


def test_parts_give_the_bytes_of_one_run(phantom_store: cz.Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"spacing": 4.0, "workers": 1}
    cz.build_store(cz.plan_derive(phantom_store.location, tmp_path / "one.zarr", **options))
    for number in (1, 2):
        part = cz.Part(number, 2)
        plan = cz.plan_derive(
            phantom_store.location, tmp_path / "parts.zarr", plan_file=tmp_path / "p", part=part, **options
        )
        cz.build_store(plan)
    cz.finalize(tmp_path / "parts.zarr", plan_file=tmp_path / "p")
    one, parts = cz.open_store(tmp_path / "one.zarr"), cz.open_store(tmp_path / "parts.zarr")
    assert dict(one.entries) == dict(parts.entries)


def test_the_bytes_are_the_same_whoever_derives(phantom_store: cz.Store, tmp_path: Path) -> None:
    cases = sorted(phantom_store)[:3]
    one = derived(phantom_store, tmp_path / "one.zarr", cases=cases, spacing=4.0, mask_by="majority")
    recipe: dict[str, Any] = {"spacing": 4.0, "mask_by": "majority", "selection": cz.Selection(cases=cases)}
    two = cz.plan_derive(phantom_store.location, tmp_path / "two.zarr", workers=2, **recipe)
    cz.build_store(two)
    assert dict(cz.open_store(tmp_path / "two.zarr").entries) == dict(one.entries)
    with ThreadPoolExecutor(2) as executor:
        cz.build_store(
            cz.plan_derive(phantom_store.location, tmp_path / "three.zarr", **recipe), executor=executor
        )
    assert dict(cz.open_store(tmp_path / "three.zarr").entries) == dict(one.entries)


def test_what_derives_pickles_small(phantom_store: cz.Store) -> None:
    plan = cz.plan_derive(phantom_store.location, "memory://nowhere-derived", spacing=2)
    source = plan.source
    assert isinstance(source, DerivedCases)
    fetched = source.fetch(plan.pending[0].case)
    assert len(pickle.dumps(source)) < 3_000
    again = pickle.loads(pickle.dumps(fetched))  # noqa: S301 - our own
    assert again.header("image").shape == fetched.header("image").shape


def test_a_parent_that_was_updated_is_not_taken_for_the_planned_one(
    phantom_store: cz.Store, tmp_path: Path
) -> None:
    shutil.copytree(phantom_store.location, tmp_path / "parent.zarr")
    plan = cz.plan_derive(tmp_path / "parent.zarr", tmp_path / "d.zarr", spacing=4, workers=1)
    cz.remove(tmp_path / "parent.zarr", ["liver_12"])
    result = cz.build_store(plan)
    assert {"was updated since the plan was made" in one.reason for one in result.refused} == {True}
    assert not result.built


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"spacing": -1}, "spacing -1; legal"),
        ({"crop": "head"}, "unknown crop 'head'"),
        ({"window": (3, 1)}, "window"),
        ({"mask_by": "vote"}, "unknown mask_by 'vote'; legal: nearest, majority"),
        ({"dtype": "uint8"}, "unknown dtype 'uint8'; legal: int16, float32"),
        ({"label_map": "names"}, "unknown label map"),
    ],
)
def test_a_recipe_that_is_none_is_refused(phantom_store: cz.Store, recipe: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        cz.plan_derive(phantom_store.location, "memory://none", **recipe)


def test_the_command_derives(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = str(tmp_path / "d.zarr")
    arguments = ["derive", phantom_store.location, place, "--spacing", "4,3,3", "--labels", "binary"]
    more = ["--case", ONE, "--window", "-100,200", "--mask-by", "majority", "--workers", "1"]
    done = CliRunner().invoke(cli, [*arguments, *more])
    assert done.exit_code == 0, done.output
    case = cz.open_store(place)[ONE]
    assert np.allclose(case.spacing, (4, 3, 3), atol=1e-4)
    assert (voxels(case).min(), voxels(case).max()) == (-100, 200)
    assert set(np.unique(voxels(case, "segmentation"))) == {0, 1}
    wrong = CliRunner().invoke(cli, ["derive", phantom_store.location, place, "--spacing", "wide"])
    assert wrong.exit_code == 2


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    step=st.tuples(*[st.floats(0.5, 3)] * 3),
    seed=st.integers(0, 5),
)
def test_a_majority_is_the_label_of_the_largest_share(
    shape: tuple[int, int, int], step: tuple[float, float, float], seed: int
) -> None:
    mask = np.random.default_rng(seed).choice([0, 0, 0, 3, 7, 200], shape).astype(np.uint8)
    size = tuple(max(1, int(n / s)) for n, s in zip(shape, step, strict=True))
    lattice = Lattice(size, tuple((s - 1) / 2 for s in step), step)  # type: ignore[arg-type]
    taps = taps_of(lattice, shape)
    shares = {}
    for label in (0, 3, 7, 200):
        share = (mask == label).astype(np.float32)
        for axis, along in enumerate(taps):
            share = along.along(share, axis)
        shares[label] = share
    found = majority(mask, taps, [3, 7, 200])
    chosen = np.select([found == label for label in shares], list(shares.values()))
    assert (chosen >= np.max(list(shares.values()), axis=0) - 1e-5).all()
