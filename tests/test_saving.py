"""Arrays saved back on the grid of a case's source file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trees import AFFINE, NnunetTree, Tree, edited, in_mm, load, packed
from turned import AXES, SHAPE, added, masked, rotated

import ctspine_zarr as cz
from ctspine_zarr import nifti
from ctspine_zarr.arrays.regridding import Regridding
from ctspine_zarr.errors import NoMask, OutOfBounds, StorageError, UnknownValue

ORIENTATIONS = ("RAS", "LPS", "LPI", "PIR", "ASL", "SRA", "IAL", "RSP")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saving")


@pytest.fixture(scope="module")
def tree(place: Path) -> Tree:
    return Tree(place / "source")


@pytest.fixture(scope="module")
def store(place: Path, tree: Tree) -> cz.Store:
    """Cases of eight orientations, straight and oblique, and one without the mask's own place."""
    for codes in ORIENTATIONS:
        added(tree, codes, codes)
        added(tree, f"oblique_{codes}", codes, rotated(AXES))
    cz.build_store(cz.plan_build(tree.root, place / "s.zarr", workers=1))
    return cz.open_store(place / "s.zarr")


CASES = (*ORIENTATIONS, *(f"oblique_{codes}" for codes in ORIENTATIONS))


def source(tree: Tree, case: str, which: str = "segmentation") -> Any:
    folder, end = ("labels", "_seg") if which == "segmentation" else ("volumes", "")
    return load(tree.root / f"raw_data/{folder}/MSD-T10/{case}{end}.nii.gz")


def volume(store: cz.Store, case: str, **form: Any) -> Any:
    return cz.Dataset(store.select(cases=case), cz.Volumes(keep_dtype=True, **form))[0]


def same_place(one: Any, other: Any) -> bool:
    """Whether two files have all of the header but what says the dtype."""
    own = ("datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max")
    fields = [name for name in one.header if name not in own]
    return one.shape == other.shape and all(
        np.array_equal(one.header[name], other.header[name], equal_nan=one.header[name].dtype.kind == "f")
        for name in fields
    )


@pytest.mark.parametrize("case", CASES)
def test_a_mask_comes_back_voxel_for_voxel_and_header_for_header(
    store: cz.Store, tree: Tree, tmp_path: Path, case: str
) -> None:
    for like in ("image", "segmentation"):
        opened = store[case]
        path = opened.save_nifti(opened.segmentation.compute(), tmp_path / f"{like}.nii.gz", like)
        found, own = load(path), source(tree, case, like)
        assert np.array_equal(np.asarray(found.dataobj), np.asarray(source(tree, case).dataobj))
        assert np.array_equal(found.affine, own.affine)
        assert found.get_data_dtype() == np.uint8
        assert found.header.get_slope_inter() in {(1, 0), (None, None)}
        assert same_place(found, own)
    # The voxels are where nibabel puts them, too.
    assert nibabel.aff2axcodes(found.affine) == tuple(case[-3:])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("orientation", ["SAR", "LPS", "hub", "PIR"])
def test_any_sample_of_the_cases_own_voxels_is_exact(
    store: cz.Store, tree: Tree, tmp_path: Path, case: str, orientation: str
) -> None:
    hu, labels = (np.asarray(source(tree, case, which).dataobj) for which in ("image", "segmentation"))
    whole = volume(store, case, orientation=orientation)
    crop = volume(store, case, orientation=orientation, crop="spine", margin_mm=1.0)
    assert crop["image"].size < whole["image"].size
    for sample in (whole, crop):
        paths = [
            store[case].save_nifti(
                sample[which], tmp_path / which / f"{sample is crop}.nii", affine=sample["affine"], fill=fill
            )
            for which, fill in (("image", -2000), ("segmentation", 0))
        ]
        image, mask = (np.asarray(load(path).dataobj) for path in paths)
        assert np.array_equal(mask, labels)
        inside = image != -2000
        assert inside.sum() == sample["image"].size
        assert np.array_equal(image[inside], hu[inside])


