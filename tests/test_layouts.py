"""Cases exported in the layouts of other programs."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import commands
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from stores import objects
from trees import NnunetTree, Tree, VerseTree, labels, load, voxels
from turned import AXES, added, rotated

import ctspine_zarr as cz
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.record import Record
from ctspine_zarr.maintain.subjects import subject_names

CODES = {"RAS": "RAS", "LPS.1": "LPS", "oblique_PIR": "PIR"}


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("layouts")
    tree = Tree(place / "source")
    for case, codes in CODES.items():
        added(tree, case, codes, rotated(AXES) if case.startswith("oblique") else AXES)
    tree.add("empty", mask=np.zeros_like(labels()))
    cz.build_store(cz.plan_build(tree.root, place / "s.zarr", workers=1))
    return place / "s.zarr"


@pytest.fixture(scope="module")
def store(location: Path) -> cz.Store:
    return cz.open_store(location)


run = functools.partial(commands.run, "export")


def world(mask: Path) -> dict[int, NDArray[Any]]:
    """The centroids beside a mask, in world coordinates by the mask's own affine."""
    direction, *found = json.loads(mask.with_name(mask.name.replace("_msk.nii.gz", "_ctd.json")).read_text())
    assert list(direction) == ["direction"]
    affine = load(mask).affine
    assert tuple(direction["direction"]) == nibabel.aff2axcodes(affine)
    assert all(list(one) == ["label", "X", "Y", "Z"] for one in found)
    return {one["label"]: affine[:3] @ [one["X"], one["Y"], one["Z"], 1] for one in found}


def own_world(case: cz.Case) -> dict[int, NDArray[Any]]:
    return {one.label: case.affine[:3] @ [*one.centroid[::-1], 1] for one in case.record.labels}


def same(one: dict[int, NDArray[Any]], other: dict[int, NDArray[Any]], mm: float = 1e-4) -> bool:
    return one.keys() == other.keys() and all(np.allclose(one[key], other[key], 0, mm) for key in one)


@pytest.mark.parametrize("layout", ["verse", "bids"])
def test_a_layout_of_subjects_is_built_again(
    store: cz.Store, location: Path, tmp_path: Path, layout: str
) -> None:
    output = tmp_path / "dataset-01training" if layout == "bids" else tmp_path
    result = cz.export_cases(location, output, layout=layout)
    assert result.failed == ()
    names = {one.case: one.name for one in result.cases}
    assert names == {
        "RAS": "sub-RAS",
        "LPS.1": "sub-LPS1",
        "oblique_PIR": "sub-obliquePIR",
        "empty": "sub-empty",
    }
    cz.build_store(cz.plan_build(tmp_path, tmp_path / "again.zarr", workers=1))
    again = cz.open_store(tmp_path / "again.zarr")
    assert again.spec.name == "dataset in VerSe's layout"
    for one in result.cases:
        case, found = store[one.case], again[one.name]
        for which in case.names:
            assert np.array_equal(case.voxels(which)[...], found.voxels(which)[...])
        assert np.array_equal(case.affine, found.affine)
        assert [label.centroid for label in case.record.labels] == [
            one.centroid for one in found.record.labels
        ]
        image, mask, about, _ = one.paths
        assert image.relative_to(output).as_posix().endswith(f"rawdata/{one.name}/{one.name}_ct.nii.gz")
        assert mask.name == f"{one.name}_seg-vert_msk.nii.gz"
        assert mask.parent.parent.name == "derivatives"
        assert same(world(mask), own_world(case))
        said = json.loads(about.read_text())
        assert (said["case"], said["split"], about.name) == (case.id, "train", f"{one.name}_ct.json")
        # The source's own bytes, orientation and dtype, where nothing is cropped or mapped.
        assert nibabel.aff2axcodes(load(image).affine) == tuple(case.record.orientation)


@pytest.mark.parametrize("layout", ["verse", "bids"])
def test_crops_and_maps_are_canonical(store: cz.Store, location: Path, tmp_path: Path, layout: str) -> None:
    result = cz.export_cases(
        location, tmp_path, list(CODES), layout=layout, crop="spine", margin_mm=2, labels="contiguous"
    )
    assert result.failed == ()
    label_map = store.label_map("contiguous")
    kind = cz.Volumes(crop="spine", margin_mm=2, label_map=label_map, keep_dtype=True, orientation="RAS")
    samples = {one["case"]: one for one in cz.Dataset(store.select(cases=list(CODES)), kind)}
    for one in result.cases:
        sample = samples[one.case]
        image, mask = (load(path) for path in one.paths[:2])
        assert np.array_equal(np.asarray(image.dataobj), sample["image"])
        assert np.array_equal(np.asarray(mask.dataobj), sample["segmentation"])
        assert np.allclose(image.affine, sample["affine"], atol=1e-4)
        assert mask.get_data_dtype() == np.uint8
        mapped = {label_map.values[label]: place for label, place in own_world(store[one.case]).items()}
        # The catalog rounds to a thousandth of a voxel.
        assert same(world(one.paths[1]), mapped, mm=2e-3)


