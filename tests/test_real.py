"""The promises of the README on real CT; skipped by name where it is not at hand."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, io_orientation
from trees import NnunetTree, VerseTree, fetched, load, nibabel_canonical

import ctspine_zarr as cz

# A volume of real CT takes as long as hundreds of small ones.
pytestmark = pytest.mark.slow


def test_every_volume_is_nibabels_after_the_recorded_reorientation(mini: Path, mini_store: cz.Store) -> None:
    cases = fetched(mini)
    assert len(cases) == len(mini_store) == 7
    for source in cases:
        case = mini_store[source.id]
        for which, path in zip(("image", "segmentation"), source.paths, strict=True):
            image = load(path)
            values = np.asarray(image.dataobj)
            stored = case.voxels(which)[...]  # type: ignore[arg-type]
            recorded = case.nifti_source(which).reorientation  # type: ignore[arg-type]
            assert np.array_equal(stored, recorded.apply(values))
            canonical = apply_orientation(values, io_orientation(image.affine))
            assert np.array_equal(stored, canonical.transpose())
        assert case.record.image.dtype == "int16"
        assert np.allclose(case.affine, nibabel.as_closest_canonical(load(source.image)).affine)


def test_the_store_is_smaller_than_the_nifti(
    mini_store: cz.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = mini_store.cases
    ratio = cases.stored_bytes.sum() / cases.source_bytes.sum()
    with capsys.disabled():
        print(f"\nstore bytes / .nii.gz bytes on real CT: {ratio:.4f}")
    assert ratio <= 0.82


def test_the_compact_store_is_smaller_still(mini: Path, mini_store: cz.Store, tmp_path: Path) -> None:
    selection = cz.Selection(cases=["volume-covid19-X-9002_ct", "liver_901"])
    cz.build_store(cz.plan_build(mini, tmp_path / "c.zarr", codec="compact", selection=selection))
    compact = cz.open_store(tmp_path / "c.zarr")
    for case in compact.values():
        assert case.record.image.bytes < 0.9 * mini_store[case.id].record.image.bytes
        assert np.array_equal(case.voxels("image")[...], mini_store[case.id].voxels("image")[...])


def test_every_file_is_exported_byte_for_byte(mini: Path, mini_store: cz.Store, tmp_path: Path) -> None:
    paths = [path for case in mini_store.values() for path in cz.export(case, tmp_path)]
    assert len(paths) == 14
    for path in paths:
        source = mini / path.relative_to(tmp_path)
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(source.read_bytes())


def test_what_is_exported_builds_the_same_store(mini: Path, mini_store: cz.Store, tmp_path: Path) -> None:
    ids = ["liver_902", "HN_X901"]
    for case in ids:
        cz.export(mini_store[case], tmp_path / "source")
    selection = cz.Selection(cases=ids)
    plan = cz.plan_build(
        tmp_path / "source",
        tmp_path / "s.zarr",
        selection=selection,
        split_file=mini / "metadata/data_split.txt",
    )
    cz.build_store(plan)
    again = cz.open_store(tmp_path / "s.zarr")
    for case in ids:
        assert np.array_equal(again[case].voxels("image")[...], mini_store[case].voxels("image")[...])


@pytest.mark.parametrize("dataset", ["verse", "nnunet"])
def test_real_ct_in_the_layout_of_another_dataset_is_the_same(
    mini: Path, mini_store: cz.Store, tmp_path: Path, dataset: str
) -> None:
    sources = {source.id: source for source in fetched(mini) if source.id in {"liver_902", "HN_X901"}}
    assert len(sources) == 2
    names = {case: f"sub-verse{number:03}" for number, case in enumerate(sources)}
    tree = VerseTree(tmp_path) if dataset == "verse" else NnunetTree(tmp_path)
    if isinstance(tree, NnunetTree):
        tree.describe(labels={"background": 0} | {name: v for v, name in mini_store.spec.labels.items()})
    for case, source in sources.items():
        tree.add(names[case], *(path.read_bytes() for path in source.paths))
    cz.build_store(cz.plan_build(tmp_path, tmp_path / "s.zarr", dataset=dataset))
    assert cz.verify(tmp_path / "s.zarr").is_whole
    store = cz.open_store(tmp_path / "s.zarr")
    for case, name in names.items():
        assert np.array_equal(store[name].affine, mini_store[case].affine)
        for which in mini_store[case].names:
            assert np.array_equal(store[name].voxels(which)[...], mini_store[case].voxels(which)[...])


def test_random_slices_and_patches_are_the_volumes(mini: Path, mini_store: cz.Store) -> None:
    random = np.random.default_rng(0)
    for source in fetched(mini):
        case, volume = mini_store[source.id], nibabel_canonical(source.image)
        for (axis, plane), _ in itertools.product(enumerate(("axial", "coronal", "sagittal")), range(2)):
            index = int(random.integers(volume.shape[axis]))
            sample = case.slice(index, plane)  # type: ignore[arg-type]
            assert np.array_equal(sample["image"], volume.take(index, axis))
        start = [int(random.integers(-40, n)) for n in volume.shape]
        box = tuple(slice(s + 100, s + 196) for s in start)
        padded = np.pad(volume, 100, constant_values=-1024)[box]
        assert np.array_equal(case.patch(start=start, size=96)["image"], padded)


def test_verify_proves_the_store(mini_store: cz.Store) -> None:
    assert cz.verify(mini_store.location).is_whole