@settings(max_examples=60)
@given(
    st.sampled_from(CASES),
    st.tuples(*(st.integers(-6, size - 1) for size in (13, 15, 18))),
    st.tuples(*(st.integers(7, 20),) * 3),
    st.booleans(),
)
def test_a_patch_lies_where_it_was_taken(
    store: cz.Store, place: Path, case: str, start: Any, size: Any, as_floats: bool
) -> None:
    opened = store[case]
    size = tuple(max(wanted, 1 - first) for wanted, first in zip(size, start, strict=True))
    try:
        patch = opened.patch(size=size, start=start, fill=-7)["image"]
    except OutOfBounds:
        return
    if as_floats:
        patch = patch.astype("float32") + np.float32(0.25)
    affine = opened.affine_of("SAR")
    affine[:3, 3] += affine[:3, :3] @ start
    path = opened.save_nifti(patch, place / "patch.nii", affine=affine, fill=-9, overwrite=True)
    found = nibabel.as_closest_canonical(load(path))
    expected = np.full(opened.shape, -9.0)
    slices = tuple(slice(max(0, a), a + n) for a, n in zip(start, size, strict=True))
    inner = tuple(slice(max(0, -a), max(0, -a) + expected[slices].shape[i]) for i, a in enumerate(start))
    expected[slices] = patch[inner]
    assert np.array_equal(np.asarray(found.dataobj).T, expected)


