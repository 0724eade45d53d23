"""Conversions that stay lazy: right against numpy and nibabel, and no more is decoded than asked for."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import dask
import nibabel
import numpy as np
import pytest
import xarray as xr
from arrays import decoded, keys, known_codec, stored
from arrays import volume as noise
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from trees import Tree, load, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.arrays.lazy import Converted
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format import layout
from ctspine_zarr.geometry import Shape

pytestmark = pytest.mark.usefixtures("engine")

CASE = "1.3.6.1.4.1.9328.50.4.0001"
ORIENTATIONS = [
    "".join(codes)
    for sides in itertools.permutations(("SI", "AP", "RL"))
    for codes in itertools.product(*sides)
]


@pytest.fixture(scope="session")
def volume(phantom_store: cz.Store) -> NDArray[Any]:
    return phantom_store[CASE].voxels("image")[...]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_orientation_is_what_nibabel_makes_of_the_file(
    phantom: Path, case: cz.Case, orientation: str
) -> None:
    source = load(phantom / "raw_data/volumes/COLONOG" / f"{CASE}.nii.gz")
    change = ornt_transform(nibabel.io_orientation(source.affine), axcodes2ornt(orientation))
    expected = apply_orientation(np.asarray(source.dataobj), change)
    found = case.to_dask(orientation=orientation)
    assert found.shape == expected.shape
    assert np.array_equal(found.compute(), expected)
    assert np.array_equal(found[3:40:5, 7, ::2].compute(), expected[3:40:5, 7, ::2])
    assert np.allclose(case.affine_of(orientation), source.as_reoriented(change).affine, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_selection_of_any_conversion_is_numpys(
    phantom_store: cz.Store, volume: NDArray[Any], data: st.DataObject
) -> None:
    orientation = data.draw(st.sampled_from(ORIENTATIONS))
    dtype = data.draw(st.sampled_from([None, "float32", "float64"]))
    window = data.draw(st.sampled_from([None, (-450.0, 1050.0), (0, 1)]))
    array = Converted.of(phantom_store[CASE].voxels("image"), dtype, window, orientation)
    whole = apply_orientation(volume, ornt_transform(axcodes2ornt("SAR"), axcodes2ornt(orientation)))
    if window is not None:
        low, high = window
        whole = np.clip((whole.astype(dtype or "float32") - low) / (high - low), 0, 1)
    key = data.draw(keys(whole.shape))
    found = array[key]
    expected = whole[key].astype(dtype or whole.dtype)
    assert array.shape == whole.shape
    assert array.dtype == found.dtype == expected.dtype
    assert np.allclose(found, expected, rtol=1e-6)
    assert found.flags.c_contiguous


CONVERSIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "float": {"dtype": "float32"},
    "window": {"window": (-450, 1050)},
    "x first": {"orientation": "RAS"},
    "everything": {"dtype": "float64", "window": (-450, 1050), "orientation": "LPI"},
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_slice_of_a_converted_array_decodes_that_slice_only(
    case: cz.Case, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    array = case.to_dask(**CONVERSIONS[name])
    along_z = array.shape.index(45)
    key = tuple(20 if axis == along_z else slice(None) for axis in range(3))
    with decoded(monkeypatch) as count, dask.config.set(scheduler="synchronous"):
        array[key].compute()
    assert count[0] == 4
    with decoded(monkeypatch) as count, dask.config.set(scheduler="synchronous"):
        array[tuple(slice(17, 20) for _ in range(3))].compute()
    assert count[0] == 1


@pytest.mark.slow
def test_blocks_are_whole_slabs_in_either_direction(mini_store: cz.Store) -> None:
    case = max(mini_store.values(), key=lambda case: case.shape[0])
    assert case.shape[0] == 275
    up, down = (case.to_dask(orientation=codes).chunks for codes in ("SAR", "RAI"))
    assert up == ((64, 64, 64, 64, 19), (512,), (512,))
    assert down == ((512,), (512,), (19, 64, 64, 64, 64))


@pytest.mark.parametrize(
    ("chunk", "blocks"),
    [
        ((4, 64, 64), (64, 64, 22)),
        ((24, 8, 8), (48, 48, 48, 6)),
        ((100, 8, 8), (100, 50)),
        ((1, 8, 8), (64, 64, 22)),
    ],
)
def test_blocks_end_where_rows_of_chunks_do(chunk: Shape, blocks: tuple[int, ...]) -> None:
    array = noise((150, 20, 30))
    voxels = stored(array, MemoryStore(), codec=known_codec("zstd", "int16", chunk))
    up, down = (Converted.of(voxels, None, None, codes).to_dask() for codes in ("SAR", "RAI"))
    assert up.chunks == (blocks, (20,), (30,))
    assert down.chunks == ((30,), (20,), blocks[::-1])
    assert np.array_equal(up.compute(), array)
    assert np.array_equal(down.compute(), array[::-1].transpose(2, 1, 0))


def test_blocks_together_decode_each_chunk_once(case: cz.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for orientation in ("SAR", "LPI"):
        with decoded(monkeypatch) as count:
            case.to_dask(orientation=orientation).compute()
        assert count[0] == np.prod(layout.grid(case.shape, case.record.image.chunk))


def test_xarray_converts_as_lazily(
    case: cz.Case, monkeypatch: pytest.MonkeyPatch, volume: NDArray[Any]
) -> None:
    dataset = case.to_xarray(window=(-450, 1050))
    assert dataset.image.dtype == np.float32
    assert dataset.image.attrs == {"long_name": "CT", "units": "1", "window": [-450, 1050]}
    with decoded(monkeypatch) as count, dask.config.set(scheduler="synchronous"):
        found = dataset.image.isel(z=20).values
    assert count[0] == 4
    assert np.allclose(found, np.clip((volume[20] + 450) / 1500, 0, 1))
    assert case.to_xarray(dtype="float64").image.dtype == np.float64


def test_arrays_of_one_place_and_two_builds_are_two_arrays(tmp_path: Path) -> None:
    arrays = []
    for seed in (0, 1):
        tree = Tree(tmp_path / f"source{seed}")
        tree.add(image=voxels(seed))
        shutil.rmtree(tmp_path / "s.zarr", ignore_errors=True)
        cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
        arrays.append(cz.open_store(tmp_path / "s.zarr")["liver_1"].image.persist())
        again = cz.open_store(tmp_path / "s.zarr")["liver_1"].image
        assert again.name == cz.open_store(tmp_path / "s.zarr")["liver_1"].image.name
    one, other = arrays
    assert bool((one != other).any().compute())


def test_numpy_and_xarray_take_the_arrays_without_dask(case: cz.Case, volume: NDArray[Any]) -> None:
    stored = case.voxels("image")
    assert len(stored) == 45
    assert np.array_equal(np.asarray(stored), volume)
    assert np.asarray(stored, "float32").dtype == np.float32
    assert np.array_equal(xr.DataArray(stored, dims=("z", "y", "x")).values, volume)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(stored, copy=False)


def test_a_mask_converts_to_wider_integers_and_floats(case: cz.Case) -> None:
    mask = case.segmentation.compute()
    for dtype in ("uint8", "int64", "float32"):
        found = case.to_dask("segmentation", dtype=dtype)
        assert found.dtype == dtype
        assert np.array_equal(found.compute(), mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "int8"}, "dtype int8; legal: float32, float64 or one that holds every int16"),
        ({"dtype": "uint16"}, "dtype uint16; legal: "),
        ({"dtype": "float16"}, "dtype float16; legal: "),
        ({"dtype": "complex64"}, "dtype complex64; legal: "),
        ({"dtype": "U6"}, "dtype U6; legal: "),
        ({"dtype": object}, "dtype .*object.*; legal: "),
        ({"dtype": "voxels"}, "dtype voxels; legal: "),
        ({"dtype": "int32", "window": (0, 1)}, "dtype int32; legal: float32, float64$"),
        ({"window": (5, 5)}, r"window \(5, 5\); legal: \(low, high\), finite, low below high"),
        ({"window": (5, float("nan"))}, "low below high"),
        ({"window": (0, float("inf"))}, "low below high"),
        ({"window": (0, 1e-50)}, "low below high"),
        ({"window": (-1e300, 1e300)}, "low below high"),
        ({"window": (0, 10**400)}, "low below high"),
        ({"window": (0, 1, 2)}, "low below high"),
        ({"window": ("a", "b")}, "low below high"),
        ({"window": 5}, "low below high"),
        ({"orientation": "RA"}, "orientation 'RA'; legal: one of R, L, one of A, P and one of S, I"),
        ({"orientation": "RLS"}, "orientation 'RLS'; legal: "),
        ({"orientation": "xyz"}, "orientation 'xyz'; legal: "),
        ({"orientation": None}, "orientation None; legal: "),
        ({"which": "mask"}, "unknown array 'mask'; legal: image, segmentation"),
    ],
)
def test_an_impossible_conversion_says_what_is_legal(
    case: cz.Case, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownValue, match=message):
        case.to_dask(**arguments)