def test_labels_that_become_one_have_one_centroid_and_what_is_ignored_none(
    store: cz.Store, location: Path, tmp_path: Path
) -> None:
    case = store["oblique_PIR"]
    [binary] = cz.export_cases(location, tmp_path / "a", case.id, layout="bids", labels="binary").cases
    where = np.argwhere(case.segmentation.compute() > 0).mean(axis=0)
    assert same(world(binary.paths[1]), {1: case.affine[:3] @ [*where[::-1], 1]}, mm=2e-3)
    ignoring = store.label_map({"L4": 7}, ignore="rest")
    [rest] = cz.export_cases(location, tmp_path / "b", case.id, layout="bids", labels=ignoring).cases
    assert same(world(rest.paths[1]), {7: own_world(case)[23]}, mm=2e-3)
    assert set(np.unique(np.asarray(load(rest.paths[1]).dataobj))) == {0, 7, 8}


@pytest.mark.parametrize("crop", [None, "spine"])
def test_slices_of_npz(store: cz.Store, location: Path, tmp_path: Path, crop: Any) -> None:
    result = cz.export_cases(location, tmp_path, list(CODES), layout="npz", crop=crop, margin_mm=2.0)
    assert result.failed == ()
    for one in result.cases:
        case = store[one.case]
        volume = cz.Dataset(
            store.select(cases=case.id), cz.Volumes(crop=crop, margin_mm=2.0, keep_dtype=True)
        )[0]
        assert len(one.paths) == len(volume["image"])
        first = int(one.paths[0].stem)
        assert [path.name for path in one.paths] == [f"{first + i:04}.npz" for i in range(len(one.paths))]
        for at, path in enumerate(one.paths):
            assert path.parent == tmp_path / "train" / case.id
            with np.load(path) as found:
                assert sorted(found) == ["affine", "image", "label", "spacing"]
                assert (found["image"].dtype, found["label"].dtype) == (np.int16, np.uint8)
                assert np.array_equal(found["image"], volume["image"][at])
                assert np.array_equal(found["label"], volume["segmentation"][at])
                assert np.allclose(found["spacing"], case.spacing)
                assert np.allclose(
                    found["affine"] @ [0, 1, 2, 1], volume["affine"] @ [at, 1, 2, 1], atol=1e-9
                )
                assert np.array_equal(found["image"], case.slice(int(path.stem))["image"]) or crop


def test_what_a_case_does_not_have(tmp_path: Path, location: Path) -> None:
    tree = NnunetTree(tmp_path / "source")
    tree.add("a", voxels(dtype="float32") + np.float32(0.25))
    tree.add("b", mask=False, folder="Ts")
    tree.add("c", voxels(dtype="int32") * 100)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    result = cz.export_cases(tmp_path / "s.zarr", tmp_path / "npz", layout="npz")
    [failed] = result.failed
    assert failed.reason is not None
    assert failed.reason.startswith("case c has HU from -102400 to ")
    assert failed.reason.endswith("; legal in slices of int16: -32768 to 32767, or another layout")
    paths = {one.case: one.paths for one in result.cases}
    with np.load(paths["a"][3]) as found:
        case = cz.open_store(tmp_path / "s.zarr")["a"]
        assert np.array_equal(found["image"], np.rint(case.slice(3)["image"]))
    with np.load(paths["b"][0]) as found:
        assert sorted(found) == ["affine", "image", "spacing"]
    bids = cz.export_cases(tmp_path / "s.zarr", tmp_path / "bids", "b", layout="bids")
    assert [path.name for path in bids.cases[0].paths] == ["sub-b_ct.nii.gz", "sub-b_ct.json"]
    for layout in ("verse", "bids", "npz"):
        [failed] = cz.export_cases(location, tmp_path / layout, layout=layout, crop="spine").failed
        assert failed.reason == "case empty has no label to crop to; legal: a case that has, or no crop"


def test_what_is_not_legal_writes_nothing(location: Path, tmp_path: Path) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"layout": "nifti"}, "unknown layout 'nifti'; legal: source, verse, bids, npz"),
        ({"crop": "spine"}, "crop 'spine' and labels None of the layout source; legal: verse, bids or npz"),
        ({"labels": "binary"}, "labels 'binary' of the layout source; legal"),
        ({"layout": "bids", "crop": "all"}, "unknown crop 'all'; legal: spine, labels"),
        ({"layout": "bids", "crop": "spine", "margin_mm": -1}, "margin_mm -1"),
        ({"layout": "npz", "labels": "none"}, "unknown label map 'none'"),
    )
    for arguments, told in wrong:
        with pytest.raises(UnknownValue, match=told):
            cz.export_cases(location, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["verse", "bids", "npz"])