def looked_up(
    sample: NDArray[Any], affine: Any, own: Any, order: Literal[0, 1]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What scipy finds in a sample at the voxels of a file, and where they lie in it."""
    at = np.indices(own.shape).reshape(3, -1)
    places = np.linalg.inv(affine) @ own.affine @ np.r_[at, np.ones((1, at.shape[1]))]
    found = scipy.ndimage.map_coordinates(sample, places[:3], order=order, mode="nearest")
    return found.reshape(own.shape), places[:3].reshape(3, *own.shape)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spacing", [2.0, 0.55, (1.9, 1.1, 0.7)])
def test_a_resampled_sample_lies_over_the_source(
    store: cz.Store, tree: Tree, tmp_path: Path, case: str, spacing: Any
) -> None:
    sample = volume(store, case, spacing=spacing, crop="spine", margin_mm=4.0)
    own = source(tree, case)
    path = store[case].save_nifti(
        sample["segmentation"], tmp_path / "m.nii.gz", "segmentation", affine=sample["affine"]
    )
    found = np.asarray(load(path).dataobj)
    expected, places = looked_up(sample["segmentation"], sample["affine"], own, 0)
    sizes = np.reshape(sample["segmentation"].shape, (3, 1, 1, 1))
    inside = ((places > -0.5 + 1e-6) & (places < sizes - 0.5 - 1e-6)).all(axis=0)
    outside = ((places < -0.5 - 1e-6) | (places > sizes - 0.5 + 1e-6)).any(axis=0)
    clear = (np.abs(places % 1 - 0.5) > 1e-5).all(axis=0)
    assert clear.mean() > 0.5
    assert np.array_equal(found[inside & clear], expected[inside & clear])
    assert not found[outside].any()
    # Coarser voxels move a surface by half of one.
    labels = np.asarray(own.dataobj)
    overlap = 2 * ((found == labels) & (labels > 0)).sum() / ((found > 0).sum() + (labels > 0).sum())
    assert overlap > 0.75
    hu = sample["image"].astype("float32")
    path = store[case].save_nifti(hu, tmp_path / "i.nii.gz", affine=sample["affine"], fill=-5000)
    linear, _ = looked_up(hu.astype("float64"), sample["affine"], own, 1)
    image = np.asarray(load(path).dataobj)
    assert image.dtype == np.float32
    assert np.allclose(image[inside], linear[inside], atol=0.02)
    assert (image[outside] == -5000).all()


def test_a_grid_turned_against_the_case_is_resampled(store: cz.Store, tree: Tree, tmp_path: Path) -> None:
    own = source(tree, "LPS")
    affine = rotated(np.diag([1.0, 1.3, 0.9, 1]), 25)
    affine[:3, 3] = own.affine[:3] @ [*(np.array(own.shape) / 2), 1] - affine[:3, :3] @ [8, 8, 12]
    array = np.random.default_rng(0).integers(1, 30, (17, 16, 25))
    path = store["LPS"].save_nifti(array, tmp_path / "m.nii.gz", affine=affine)
    expected, places = looked_up(array, affine, own, 0)
    sizes = np.reshape(array.shape, (3, 1, 1, 1))
    inside = ((places >= -0.5) & (places < sizes - 0.5)).all(axis=0)
    assert 0.1 < inside.mean() < 1
    assert np.array_equal(np.asarray(load(path).dataobj), np.where(inside, expected, 0))


@pytest.mark.parametrize("at_once", [1, 300, 1 << 21])
def test_parts_are_the_whole(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("ctspine_zarr.arrays.regridding._AT_ONCE", at_once)
    array = np.random.default_rng(0).normal(size=(9, 8, 7)).astype("float32")
    matrix = rotated(np.diag([0.7, 0.6, 0.5, 1]), 9)
    matrix[:3, 3] = 0.5, 1, 0.25
    parts = list(Regridding(array, (10, 11, 12), matrix).parts(-3))
    assert len(parts) == {1: 12, 300: 6, 1 << 21: 1}[at_once]
    at = np.indices((10, 11, 12)).reshape(3, -1)
    places = matrix[:3, :3] @ at + matrix[:3, 3:]
    expected = scipy.ndimage.map_coordinates(array.astype("float64"), places, order=1, mode="nearest")
    inside = ((places >= -0.5) & (places < np.reshape(array.shape, (3, 1)) - 0.5)).all(axis=0)
    found = np.concatenate(parts, axis=2).ravel()
    assert np.allclose(found, np.where(inside, expected, -3), atol=1e-5)


def test_a_grid_whose_box_meets_the_case_but_no_voxel_does_is_told(store: cz.Store, tmp_path: Path) -> None:
    case = store["RAS"]
    half = np.sqrt(0.5)
    # A rod across the volume's corner of least x and y, 3 mm away from it.
    affine = np.array([[half, half, 0, 0], [-half, half, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    affine[:3, 3] = case.affine[:3, 3] - affine[:3, :3] @ [10, 3.5, 1]
    array = np.zeros((21, 2, 9), "uint8")
    grid = Regridding(array, case.shape, np.linalg.inv(affine) @ case.affine_of("SAR"))
    assert all(map(len, grid.box))
    with pytest.raises(UnknownValue, match="shares no voxel with case RAS"):
        case.save_nifti(array, tmp_path / "m.nii", affine=affine)
    assert list(tmp_path.iterdir()) == []


def test_a_lattice_that_drifts_is_not_exact() -> None:
    array = np.zeros((400, 4, 4))
    exact = np.eye(4)
    drifting = np.diag([1 + 1e-5, 1, 1, 1])
    assert Regridding(array, (400, 4, 4), exact).is_exact
    assert not Regridding(array, (400, 4, 4), drifting).is_exact
    assert Regridding(array, (40, 4, 4), drifting).is_exact
    assert not Regridding(array, (40, 4, 4), np.diag([2.0, 1, 1, 1])).is_exact
    assert not Regridding(array, (40, 4, 4), np.diag([1.0, 1, 0, 1])).is_exact


DTYPES = {
    "bool": (np.array([False, True]), "uint8"),
    "labels in int64": (np.array([0, 255]), "uint8"),
    "negative labels": (np.array([-128, 127]), "int8"),
    "HU": (np.array([-1024, 3071], "int32"), "int16"),
    "beyond int16": (np.array([0, 65535]), "uint16"),
    "beyond uint16": (np.array([-1, 65535]), "int32"),
    "counts": (np.array([0, 2**32 - 1]), "uint32"),
    "large": (np.array([-(2**63), 2**63 - 1]), "int64"),
    "largest": (np.array([0, 2**64 - 1], "uint64"), "uint64"),
    "halves": (np.array([0.5, 65504], "float16"), "float32"),
    "singles": (np.array([0.1, np.nan], "float32"), "float32"),
    "doubles that are singles": (np.array([0.5, np.inf]), "float32"),
    "doubles": (np.array([0.1, 1]), "float64"),
    "huge doubles": (np.array([1e300, 1]), "float64"),
    "big-endian": (np.array([-1, 300], ">i4"), "int16"),
}


@pytest.mark.parametrize("kind", DTYPES)
def test_the_dtype_is_the_smallest_exact_one(store: cz.Store, tmp_path: Path, kind: str) -> None:
    values, dtype = DTYPES[kind]
    case = store["ASL"]
    array = np.resize(values, case.shape)
    path = case.save_nifti(array, tmp_path / "x.nii.gz")
    found = nibabel.as_closest_canonical(load(path))
    assert found.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(np.asarray(found.dataobj).T, array, equal_nan=array.dtype.kind == "f")


def test_a_fill_is_held_as_well() -> None:
    assert nifti.smallest_dtype(np.zeros(1, "uint8"), -1024) == np.int16
    assert nifti.smallest_dtype(np.zeros(1, "float32"), 0.1) == np.float64
    assert nifti.smallest_dtype(np.zeros(1, "float32"), float("nan")) == np.float32
    for fill in (0.5, float("nan"), "air", None):
        with pytest.raises(UnknownValue, match="of an array of integers; legal: an integer"):
            nifti.smallest_dtype(np.zeros(1, "uint8"), fill)  # type: ignore[arg-type]
    with pytest.raises(UnknownValue, match="fill 'air' of an array of floats; legal: a number"):
        nifti.smallest_dtype(np.zeros(1), "air")  # type: ignore[arg-type]
    with pytest.raises(UnknownValue, match="values and fill from -1 to 18446744073709551615; legal"):
        nifti.smallest_dtype(np.array([2**64 - 1], "uint64"), -1)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_scaling_byte_order_version_and_extensions_of_the_source(
    tmp_path: Path, kind: Any, order: str
) -> None:
    tree = Tree(tmp_path / "source")
    stored = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(f"{order}i2")
    image = in_mm(stored, kind=kind)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"lying down"))
    tree.add("a", packed(image.to_bytes()), masked())
    rows = {f"srow_{axis}": list(row) for axis, row in zip("xyz", AFFINE[:3] / 1000, strict=True)}
    fields = {"scl_slope": 2, "scl_inter": -1024, "cal_min": -100, "cal_max": 900, "xyzt_units": 1} | rows
    spacing = [1, *np.diag(AFFINE)[:3] / 1000, 0, 0, 0, 0]
    tree.add("b", packed(edited(stored, kind, **fields, pixdim=spacing)), masked())
    built = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    assert built.refused == ()
    store = cz.open_store(tmp_path / "s.zarr")
    for name in "ab":
        case = store[name]
        found, own = (
            load(case.save_nifti(case.segmentation.compute(), tmp_path / f"{name}.nii")),
            source(tree, name, "image"),
        )
        assert type(found) is kind
        assert same_place(found, own)
        assert found.header.endianness == own.header.endianness == order
        assert np.array_equal(np.asarray(found.dataobj), masked())
        assert (float(found.header["cal_min"]), float(found.header["cal_max"])) == (0, 0)
    assert load(tmp_path / "a.nii").header.extensions[0].get_content() == b"lying down"
    # In the file's unit, metres, as the source's own.
    assert np.array_equal(found.affine, own.affine)
    assert found.affine[0, 0] == pytest.approx(8e-4)


def test_a_mask_whose_file_lies_a_little_off_comes_back(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "source")
    off = AFFINE.copy()
    off[:3, 3] = 0.3, -0.2, 1
    tree.add("a", in_mm(np.zeros(SHAPE, "int16")), in_mm(masked(), off))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    sample = volume(store, "a", orientation="LPS")
    path = store["a"].save_nifti(
        sample["segmentation"], tmp_path / "m.nii", "segmentation", affine=sample["affine"]
    )
    assert np.array_equal(np.asarray(load(path).dataobj), masked())
    assert np.array_equal(load(path).affine, source(tree, "a").affine)


def refused() -> Iterator[tuple[str, dict[str, Any], str]]:
    whole = np.zeros((13, 18, 15), "uint8")
    turned = np.eye(4)
    yield "no.nii", {"array": whole[None]}, r"shape \(1, 13, 18, 15\); legal: three axes, none empty"
    yield "no.nii", {"array": whole[:, :0]}, "legal: three axes, none empty"
    yield (
        "no.nii",
        {"array": whole[1:]},
        r"shape \(12, 18, 15\) without an affine; legal: the case's \(13, 18",
    )
    yield "no.nii", {"array": whole, "affine": np.zeros((4, 4))}, "three independent finite axes"
    yield "no.nii", {"array": whole, "affine": turned * np.nan}, "three independent finite axes"
    yield "no.nii", {"array": whole, "affine": turned[:3]}, r"legal: \(4, 4\)"
    yield "no.nii", {"array": whole, "affine": [[1, 2], [3]]}, r"legal: \(4, 4\)"
    yield "no.nii", {"array": whole, "affine": turned * 2}, "a last row of 0, 0, 0, 1"
    far = np.diag([1.0, 1, 1, 1])
    far[:3, 3] = 1e4
    yield (
        "no.nii",
        {"array": whole, "affine": far},
        r"from \[10000.0, .* shares no voxel with case RAS; legal",
    )
    yield (
        "no.nii",
        {"array": whole.astype(complex)},
        "an array of complex128; legal in NIfTI: booleans, integers",
    )
    yield "no.nii", {"array": whole.astype(np.longdouble)}, "floats of at most 64 bits"
    yield "no.nii", {"array": whole.astype(str)}, "legal in NIfTI"
    yield "no.nii", {"array": whole, "fill": 0.5}, "fill 0.5 of an array of integers; legal: an integer"
    yield "no.img", {"array": whole}, r"no\.img'; legal: a name that ends in \.nii\.gz or \.nii"
    yield "nii", {"array": whole}, "legal: a name that ends in"
    yield "no.nii", {"array": whole, "like": "mask"}, "unknown array 'mask'; legal: image, segmentation"


@pytest.mark.parametrize(("name", "arguments", "told"), list(refused()))
def test_what_cannot_be_saved_is_told_and_nothing_written(
    store: cz.Store, tmp_path: Path, name: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(UnknownValue, match=told):
        store["RAS"].save_nifti(path=tmp_path / name, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept_unless_told(store: cz.Store, tmp_path: Path) -> None:
    case, path = store["RAS"], tmp_path / "new" / "m.nii.gz"
    assert case.save_nifti(np.zeros(case.shape), path) == path
    before = path.read_bytes()
    with pytest.raises(StorageError, match="exists; give --overwrite to replace it"):
        case.save_nifti(np.ones(case.shape), str(path))
    assert path.read_bytes() == before
    assert case.save_nifti(np.ones(case.shape), str(path), overwrite=True) == path
    assert path.read_bytes() != before
    assert [one.name for one in path.parent.iterdir()] == ["m.nii.gz"]


def test_the_grid_of_a_mask_that_is_not_there(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "source")
    tree.add("a")
    tree.add("b", mask=False, folder="Ts")
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    case = cz.open_store(tmp_path / "s.zarr")["b"]
    with pytest.raises(NoMask):
        case.save_nifti(np.zeros(case.shape), tmp_path / "m.nii", "segmentation")
    assert case.save_nifti(np.zeros(case.shape), tmp_path / "m.nii").is_file()


@pytest.mark.slow
def test_real_ct_comes_back(mini_store: cz.Store, tmp_path: Path) -> None:
    for case in mini_store.values():
        sample = cz.Dataset(mini_store.select(cases=case.id), cz.Volumes(crop="spine", keep_dtype=True))[0]
        path = case.save_nifti(
            sample["segmentation"], tmp_path / f"{case.id}.nii.gz", "segmentation", affine=sample["affine"]
        )
        expected = np.asarray(case.to_nibabel("segmentation").dataobj)
        assert np.array_equal(np.asarray(load(path).dataobj), expected)
