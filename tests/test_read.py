"""Slices, patches and volumes: equal to an independent reading, and no more is read than asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask
import nibabel
import numpy as np
import pytest
import xarray as xr
from arrays import decoded
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from stores import CountingStore, catalog_of
from trees import Tree, fetched, load, nibabel_canonical

import ctspine_zarr as cz
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import (
    DamagedStore,
    Malformed,
    NotAStore,
    OutOfBounds,
    StorageError,
    UnknownCase,
    UnknownValue,
)
from ctspine_zarr.format.catalog import CatalogFile, decode_catalog, encode_catalog, encode_root
from ctspine_zarr.format.layout import DEFAULT_CHUNK, grid
from ctspine_zarr.format.receipt import Arrays
from ctspine_zarr.read.regions import PLANES, patch_region

CASE = "1.3.6.1.4.1.9328.50.4.0001"


@pytest.fixture(scope="session")
def volume(phantom: Path) -> NDArray[Any]:
    """The canonical image of one case, read by nibabel."""
    return nibabel_canonical(phantom / "raw_data/volumes/COLONOG" / f"{CASE}.nii.gz")


@pytest.fixture(scope="session")
def mask(phantom: Path) -> NDArray[Any]:
    return nibabel_canonical(phantom / "raw_data/labels/COLONOG" / f"{CASE}_seg.nii.gz")


def test_every_phantom_case_is_nibabels(phantom: Path, phantom_store: cz.Store) -> None:
    cases = fetched(phantom)
    assert set(phantom_store) == {case.id for case in cases}
    for source in cases:
        case = phantom_store[source.id]
        assert np.array_equal(case.image.compute(), nibabel_canonical(source.image))
        assert np.array_equal(case.segmentation.compute(), nibabel_canonical(source.paths[1]))
        assert case.image.dtype == np.int16
        assert case.segmentation.dtype == np.uint8
        canonical = nibabel.as_closest_canonical(load(source.image))
        assert np.allclose(case.affine, canonical.affine, atol=1e-4)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("index", [0, 20, -1])
def test_a_slice_is_that_of_the_volume(
    case: cz.Case, volume: NDArray[Any], mask: NDArray[Any], plane: Any, index: int
) -> None:
    sample = case.slice(index, plane)
    assert np.array_equal(sample["image"], volume.take(index, PLANES[plane]))
    assert np.array_equal(sample["segmentation"], mask.take(index, PLANES[plane]))
    assert sample["image"].flags.c_contiguous


INDEX = st.integers(-45, 44)
SLICE = st.builds(slice, *[st.none() | st.integers(-120, 120)] * 2, st.sampled_from([None, 1, 2, 7, -1, -3]))
KEYS = st.lists(INDEX | SLICE, max_size=3).map(tuple) | st.just(Ellipsis)


@settings(max_examples=60, deadline=None)
@given(key=KEYS, ellipsis=st.none() | st.integers(0, 3))
def test_basic_indexing_is_numpys(
    phantom_store: cz.Store, volume: NDArray[Any], key: Any, ellipsis: int | None
) -> None:
    if isinstance(key, tuple) and ellipsis is not None:
        key = (*key[:ellipsis], Ellipsis, *key[ellipsis:])
    voxels = phantom_store[CASE].voxels("image")
    assert voxels.shape == volume.shape == (45, 96, 96)
    found = voxels[key]
    assert np.array_equal(found, volume[key])
    assert found.dtype == np.int16


@pytest.mark.parametrize("key", [45, (0, -97), (0, 0, 0, 0), (..., ...), True, "z", 1.5, [1, 2]])
def test_other_indexing_is_an_error(case: cz.Case, key: Any) -> None:
    with pytest.raises(OutOfBounds, match="legal: "):
        case.voxels("image")[key]


@settings(max_examples=40, deadline=None)
@given(
    start=st.tuples(st.integers(-50, 44), st.integers(-50, 95), st.integers(-50, 95)),
    size=st.tuples(*[st.integers(1, 60)] * 3),
)
def test_a_patch_is_the_padded_volumes(
    phantom_store: cz.Store, volume: NDArray[Any], mask: NDArray[Any], start: Any, size: Any
) -> None:
    case = phantom_store[CASE]
    if any(s + n <= 0 for s, n in zip(start, size, strict=True)):
        with pytest.raises(OutOfBounds, match=r"shares no voxel with the volume of .*; legal: from \("):
            case.patch(start=start, size=size)
        return
    box = tuple(slice(s + 64, s + 64 + n) for s, n in zip(start, size, strict=True))
    sample = case.patch(start=start, size=size, fill=-2000)
    assert np.array_equal(sample["image"], np.pad(volume, 64, constant_values=-2000)[box])
    assert np.array_equal(sample["segmentation"], np.pad(mask, 64)[box])


def test_a_centre_is_the_middle_of_its_patch(case: cz.Case, volume: NDArray[Any]) -> None:
    vertebra = case.record.labels[0]
    z, y, x = (round(position) for position in vertebra.centroid)
    patch = case.patch(center=vertebra.centroid, size=5)
    assert patch["image"].shape == (5, 5, 5)
    assert patch["image"][2, 2, 2] == volume[z, y, x]


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.integers(-13, 8)] * 3),
)
def test_what_is_read_and_its_margins_are_each_voxel_once(shape: Any, size: Any, start: Any) -> None:
    try:
        region = patch_region(shape, size, start=start)
    except OutOfBounds:
        return
    times = np.zeros(size, int)
    for box in (region.target, *region.margins):
        times[box] += 1
    assert (times == 1).all()
    assert all(times[box].size for box in region.margins)
    assert bool(region.margins) == (times[region.target].size < times.size)


def test_a_patch_beyond_the_edge_is_air(case: cz.Case) -> None:
    sample = case.patch(start=(-4, 0, 0), size=(8, 8, 8))
    assert (sample["image"][:4] == -1024).all()
    assert (sample["segmentation"][:4] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (8, 8, 8)}, "center None and start None; legal: exactly one of them"),
        (
            {"size": (8, 8, 8), "start": (0, 0, 0), "center": (0, 0, 0)},
            r"center \(0, 0, 0\) and start \(0, 0, 0\); legal: exactly one of them",
        ),
        ({"size": (8, 8), "start": (0, 0, 0)}, r"size \(8, 8\); legal: three integers, \(z, y, x\)"),
        ({"size": (8, 0, 8), "start": (0, 0, 0)}, "legal: 1 or more along every axis"),
        ({"size": 8, "start": (0, 0.5, 0)}, "start .*; legal: three integers"),
        ({"size": 8, "center": (0, np.nan, 0)}, "center .*nan.*; legal: three finite positions"),
        ({"size": 8, "center": 5}, "center 5; legal: three finite positions"),
        ({"size": 8, "center": (1, 2)}, "center .*; legal: three finite positions"),
        ({"size": 8, "start": (0, 0, 0), "fill": None}, "fill None; legal: what int16 holds"),
        ({"size": 8, "start": (-1, 0, 0), "fill": -40000}, "fill -40000; legal: what int16 holds, -32768 to"),
        ({"size": 8, "start": (-1, 0, 0), "fill": 0.5}, "fill 0.5; legal: what int16 holds"),
    ],
)
def test_an_impossible_patch_says_what_is_legal(case: cz.Case, arguments: Any, message: str) -> None:
    with pytest.raises(UnknownValue, match=message):
        case.patch(**arguments)


def test_sizes_and_places_may_be_arrays(case: cz.Case) -> None:
    patch = case.patch(size=np.array([4, 5, 6]), start=np.array([1, 2, 3]))  # type: ignore[arg-type]
    assert patch["image"].shape == (4, 5, 6)
    with pytest.raises(UnknownValue, match="indices 3; legal: several, in a list or array"):
        case.slices(3)  # type: ignore[arg-type]
    with pytest.raises(UnknownValue, match="centers 5; legal: several"):
        case.patches(size=4, centers=5)  # type: ignore[arg-type]


def test_an_impossible_slice_says_what_is_legal(case: cz.Case) -> None:
    for index in (1.5, "1", None):
        with pytest.raises(OutOfBounds, match="legal: integers from -45 to 44"):
            case.slice(index)  # type: ignore[arg-type]
    with pytest.raises(OutOfBounds, match="axial slice 45; legal: integers from -45 to 44"):
        case.slice(45)
    with pytest.raises(UnknownValue, match="unknown axis 'frontal'; legal: axial, coronal, sagittal"):
        case.slice(0, "frontal")  # type: ignore[arg-type]


def touched(shape: tuple[int, ...], index: tuple[Any, ...]) -> int:
    """Chunks that hold at least one voxel of a selection."""
    spans = [
        range(n)[i] if isinstance(i, slice) else range(i, i + 1) for n, i in zip(shape, index, strict=True)
    ]
    return int(
        np.prod([len({voxel // n for voxel in span}) for span, n in zip(spans, DEFAULT_CHUNK, strict=True)])
    )


ALL = slice(None)
READS: dict[str, tuple[Any, Any]] = {
    "axial": ((20, ALL, ALL), lambda case: case.slice(20)["image"]),
    "coronal": ((ALL, 20, ALL), lambda case: case.slice(20, "coronal")["image"]),
    "sagittal": ((ALL, ALL, 20), lambda case: case.slice(20, "sagittal")["image"]),
    "patch": (
        (slice(0, 16), slice(0, 64), slice(0, 64)),
        lambda case: case.patch(start=(0, 0, 0), size=(16, 64, 64))["image"],
    ),
    "dask slice": ((20, ALL, ALL), lambda case: case.image[20].compute()),
    "dask patch": (
        (slice(0, 16), slice(0, 64), slice(64, 96)),
        lambda case: case.image[:16, :64, 64:].compute(),
    ),
    "xarray": ((ALL, ALL, 70), lambda case: case.to_xarray().image.isel(x=70).compute().values),
}


@pytest.mark.parametrize("read", READS)
def test_only_the_chunks_touched_are_read_and_decoded(
    phantom_store: cz.Store, volume: NDArray[Any], monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    index, work = READS[read]
    counting = CountingStore(Path(phantom_store.location))
    case = cz.open_store(counting)[CASE]
    with decoded(monkeypatch) as count, dask.config.set(scheduler="synchronous"):
        found = work(case)
    assert np.array_equal(found, volume[index])
    everything = int(np.prod(grid(case.shape, DEFAULT_CHUNK)))
    expected = touched(volume.shape, index)
    assert expected < everything
    masks = touched(volume.shape, index) if read in {*PLANES, "patch"} else 0
    assert expected <= count[0] <= expected + masks
    shard = counting.bytes_of("image/c/0/0/0")
    largest_chunk = int(np.prod(DEFAULT_CHUNK)) * 2
    index_bytes = everything * 16 + 4
    assert shard <= expected * largest_chunk + index_bytes
    assert shard < case.record.image.bytes


def test_opening_reads_the_catalog_and_the_root_and_nothing_else(phantom_store: cz.Store) -> None:
    counting = CountingStore(Path(phantom_store.location))
    store = cz.open_store(counting)
    assert len(store.cases) == 9
    _ = [(case.shape, case.spacing, case.labels, case.image, case.to_xarray()) for case in store.values()]
    _ = store.select(split="train").to_datatree()
    catalog = catalog_of(Path(phantom_store.location)).name
    assert [key for key, _ in counting.reads] == ["zarr.json", catalog]


def test_a_dataset_has_coordinates_in_mm(case: cz.Case) -> None:
    dataset = case.to_xarray()
    assert dataset.image.dims == ("z", "y", "x")
    for name, spacing, first in zip("zyx", case.spacing, case.affine[:3, 3][::-1], strict=True):
        assert dataset[name].attrs["units"] == "mm"
        assert dataset[name][0] == pytest.approx(first)
        assert np.diff(dataset[name]) == pytest.approx(spacing)
    assert np.array_equal(np.reshape(dataset.attrs["affine"], (4, 4)), case.affine)
    assert dataset.attrs["licence"] == "CC-BY-NC-SA-4.0"
    lumbar = dataset.where(dataset.segmentation >= 20).image
    assert float(lumbar.max()) > 300


def test_a_datatree_holds_a_selection(phantom_store: cz.Store) -> None:
    tree = phantom_store.to_datatree(split="train", source="COLONOG")
    names = [node.path for node in tree.leaves]
    assert names == ["/train/COLONOG/1.3.6.1.4.1.9328.50.4.0001", "/train/COLONOG/1.3.6.1.4.1.9328.50.4.0004"]
    assert isinstance(tree[names[0]].to_dataset(), xr.Dataset)


def test_the_table_has_one_row_a_case(phantom_store: cz.Store) -> None:
    table = phantom_store.cases
    assert table.index.name == "case"
    row = table.loc["1.3.6.1.4.1.9328.50.4.0004"]
    assert (row["split"], row["source"], row["slices"], row["rows"]) == ("train", "COLONOG", 37, 96)
    assert row["labels"] == ("T12", "L1", "L2", "L3", "L4", "L5", "L6")
    assert row["transitional"] == "lumbarization"
    assert row["spreadsheet"][0]["Position"] == "supine"
    assert table.groupby("split").size().to_dict() == {"train": 5, "validation": 2, "test": 2}


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, 9),
        ({"split": "train"}, 5),
        ({"split": ["train", "test"]}, 7),
        ({"source": "COLONOG", "split": "train"}, 2),
        ({"min_slices": 40}, 1),
        ({"max_slices": 20}, 1),
        ({"has_label": "L6"}, 1),
        ({"has_label": 25}, 1),
        ({"has_label": np.int64(1)}, 1),
        ({"has_label": ["T12", "L1"]}, 8),
        ({"transitional": True}, 2),
        ({"transitional": False}, 7),
        ({"without_finding": "no_label"}, 9),
        ({"split": "validation", "has_label": "C1"}, 0),
    ],
)
def test_a_selection_has_what_was_asked(phantom_store: cz.Store, criteria: Any, expected: int) -> None:
    chosen = phantom_store.select(**criteria)
    assert len(chosen) == len(chosen.cases) == expected
    assert set(chosen) <= set(phantom_store)


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"split": "val"}, "unknown split 'val'; legal: train, validation, test"),
        ({"source": ["COLON"]}, "unknown source 'COLON'; legal: COLONOG"),
        ({"has_label": "S1"}, "unknown label 'S1'; legal: C1, .*, or 1 to 25"),
        ({"has_label": 26}, "unknown label 26"),
        ({"without_finding": "strays"}, "unknown finding 'strays'; legal: missing_level"),
        ({"transitional": "yes"}, "transitional 'yes'; legal: True, False, None"),
        ({"slices": 4}, "unknown criterion 'slices'; legal: "),
    ],
)
def test_an_impossible_selection_says_what_is_legal(
    phantom_store: cz.Store, criteria: Any, message: str
) -> None:
    with pytest.raises(UnknownValue, match=message):
        phantom_store.select(**criteria)


def test_a_missing_case_names_the_nearest(phantom_store: cz.Store) -> None:
    with pytest.raises(UnknownCase, match="no case 'liver_1' among 9 in .*; nearest: liver_12, liver_0"):
        phantom_store["liver_1"]
    assert isinstance(UnknownCase("x"), KeyError)
    assert str(UnknownCase("plain")) == "plain"


def test_no_store_is_told_from_an_unfinished_one(tmp_path: Path, tree: Tree) -> None:
    with pytest.raises(NotAStore, match="no store at .*: there is no such folder"):
        cz.open_store(tmp_path / "nowhere")
    with pytest.raises(NotAStore, match="is no ctspine_zarr store: it has no zarr.json"):
        cz.open_store(tmp_path)
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    catalog = catalog_of(tmp_path / "s.zarr")
    catalog.unlink()
    with pytest.raises(DamagedStore, match=rf"{catalog.name} is missing, which zarr.json names; run"):
        cz.open_store(tmp_path / "s.zarr")
    (tmp_path / "s.zarr/zarr.json").unlink()
    with pytest.raises(NotAStore, match="has receipts but no zarr.json: .* again to the end"):
        cz.open_store(tmp_path / "s.zarr")
    with pytest.raises(StorageError, match="ftp:// is not supported; legal: a local path"):
        cz.open_store("ftp://bucket/spine.zarr")
    with pytest.raises(StorageError, match="is empty; legal: a local path"):
        cz.open_store("")
    with pytest.raises(StorageError, match=r"is a file; legal: a folder"):
        cz.open_store(__file__)


def test_a_catalog_that_the_root_does_not_prove_does_not_open(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    catalog = catalog_of(tmp_path / "s.zarr")
    line = json.loads(catalog.read_text())
    altered = rf"s.zarr: {catalog.name} was altered: its sha256 is not"
    for change in ({"orientation": "RAS"}, {"source_bytes": 0}, {"shape": [17, 24, 20]}):
        catalog.write_text(json.dumps(line | change) + "\n")
        with pytest.raises(DamagedStore, match=altered):
            cz.open_store(tmp_path / "s.zarr")
    catalog.write_bytes(b"x" * 10_000_000)
    with pytest.raises(DamagedStore, match=altered):
        cz.open_store(tmp_path / "s.zarr")
    catalog.write_bytes(b"")
    with pytest.raises(DamagedStore, match=rf"{catalog.name} is missing, which zarr.json names"):
        cz.open_store(tmp_path / "s.zarr")


def test_documents_that_contradict_one_another_say_what_is_legal(case: cz.Case) -> None:
    label, receipt = case.record.labels[0], case.receipt
    catalog = encode_catalog(case.spec, [case.entry])
    bare = structs.replace(case.spec, labels={}, levels=(), optional_levels=(), regions={})
    renamed = structs.replace(bare, labels=dict(case.spec.labels) | {label.label: "other"})
    elsewhere = structs.replace(case.spec, splits=("other",))
    for spec, legal in (
        (elsewhere, "; legal: a split and a source that the root names"),
        (renamed, f"{label.name!r}; legal, by the root: 'other'"),
        (bare, "legal, by the root: none of that value"),
    ):
        with pytest.raises(Malformed, match=legal):
            decode_catalog(catalog, spec)
    with pytest.raises(ValueError, match="voxels: False; legal: in all of them or in none"):
        structs.replace(receipt, voxels=Arrays(receipt.voxels.image, None))
    with pytest.raises(ValueError, match="legal: a box of one voxel or more, its centroid inside"):
        structs.replace(label, stop=label.start)


def test_an_array_of_more_chunks_than_there_may_be_is_no_record(case: cz.Case) -> None:
    record, most = case.record, 2**22
    legal = structs.replace(record.image, chunk=(1, 1, 1), bytes=2**40)
    large = structs.replace(record, shape=(4, 1024, 1024), image=legal, segmentation=None, labels=())
    assert structs.replace(large).image.chunk == (1, 1, 1)
    mask = structs.replace(record.image, dtype="uint8", chunk=(1, 1, 1), bytes=0)
    seen = rf"4198400 chunks \(1, 1, 1\) of shape \(4, 1025, 1024\); legal: at most {most}$"
    coarse = structs.replace(legal, chunk=(16, 64, 64))
    for image, segmentation in ((legal, None), (coarse, mask)):
        with pytest.raises(ValueError, match=seen):
            structs.replace(large, shape=(4, 1025, 1024), image=image, segmentation=segmentation)


def test_a_key_that_is_no_name_is_not_in_a_store(phantom_store: cz.Store) -> None:
    assert 5 not in phantom_store  # type: ignore[comparison-overlap]
    assert phantom_store.get(None) is None  # type: ignore[call-overload]


@pytest.mark.parametrize("damage", ["cut", "altered", "not JSON"])
def test_a_damaged_catalog_does_not_open(phantom_store: cz.Store, tmp_path: Path, damage: str) -> None:
    """Not even where the root has its digest: who wrote it so is no better a witness."""
    lines = catalog_of(Path(phantom_store.location)).read_bytes().splitlines(keepends=True)
    damaged = {
        "cut": lines[:-2],
        "altered": [lines[0].replace(b'"shape"', b'"shapf"')],
        "not JSON": [b"\xff"],
    }
    data = b"".join(damaged[damage])
    catalog = CatalogFile(sha256(data), len(data), len(lines))
    (tmp_path / catalog.key).write_bytes(data)
    (tmp_path / "zarr.json").write_bytes(encode_root(structs.replace(phantom_store.root, catalog=catalog)))
    with pytest.raises(DamagedStore, match="jsonl cannot be read .*; run its build again"):
        cz.open_store(tmp_path)


def test_a_location_may_be_relative_or_a_url(
    phantom_store: cz.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Path(phantom_store.location)
    monkeypatch.chdir(location.parent)
    relative = cz.open_store(location.name)
    monkeypatch.chdir(tmp_path)
    assert relative[CASE].slice(3)["image"].shape == (96, 96)
    assert len(cz.open_store(location.as_uri())) == 9


def test_a_nibabel_image_is_the_source_or_canonical(phantom: Path, phantom_store: cz.Store) -> None:
    case = phantom_store["HN_P001"]
    source = load(phantom / "raw_data/volumes/HNSCC-3DCT-RT/HN_P001.nii.gz")
    original = case.to_nibabel()
    assert nibabel.aff2axcodes(original.affine) == ("P", "I", "R")
    assert original.header == source.header
    assert np.array_equal(original.affine, source.affine)
    assert np.array_equal(np.asarray(original.dataobj), np.asarray(source.dataobj))
    canonical = case.to_nibabel("segmentation", original=False)
    assert nibabel.aff2axcodes(canonical.affine) == ("R", "A", "S")
    expected = nibabel.as_closest_canonical(
        load(phantom / "raw_data/labels/HNSCC-3DCT-RT/HN_P001_seg.nii.gz")
    )
    assert np.array_equal(np.asarray(canonical.dataobj), np.asarray(expected.dataobj))
    assert np.allclose(canonical.affine, expected.affine, atol=1e-4)