def test_files_are_the_same_whoever_writes_them_and_kept_unless_told(
    location: Path, tmp_path: Path, layout: str
) -> None:
    options: dict[str, Any] = {"layout": layout, "labels": "regions"}
    for place, workers in (("one", 1), ("two", 2)):
        assert cz.export_cases(location, tmp_path / place, workers=workers, **options).failed == ()
    assert objects(tmp_path / "one") == objects(tmp_path / "two")
    again = cz.export_cases(location, tmp_path / "one", "RAS", **options)
    assert "exists; give --overwrite to replace it" in (again.failed[0].reason or "")
    assert cz.export_cases(location, tmp_path / "one", "RAS", overwrite=True, **options).failed == ()
    assert objects(tmp_path / "one") == objects(tmp_path / "two")


def test_a_store_of_verse_keeps_its_names(tmp_path: Path) -> None:
    tree = VerseTree(tmp_path / "source")
    for case in ("sub-verse004", "sub-verse401_split-verse201", "sub-verse401_split-verse202"):
        tree.add(case)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    cz.export_cases(tmp_path / "s.zarr", tmp_path / "verse", layout="verse")
    cz.export_cases(tmp_path / "s.zarr", tmp_path / "source2", layout="source")
    written = objects(tmp_path / "verse")
    assert {key: data for key, data in written.items() if key.endswith(".gz")} == objects(
        tmp_path / "source2"
    )


def record_of(store: cz.Store, case: str, patient: str) -> Record:
    return structs.replace(store["RAS"].record, id=case, patient_id=patient)


def test_names_are_legal_and_those_of_a_patient_lie_together(store: cz.Store) -> None:
    asked = {
        "liver_0": "liver_0",
        "1.3.6.1": "1.3.6.1",
        "a_1": "p",
        "a_2": "p",
        "sub-x": "sub-x",
        "x": "x",
        "b-1": "b-1",
        "b_1": "b_1",
        "B1": "B1",
    }
    names = subject_names([record_of(store, case, patient) for case, patient in asked.items()])
    assert {case: names[case] for case in list(asked)[:5]} == {
        "liver_0": "sub-liver0",
        "1.3.6.1": "sub-1361",
        "a_1": "sub-p_split-a1",
        "a_2": "sub-p_split-a2",
        "sub-x": "sub-x",
    }
    # Of those that would be one name where case does not tell, each has digits of its own.
    assert names["x"].startswith("sub-x")
    assert all(len(names[case].removeprefix("sub-")) == 10 for case in ("b-1", "b_1", "B1"))
    assert len({name.lower() for name in names.values()}) == len(asked)


@given(
    st.dictionaries(
        st.text("aA1-_.é", min_size=1, max_size=5).map(lambda text: f"c{text}")
        | st.text("aA1", min_size=1, max_size=3).map(lambda text: f"sub-{text}"),
        st.sampled_from(["p", "P", "p-", "q", ""]),
        min_size=1,
    )
)
def test_no_two_names_are_one(store: cz.Store, asked: dict[str, str]) -> None:
    base = store["RAS"].record
    records = []
    for case, patient in asked.items():
        try:
            records.append(structs.replace(base, id=case, patient_id=patient or case))
        except ValueError:
            continue
    names = subject_names(records)
    assert names.keys() == {record.id for record in records}
    made = [name.lower() for case, name in names.items() if name != case]
    assert len(set(made)) == len(made)
    assert not set(made) & {case.lower() for case in names if names[case] == case}
    assert all(name.replace("sub-", "").replace("_split-", "").isalnum() for name in names.values())
    patients: dict[str, set[str]] = {}
    for record in records:
        if names[record.id] != record.id:
            patients.setdefault(names[record.id].partition("_")[0], set()).add(record.patient_id)
    assert all(len(found) == 1 for found in patients.values())


def test_the_command(location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(location, "LPS.1", "--output", "out", "--layout", "bids", "--crop", "spine", "--margin", 3)
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            "out/rawdata/sub-LPS1/sub-LPS1_ct.nii.gz",
            "out/derivatives/sub-LPS1/sub-LPS1_seg-vert_msk.nii.gz",
            "out/rawdata/sub-LPS1/sub-LPS1_ct.json",
            "out/derivatives/sub-LPS1/sub-LPS1_seg-vert_ctd.json",
        ],
    )
    assert "LPS.1 is named sub-LPS1, where letters and digits alone are legal" in done.stderr
    (tmp_path / "map.json").write_text('{"L3": 1, "L4": 2, "L5": 0}')
    done = run(location, "RAS", "--output", "out", "--layout", "npz", "--labels", "contiguous")
    assert (done.exit_code, done.stdout) == (0, "out/train/RAS (13 files)\n")
    done = run(location, "--output", "all", "--layout", "verse", "--crop", "labels")
    assert done.exit_code == 1
    assert "case empty has no label to crop to" in done.stderr
    assert len(done.stdout.splitlines()) == 4 * len(CODES)
    assert run(location, "--output", "all", "--labels", "map.json").exit_code == 2
    assert run(location, "--output", "all", "--layout", "nnunet").exit_code == 2
