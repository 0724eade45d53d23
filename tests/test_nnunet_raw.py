"""A store as a raw dataset of nnU-Net, by pointers and by NIfTI files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import documents
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from trees import Tree

import ctspine_zarr as cz
from ctspine_zarr.cli import main, talk
from ctspine_zarr.errors import Malformed, StoreMismatch, StoreUpdated, UnknownValue
from ctspine_zarr.nnunet.labels import Numbering
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.nnunet.raw import pointer_paths, write_raw


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def of_training(store: cz.Store) -> list[str]:
    return sorted(c.id for c in store.values() if c.has_mask and c.record.split in {"train", "validation"})


@pytest.fixture(scope="module")
def by_nifti(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(phantom_store, tmp_path_factory.mktemp("raw"), id=601, nifti=True)


def test_by_pointers_it_is_what_nnunet_documents(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = write_raw(phantom_store, tmp_path, id=601)
    found = read(place / "dataset.json")
    assert place == tmp_path / "Dataset601_CTSpine1K"
    assert list(found["labels"].values()) == list(range(26))
    assert list(found["labels"]) == ["background", *phantom_store.spec.labels.values()]
    assert found["channel_names"] == {"0": "CT"}
    assert found["numTraining"] == len(found["dataset"])
    assert list(found["dataset"]) == of_training(phantom_store)
    assert (found["file_ending"], found["licence"]) == (".nii.gz", phantom_store.spec.licence)
    assert found["ctspine_zarr"]["store_digest"] == phantom_store.digest
    for case, files in found["dataset"].items():
        assert [place.joinpath(path).is_file() for path in (*files["images"], files["label"])] == [True, True]
        pointer = Pointer.read(place / files["label"])
        assert pointer is not None
        mask = phantom_store[case].voxels("segmentation")[...]
        assert np.array_equal(pointer.mapped(pointer.open().voxels("segmentation")[...]), mask)


def test_ignored_labels_are_last_and_gaps_are_closed(phantom_store: cz.Store, tmp_path: Path) -> None:
    asked = phantom_store.label_map("totalsegmentator", ignore=["L6"])
    place = write_raw(phantom_store, tmp_path, id=7, name="Levels", label_map=asked)
    labels = read(place / "dataset.json")["labels"]
    assert list(labels.values()) == list(range(26))
    assert [name for name, value in labels.items() if value in {0, 1, 25}] == ["background", "L5", "ignore"]
    values = phantom_store.spec.values
    assert asked.table[values["L6"]] > 25
    table = read(place / pointer_paths("liver_0")[1])["table"]
    assert (table[values["L6"]], table[values["L5"]], table[values["C1"]]) == (25, 1, 24)


def test_names_of_labels_are_different() -> None:
    twice = cz.LabelMap("twice", {1: 1, 2: 2}, {1: "a", 2: "a"})
    for wrong in (twice, cz.LabelMap("none", {1: 0}, {}), cz.LabelMap("b", {1: 1}, {1: "background"})):
        with pytest.raises(UnknownValue, match="legal: one or more of different names"):
            Numbering.of(wrong)


def test_the_stores_own_split_is_the_fold(phantom_store: cz.Store, by_nifti: Path) -> None:
    (fold,) = read(by_nifti / "splits_final.json")
    own = phantom_store.folds(by="split")[0]
    assert fold["val"] == sorted(case for case in own.validation if phantom_store[case].has_mask)
    assert fold["train"] == sorted(case for case in own.train if phantom_store[case].has_mask)


def test_folds_share_no_group(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = write_raw(phantom_store, tmp_path, id=601, folds=2)
    folds = read(place / "splits_final.json")
    assert len(folds) == 2
    held_out = [case for fold in folds for case in fold["val"]]
    assert len(held_out) == len(set(held_out))
    test = {case for case, record in phantom_store.records.items() if record.split == "test"}
    for fold in folds:
        for group in phantom_store.groups:
            sides = {bool({*group} & {*cases}) and at for at, cases in enumerate((*fold.values(), test), 1)}
            assert len(sides - {False}) <= 1


def test_nifti_is_the_stores_voxels(phantom_store: cz.Store, by_nifti: Path) -> None:
    training, tests = of_training(phantom_store), phantom_store.select(split="test")
    assert sorted(path.name[:-12] for path in (by_nifti / "imagesTr").iterdir()) == training
    assert sorted(path.name[:-12] for path in (by_nifti / "imagesTs").iterdir()) == sorted(tests)
    for case in (phantom_store[name] for name in training):
        for path, which in ((f"imagesTr/{case.id}_0000", "image"), (f"labelsTr/{case.id}", "segmentation")):
            image: Any = nibabel.load(by_nifti / f"{path}.nii.gz")
            voxels = np.asarray(image.dataobj).T
            assert voxels.dtype == (np.int16 if which == "image" else np.uint8)
            assert np.array_equal(voxels, case.voxels(which)[...])  # type: ignore[arg-type]
            assert np.allclose(image.affine, case.affine, atol=1e-4)


def test_our_own_layout_builds_from_it(phantom_store: cz.Store, by_nifti: Path, tmp_path: Path) -> None:
    cz.build_store(cz.plan_build(by_nifti, tmp_path / "s.zarr", fold=0))
    back = cz.open_store(tmp_path / "s.zarr")
    (fold,) = read(by_nifti / "splits_final.json")
    assert sorted(back.select(split="validation")) == fold["val"]
    assert set(back) >= {*fold["val"], *fold["train"]}
    for case in back.values():
        for which in case.names:
            assert np.array_equal(case.voxels(which)[...], phantom_store[case.id].voxels(which)[...])


def test_what_is_whole_is_kept_and_the_rest_is_written(phantom_store: cz.Store, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(_: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        write_raw(phantom_store, tmp_path, id=601, nifti=True, on_case=stop)
    place = tmp_path / "Dataset601_CTSpine1K"
    assert not (place / "dataset.json").exists()
    written = {path: path.stat().st_mtime_ns for path in place.rglob("*.nii.gz")}
    write_raw(phantom_store, tmp_path, id=601, nifti=True)
    assert (place / "dataset.json").exists()
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert not list(place.rglob("*.partial"))


def test_another_dataset_is_not_written_over(phantom_store: cz.Store, tmp_path: Path) -> None:
    place = write_raw(phantom_store, tmp_path, id=601)
    with pytest.raises(StoreMismatch, match="other form"):
        write_raw(phantom_store, tmp_path, id=601, nifti=True)
    with pytest.raises(StoreMismatch, match="other labels, table"):
        write_raw(phantom_store, tmp_path, id=601, label_map="binary")
    with pytest.raises(StoreMismatch, match="has it; legal: an id that is free"):
        write_raw(phantom_store, tmp_path, id=601, name="Other")
    (place / "ctspine_zarr.json").unlink()
    with pytest.raises(StoreMismatch, match="legal: another folder"):
        write_raw(phantom_store, tmp_path, id=601)


@pytest.mark.parametrize("wrong", [{"id": 0}, {"id": 1000}, {"name": "a b"}, {"folds": 1}])
def test_what_is_not_legal_is_said(phantom_store: cz.Store, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnknownValue, match="legal"):
        write_raw(phantom_store, tmp_path, **{"id": 601} | wrong)
    assert list(tmp_path.iterdir()) == []


def test_without_masks_there_is_nothing_to_train_on(phantom_store: cz.Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownValue, match="no case of train or validation with a mask"):
        write_raw(phantom_store.select(split="test"), tmp_path, id=601)


def test_a_pointer_to_what_is_no_more_is_refused(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    location = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(tree.root, location))
    store = cz.open_store(location)
    case = next(iter(store))
    pointer = Pointer(str(location), case, store[case].record.content, "image")
    assert pointer.open().id == case
    with pytest.raises(StoreUpdated, match="the pointer was made of 0000"):
        Pointer(str(location), case, "0" * 64, "image").open()


def test_what_is_no_pointer_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    begin = '{"type": "ctspine_zarr_pointer", "table": '
    for text in ("{}", "{", '{"type": "other"}', f"{begin}[]}}", f"{begin}[1]}}", f"{begin}[256]}}"):
        path.write_text(text)
        with pytest.raises(Malformed, match="legal: a pointer"):
            Pointer.read(path)
    path.write_bytes(b"\x1f\x8b")
    assert Pointer.read(path) is None


def test_the_command_is_the_same(phantom_store: cz.Store, tmp_path: Path) -> None:
    command = ["nnunet", "raw", phantom_store.location, str(tmp_path), "--id", "601"]
    done = CliRunner().invoke(main.cli, [*command, "--labels", "regions", "--ignore", "L6", "--folds", "2"])
    assert done.exit_code == 0, done.output
    place = tmp_path / "Dataset601_CTSpine1K"
    assert done.stdout.splitlines()[-1] == str(place)
    assert list(read(place / "dataset.json")["labels"])[-1] == "ignore"
    assert (
        CliRunner().invoke(main.cli, [*command, "--id", "602", "--label-set", "none"]).exit_code == talk.USAGE
    )
    for more, status in (([], talk.FAILED), (["--labels", "none"], talk.USAGE), (["--id", "0"], talk.USAGE)):
        assert CliRunner().invoke(main.cli, [*command, *more]).exit_code == status


def test_the_page_has_every_command_in_its_place() -> None:
    # That they are legal is tested with those of all pages.
    commands = [command for block in documents.blocks("docs/nnunet.md") for command in block.commands]
    groups = "nnunet", "labels"
    named = [
        " ".join(words[1 : 3 if words[1] in groups else 2])
        for words in commands
        if words[0] == "ctspine-zarr"
    ]
    before, after = ["nnunet raw", "nnunet preprocess", "labels add", "score"], ["derive", "nnunet raw"]
    assert named == [*before, *["nnunet preprocess"] * 3, *after]


@pytest.mark.parametrize("more", [[], ["--plan-only"]])
def test_without_nnunet_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    for name in ("reader", "planning", "dataset", "direct", "preprocess"):
        monkeypatch.delitem(sys.modules, f"ctspine_zarr.nnunet.{name}", raising=False)
    done = CliRunner().invoke(main.cli, ["nnunet", "preprocess", str(tmp_path), str(tmp_path), *more])
    assert done.exit_code == talk.FAILED
    assert done.stderr.splitlines() == [
        "ctspine-zarr: this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    ]


def test_the_trainers_are_where_the_command_says() -> None:
    done = CliRunner().invoke(main.cli, ["nnunet", "trainers"])
    assert (Path(done.stdout.strip()) / "ctspine_zarr_trainers.py").is_file()
