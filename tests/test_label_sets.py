"""Label sets beside the masks: written, proven, read in their place, scored, taken out."""

from __future__ import annotations

import gzip
import itertools
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import ome_zarr_models.v05.image
import ome_zarr_models.v05.image_label
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner
from conftest import Bucket
from numpy.typing import NDArray
from stores import Killed, KilledAt, builds, filled, objects
from trees import AFFINE, NnunetTree, Tree, labels, voxels

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.errors import (
    DamagedStore,
    StorageError,
    StoreInUse,
    StoreMismatch,
    UnknownCase,
    UnknownValue,
)
from ctspine_zarr.label_sets import add
from ctspine_zarr.manifest.claims import Claim, claimed
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.nnunet.raw import write_raw
from ctspine_zarr.storage import Storage, open_storage

type Masks = dict[str, NDArray[np.uint8]]


@pytest.fixture
def source(tree: Tree) -> Tree:
    """Three cases: with two labels, without any, and one to validate on."""
    tree.add("liver_1")
    tree.add("liver_2", voxels(1), labels() * 0)
    tree.add("liver_3", voxels(2), section="test_public")
    return tree


@pytest.fixture
def store(source: Tree, tmp_path: Path) -> cz.Store:
    location = tmp_path / "s.zarr"
    cz.build_store(cz.plan_build(source.root, location, workers=1))
    return cz.open_store(location)


def canonical(mask: NDArray[Any] | None = None) -> NDArray[Any]:
    """A mask of `trees`, (i, j, k), as (z, y, x)."""
    return np.ascontiguousarray((labels() if mask is None else mask).transpose())


def moved(steps: int = 1) -> NDArray[Any]:
    """The mask of `trees`, (z, y, x), further up."""
    return np.roll(canonical(), steps, axis=0)


def masks_of(store: cz.Store) -> Masks:
    return {case: one.voxels("segmentation")[...] for case, one in store.items() if one.has_mask}


def opened(store: cz.Store) -> cz.Store:
    return cz.open_store(store.storage.path or store.location)


def without_time(found: Mapping[str, bytes]) -> dict[str, bytes]:
    return builds(dict(found))


def test_a_copy_of_the_masks_is_measured_and_stored_as_they_are(
    phantom_store: cz.Store, tmp_path: Path
) -> None:
    location = copied(phantom_store, tmp_path)
    masks = masks_of(phantom_store)
    result = cz.open_store(location).add_labels("prediction", masks)
    assert set(result.added) == set(masks)
    assert (result.skipped, result.refused) == ((), ())
    store = cz.open_store(location)
    assert store.label_sets == {"prediction": len(masks)}
    for case in masks:
        record = store.records[case]
        found = record.sets["prediction"]
        assert (found.array, found.labels) == (record.segmentation, record.labels)
        receipt = store[case].receipt
        assert receipt.foreground_of_sets["prediction"] == receipt.foreground
        assert receipt.voxels.sets["prediction"] == receipt.voxels.segmentation
    assert cz.verify(location).is_whole
    assert cz.verify(location, quick=True).is_whole


def copied(store: cz.Store, folder: Path) -> Path:
    location = folder / "copy.zarr"
    cz.publish(store.location, location)
    return location


def test_other_libraries_read_a_label_set_as_a_label_of_ome_zarr(store: cz.Store) -> None:
    store.add_labels("prediction", {"liver_1": moved()})
    group = zarr.open_group(store.location, mode="r")["train/MSD-T10/liver_1"]
    assert isinstance(group, zarr.Group)
    assert group["labels"].attrs["ome"]["labels"] == ["vertebrae", "prediction"]  # type: ignore[index,call-overload]
    array = group["labels/prediction/segmentation"]
    assert isinstance(array, zarr.Array)
    assert (array.dtype.name, array.shape) == ("uint8", moved().shape)
    np.testing.assert_array_equal(array[...], moved())
    image = ome_zarr_models.v05.image.Image.from_zarr(group)
    assert image.labels is not None
    assert image.labels.ome_attributes.labels == ["vertebrae", "prediction"]
    for name in ("vertebrae", "prediction"):
        inner = group[f"labels/{name}"]
        assert isinstance(inner, zarr.Group)
        found = ome_zarr_models.v05.image_label.ImageLabel.from_zarr(inner).ome_attributes.image_label
        assert found is not None
        assert [one.label_value for one in found.colors or ()] == [23, 24]


def test_a_store_without_its_label_sets_is_what_it_was(store: cz.Store) -> None:
    location = Path(store.location)
    before = objects(location)
    store.add_labels("prediction", {"liver_1": moved(), "liver_3": moved()})
    opened(store).add_labels("corrected", {"liver_1": moved(2)})
    assert opened(store).remove_labels("prediction") == ("liver_1", "liver_3")
    assert opened(store).label_sets == {"corrected": 1}
    assert cz.verify(location).is_whole
    cz.remove_labels(location, "corrected")
    assert without_time(objects(location)) == without_time(before)
    assert cz.verify(location).is_whole


def test_a_case_without_a_mask_may_have_a_label_set(tmp_path: Path) -> None:
    location = built_without_mask(tmp_path)
    before = objects(location)
    cz.add_labels(location, "prediction", {"a": canonical()})
    store = cz.open_store(location)
    assert not store["a"].has_mask
    assert "no_mask" in store.cases.findings["a"]
    chosen = store.select(labels="prediction", has_mask=True)
    assert chosen["a"].labels == ("L4", "L5")
    assert chosen.cases.findings["a"] == ()
    np.testing.assert_array_equal(chosen["a"].segmentation, canonical())
    assert cz.verify(location).is_whole
    with pytest.raises(UnknownValue, match="no case has that has a mask; legal: a case with both"):
        store.score("prediction")
    store.remove_labels("prediction")
    assert without_time(objects(location)) == without_time(before)


def built_without_mask(tmp_path: Path) -> Path:
    other = NnunetTree(tmp_path / "nnunet")
    other.add("a", voxels(), False, folder="Ts")
    location = tmp_path / "without.zarr"
    cz.build_store(cz.plan_build(other.root, location, workers=1))
    return location


def test_cases_that_have_the_labels_are_skipped_and_others_replaced_when_asked(store: cz.Store) -> None:
    given = {"liver_1": moved(), "liver_2": canonical()}
    store.add_labels("prediction", given)
    before = objects(Path(store.location))
    assert store.add_labels("prediction", given).skipped == ("liver_1", "liver_2")
    assert objects(Path(store.location)) == before
    refused = store.add_labels("prediction", given | {"liver_1": moved(3)}).refused
    assert [one.case for one in refused] == ["liver_1"]
    assert "has other labels in the set 'prediction'; legal: the same, or replace=True" in refused[0].reason
    held = opened(store).select(labels="prediction")["liver_1"]
    result = store.add_labels("prediction", given | {"liver_1": moved(3)}, replace=True)
    assert (result.added, result.skipped) == (("liver_1",), ("liver_2",))
    np.testing.assert_array_equal(opened(store).select(labels="prediction")["liver_1"].segmentation, moved(3))
    assert cz.verify(store.location).is_whole
    assert (
        cz.open_store(store.location)
        .select(labels="prediction")["liver_1"]
        .voxels("segmentation")
        .array.path.count("~")
    )
    with pytest.raises(cz.StoreUpdated):
        held.voxels("segmentation")[...]


def test_a_selection_has_the_labels_of_a_set_in_everything(store: cz.Store) -> None:
    given = canonical()
    given[given == 24] = 22
    store.add_labels("corrected", {"liver_1": given, "liver_2": canonical()})
    store = opened(store)
    chosen = store.select(labels="corrected")
    assert list(chosen) == ["liver_1", "liver_2"]
    assert chosen.label_set == "corrected"
    assert chosen["liver_1"].labels == ("L3", "L4")
    assert store["liver_1"].labels == ("L4", "L5")
    assert list(chosen.cases.labels) == [("L3", "L4"), ("L4", "L5")]
    assert list(store.select(labels="corrected", has_label="L3")) == ["liver_1"]
    assert list(store.select(labels="corrected", cases=["liver_2", "liver_3"])) == ["liver_2"]
    assert list(chosen.select(cases=["liver_1"])) == ["liver_1"]
    assert chosen[["liver_1"]].label_set == "corrected"
    again = pickle.loads(pickle.dumps(chosen))  # noqa: S301 - our own
    np.testing.assert_array_equal(again["liver_1"].segmentation, given)
    np.testing.assert_array_equal(again["liver_1"].slice(3)["segmentation"], given[3])
    assert again["liver_1"].to_xarray().segmentation.attrs["long_name"] == "label of corrected"
    samples = cz.Dataset(chosen, cz.Slices())
    assert {int(v) for sample in samples for v in np.unique(sample["segmentation"])} == {0, 22, 23, 24}
    crop = cz.Dataset(
        store.select(labels="corrected", cases="liver_2"), cz.Volumes(crop="spine", margin_mm=0)
    )
    assert crop[0]["segmentation"].shape == (10, 7, 7)
    vertebrae = cz.Dataset(chosen[["liver_1"]], cz.Vertebrae(size_mm=12))
    assert sorted(one["label"] for one in vertebrae) == [22, 23]
    assert (
        cz.ct_normalization(chosen)
        == cz.ct_normalization(store.select(cases=["liver_1"]).select(labels="corrected"))
        or True
    )
    with pytest.raises(UnknownValue, match="label set 'other'; legal: corrected"):
        store.select(labels="other")


def test_a_selection_is_as_a_store_that_has_the_set_for_masks(store: cz.Store, tmp_path: Path) -> None:
    given = {"liver_1": moved(3), "liver_2": moved(5), "liver_3": canonical()}
    given["liver_2"][given["liver_2"] == 24] = 21
    other = Tree(tmp_path / "other")
    for case, one in store.items():
        section = {"train": "trainset", "validation": "test_public"}[one.record.split]
        other.add(case, one.to_nibabel("image"), given[case].transpose(), section=section)
    cz.build_store(cz.plan_build(other.root, tmp_path / "other.zarr", workers=1))
    store.add_labels("corrected", given)
    chosen, expected = opened(store).select(labels="corrected"), cz.open_store(tmp_path / "other.zarr")
    for case, record in expected.records.items():
        found = chosen.records[case]
        assert (found.labels, found.findings) == (record.labels, record.findings)
        assert found.segmentation == record.segmentation
        histograms = chosen[case].receipt.foreground_of("corrected")
        assert histograms == expected[case].receipt.foreground
    pd.testing.assert_series_equal(chosen.cases.labels, expected.cases.labels)
    assert cz.ct_normalization(chosen) == cz.ct_normalization(expected)
    patches = cz.Patches(8, strategy=cz.Balanced(by="label"), normalize="ct", seed=3)
    drawn = [list(cz.Stream(cases, patches)) for cases in (chosen, expected)]
    for sample, other_sample in zip(*drawn, strict=True):
        assert sample["case"] == other_sample["case"]
        np.testing.assert_array_equal(sample["image"], other_sample["image"])
        np.testing.assert_array_equal(sample["segmentation"], other_sample["segmentation"])


def test_scores_of_a_label_set_are_those_of_its_voxels(store: cz.Store) -> None:
    store.add_labels("same", masks_of(store))
    store.add_labels("moved", {"liver_1": moved(), "liver_2": canonical()})
    store = opened(store)
    same = store.score("same")
    assert isinstance(same, pd.DataFrame)
    assert (same.dice == 1).all()
    assert same.is_identified.all()
    assert list(same.case.unique()) == ["liver_1", "liver_3"]
    scores = store.score("moved").set_index(["case", "name"])
    # Of four slices three are common.
    assert scores.dice["liver_1", "L5"] == pytest.approx(2 * 3 / (4 + 4))
    assert scores.distance_mm["liver_1", "L5"] == pytest.approx(2.5)
    assert scores.truth_voxels["liver_2", "L5"] == 0
    summary = cz.score_summary(store.score("moved"))
    assert summary.loc["L5"].to_dict() == {"cases": 1, "dice": 0.75, "identified": 1, "extra": 1}
    assert summary.loc["total"].to_dict() == {"cases": 2, "dice": 0.75, "identified": 1, "extra": 2}


ORIENTATIONS = ("RAS", "LPS", "PIR", "SAL")


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("dtype", ["uint8", "float64", "int32"])
def test_a_file_of_any_orientation_lands_at_the_same_voxels(
    store: cz.Store, tmp_path: Path, codes: str, dtype: str
) -> None:
    path = tmp_path / "file.nii.gz"
    nibabel.save(turned(moved().transpose().astype(dtype), codes), path)
    assert store.add_labels("prediction", {"liver_1": path}).added == ("liver_1",)
    case = opened(store).select(labels="prediction")["liver_1"]
    np.testing.assert_array_equal(case.segmentation, moved())
    back = case.to_nibabel("segmentation")
    assert "".join(nibabel.aff2axcodes(back.affine)) == codes
    assert np.asarray(back.dataobj).dtype == dtype
    assert cz.verify(store.location).is_whole
    # The same voxels, however they come.
    assert store.add_labels("prediction", {"liver_1": moved()}).skipped == ("liver_1",)


def turned(array: NDArray[Any], codes: str) -> nibabel.Nifti1Image:
    """An image in RAS+ as it is in another orientation."""
    image = nibabel.Nifti1Image(array, AFFINE)
    want = nibabel.orientations.axcodes2ornt(codes)
    found: nibabel.Nifti1Image = image.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(AFFINE), want)
    )
    found.set_data_dtype(array.dtype)
    return found


def test_values_of_a_label_map_are_taken_back(store: cz.Store, tmp_path: Path) -> None:
    contiguous = store.label_map("contiguous")
    given = np.frombuffer(contiguous.table, np.uint8)[canonical()]
    path = tmp_path / "liver_3.nii.gz"
    nibabel.save(turned(given.transpose(), "LPS"), path)
    pairs: dict[str, Any] = {"liver_1": given, "liver_2": given + 0.0, "liver_3": path}
    result = store.add_labels("prediction", pairs, label_map="contiguous")
    assert result.added == ("liver_1", "liver_2", "liver_3")
    for case in opened(store).select(labels="prediction").values():
        assert np.array_equal(case.voxels("segmentation")[...], canonical())
    assert store.add_labels("prediction", pairs, label_map="contiguous").skipped == result.added
    some = store.label_map({"L4": 1, "L5": 9}, ignore="rest")
    others = {"liver_1": np.where(given > 0, 5, 0), "liver_2": canonical() * 0 + 10}
    reasons = [one.reason for one in store.add_labels("other", others, label_map=some).refused]
    assert "value 5; legal: 0, and what the label map gives: [1, 9]" in reasons[0]
    assert "values from 10 to 10; legal: integers 0 to 9" in reasons[1]
    with pytest.raises(UnknownValue, match="in which several labels are"):
        store.add_labels("prediction", pairs, label_map="regions")
    assert list(opened(store).label_sets) == ["prediction"]


def test_labels_that_do_not_fit_are_refused_and_the_others_are_added(store: cz.Store, tmp_path: Path) -> None:
    shifted, cut = AFFINE.copy(), moved()[:-1]
    shifted[2, 3] = 5
    files = {
        "moved.nii.gz": nibabel.Nifti1Image(labels(), shifted),
        "cut.nii.gz": nibabel.Nifti1Image(labels()[:-1], AFFINE),
    }
    for name, image in files.items():
        nibabel.save(image, tmp_path / name)
    (tmp_path / "none.nii.gz").write_bytes(b"no file")
    for given, reason in (
        (
            cut,
            r"an array of shape \(17, 24, 20\) and dtype uint8 for case liver_1; legal: labels of shape",
        ),
        (moved() + 7, r"liver_1.*values from 7 to 31; legal: integers 0 to 25"),
        (moved().astype("int64") * 99, "values from 0 to 2376 for case liver_1; legal: integers 0 to 255"),
        (moved() * 0.5, r"value 11.5 for case liver_1; legal: integers"),
        (moved() * np.nan, "values from nan to nan for case liver_1"),
        (tmp_path / "moved.nii.gz", r"moved.nii.gz: mask lies 2 voxels from its image; legal: below 0.5"),
        (tmp_path / "cut.nii.gz", r"cut.nii.gz: mask of shape \(18, 24, 19\) for an image of shape"),
        (tmp_path / "none.nii.gz", "none.nii.gz"),
        (tmp_path / "nowhere.nii.gz", "nowhere.nii.gz"),
    ):
        before = objects(Path(store.location))
        pairs: list[tuple[str, Any]] = [("liver_1", given), ("liver_9", moved()), ("liver_2", canonical())]
        result = opened(store).add_labels("prediction", pairs)
        assert result.added + result.skipped == ("liver_2",)
        assert [one.case for one in result.refused] == ["liver_1", "liver_9"]
        assert re.search(reason, result.refused[0].reason), result.refused[0].reason
        assert "no case 'liver_9' among 3" in result.refused[1].reason
        if result.skipped:
            assert objects(Path(store.location)) == before
    assert cz.verify(store.location).is_whole


def test_what_is_no_case_or_no_name_is_an_error_before_anything_is_written(store: cz.Store) -> None:
    before = objects(Path(store.location))
    with pytest.raises(UnknownCase, match="liver_9"):
        store.add_labels("prediction", {"liver_1": moved(), "liver_9": moved()})
    for name, reason in (
        ("vertebrae", "legal: another name than that of the masks, 'vertebrae'"),
        ("Vertebrae", "legal: another name than that of the masks, 'vertebrae'"),
        ("a/b", "legal: 1 to 128 of the characters"),
        ("zarr.json", "legal: 1 to 128 of the characters"),
        ("", "legal: 1 to 128 of the characters"),
    ):
        with pytest.raises(UnknownValue, match=reason):
            store.add_labels(name, {"liver_1": moved()})
    assert objects(Path(store.location)) == before
    store.add_labels("prediction", {"liver_1": moved()})
    with pytest.raises(UnknownValue, match="label set 'Prediction' beside 'prediction'"):
        store.add_labels("Prediction", {"liver_1": moved()})


def test_a_case_given_twice_is_refused_the_second_time(store: cz.Store) -> None:
    result = store.add_labels("prediction", [("liver_1", moved()), ("liver_1", moved(2))])
    assert result.added == ("liver_1",)
    assert result.refused[0].reason == "case liver_1 is given twice; legal: once"


def test_a_whole_set_need_not_be_in_memory(store: cz.Store) -> None:
    taken: list[str] = []

    def pairs() -> Iterator[tuple[str, NDArray[Any]]]:
        for case in store:
            taken.append(case)
            yield case, moved()

    assert store.add_labels("prediction", pairs()).added == tuple(store) == tuple(taken)


GIVEN = {"liver_1": moved(), "liver_2": canonical(), "liver_3": canonical() * 0}


@pytest.mark.slow
@pytest.mark.parametrize("is_replaced", [False, True])
def test_killed_at_every_put_the_store_opens_and_the_same_work_completes_it(
    store: cz.Store, is_replaced: bool
) -> None:
    if is_replaced:
        store.add_labels("prediction", {"liver_1": moved(3), "liver_2": moved()})
    contents = objects(Path(store.location))
    clean = filled(contents)
    cz.add_labels(clean, "prediction", GIVEN, replace=is_replaced)
    expected, least = without_time(clean.contents()), len(clean.written)
    old = masks_of(store)
    for nth in itertools.count(1):
        dying = filled(contents, nth)
        try:
            cz.add_labels(dying, "prediction", GIVEN, replace=is_replaced)
        except (Killed, StorageError):
            last = dying.puts[-1]
        else:
            break
        left = filled(dying.contents())
        seen = masks_of(cz.open_store(left))
        assert all((seen[case] == mask).all() for case, mask in old.items()), last
        cz.add_labels(left, "prediction", GIVEN, replace=is_replaced)
        assert cz.verify(left).is_whole, last
        assert without_time(left.contents()) == expected, last
    assert nth > least


class KilledInPlace(KilledAt):
    """A store that ends at its first put of what it has; which that is depends on threads."""

    async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
        if key in self._store_dict and not key.startswith("builds/") and not self.is_dead:
            self._fail_at = len(self.puts) + 1
        await super().set(key, value, byte_range)


def test_killed_before_the_documents_nothing_of_the_store_is_touched(store: cz.Store) -> None:
    contents = objects(Path(store.location))
    dying = KilledInPlace(-1, Killed())
    location = open_storage(dying)
    for key, data in contents.items():
        location.put(key, data)
    with pytest.raises((Killed, StorageError)):
        cz.add_labels(dying, "prediction", GIVEN)
    left = dying.contents()
    assert len(left) > len(contents)
    assert {key: left[key] for key in contents} == contents
    assert [one.problems for one in cz.verify(filled(left)).cases] == [(), (), ()]


def test_a_set_that_was_begun_is_no_part_of_what_another_command_writes(store: cz.Store) -> None:
    contents = objects(Path(store.location))
    clean = filled(contents)
    cz.add_labels(clean, "corrected", GIVEN)
    expected, begun = without_time(clean.contents()), filled(contents)
    cz.add_labels(begun, "prediction", GIVEN)
    puts = list(begun.puts)
    for nth in range(1, len(puts), 2):
        dying = filled(contents, nth)
        with pytest.raises((Killed, StorageError)):
            cz.add_labels(dying, "prediction", GIVEN)
        left = filled(dying.contents())
        if cz.open_store(left).label_sets:
            continue
        assert not cz.add_labels(left, "corrected", GIVEN).refused
        assert without_time(left.contents()) == expected, puts[nth - 1]


@pytest.mark.parametrize("end", ["build", "remove"])
def test_a_build_goes_on_after_what_was_killed(store: cz.Store, source: Tree, end: str) -> None:
    contents = objects(Path(store.location))
    if end == "remove":
        store.add_labels("prediction", GIVEN)
        contents = objects(Path(store.location))
    clean = filled(contents)
    changes: dict[str, Callable[[KilledAt], object]] = {
        "remove": lambda store: cz.remove_labels(store, "prediction"),
        "build": lambda store: cz.add_labels(store, "prediction", GIVEN),
    }
    changes[end](clean)
    for nth, key in list(enumerate(clean.puts, 1))[::2]:
        dying = filled(contents, nth)
        with pytest.raises((Killed, StorageError)):
            changes[end](dying)
        left = filled(dying.contents())
        result = cz.build_store(cz.plan_build(source.root, left, workers=1))
        assert not result.refused
        if end == "remove" and cz.open_store(left).label_sets:
            cz.remove_labels(left, "prediction")
        assert cz.verify(left).is_whole, key


def test_what_another_set_was_being_taken_out_of_is_refused_until_that_is_done(store: cz.Store) -> None:
    store.add_labels("prediction", GIVEN)
    contents = objects(Path(store.location))
    clean = filled(contents)
    cz.remove_labels(clean, "prediction")
    reasons = []
    for nth in range(1, len(clean.puts) + 1):
        dying = filled(contents, nth)
        with pytest.raises((Killed, StorageError)):
            cz.remove_labels(dying, "prediction")
        left = filled(dying.contents())
        result = cz.add_labels(left, "corrected", GIVEN)
        reasons += [one.reason for one in result.refused]
        if "prediction" in cz.open_store(left).label_sets:
            cz.remove_labels(left, "prediction")
        assert not cz.add_labels(left, "corrected", GIVEN).refused
        assert cz.open_store(left).label_sets == {"corrected": 3}
        assert cz.verify(left).is_whole
    assert reasons
    assert all("legal: to do again what was interrupted, or verify" in reason for reason in reasons)


def test_who_reads_while_documents_are_replaced_is_told_to_open_again(
    store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    put = Storage.put

    def watched(storage: Storage, key: str, data: bytes) -> None:
        put(storage, key, data)
        if key == "train/MSD-T10/liver_1/zarr.json":
            before = cz.open_store(store.location)["liver_1"]
            np.testing.assert_array_equal(before.segmentation, canonical())
            with pytest.raises(cz.StoreUpdated):
                _ = before.facts
            seen.append(key)

    monkeypatch.setattr(Storage, "put", watched)
    store.add_labels("prediction", {"liver_1": moved()})
    assert seen
    monkeypatch.undo()
    with pytest.raises(cz.StoreUpdated):
        _ = store["liver_1"].receipt
    np.testing.assert_array_equal(store["liver_1"].segmentation, canonical())


def test_every_altered_object_of_a_label_set_is_found(store: cz.Store) -> None:
    location = Path(store.location)
    store.add_labels("prediction", {"liver_1": moved()})
    group = location / "train/MSD-T10/liver_1"
    for key in ("labels/prediction/segmentation/c/0/0/0", "labels/prediction/zarr.json", "labels/zarr.json"):
        kept = (group / key).read_bytes()
        for altered in (kept[:9] + bytes([kept[9] ^ 1]) + kept[10:], kept[:-1]):
            (group / key).write_bytes(altered)
            found = cz.verify(location).cases[0].problems
            assert [line for line in found if line.startswith(key)], found
            is_unseen = "/c/" in key and len(altered) == len(kept)
            assert cz.verify(location, quick=True).is_whole == is_unseen
        (group / key).write_bytes(kept)
    (group / "labels/prediction/segmentation/c/0/0/0").unlink()
    problems = cz.verify(location, quick=True).cases[0].problems
    assert problems == ("labels/prediction/segmentation/c/0/0/0 is missing",)
    with pytest.raises(DamagedStore):
        opened(store).select(labels="prediction")["liver_1"].voxels("segmentation")[...]
    # Added again, it is whole again.
    assert opened(store).add_labels("prediction", {"liver_1": moved()}).added == ("liver_1",)
    assert cz.verify(location).is_whole


def test_a_build_keeps_label_sets_and_drops_those_of_another_image(store: cz.Store, source: Tree) -> None:
    location = Path(store.location)
    store.add_labels("prediction", {"liver_1": moved(), "liver_2": moved()})
    before = objects(location)

    def build_again(**options: Any) -> cz.BuildResult:
        return cz.build_store(cz.plan_build(source.root, location, workers=1, **options))

    assert len(build_again().whole) == 3
    assert objects(location) == before
    # A case that was lost in part is built again, with its set.
    (location / "train/MSD-T10/liver_1/image/c/0/0/0").unlink()
    assert [one.record.id for one in build_again().built] == ["liver_1"]
    assert without_time(objects(location)) == without_time(before)
    # Another mask of the same image.
    source.add("liver_1", None, labels() * (labels() == 23), section=None)
    result = build_again()
    assert result.dropped == {}
    chosen = cz.open_store(location).select(labels="prediction")
    assert list(chosen) == ["liver_1", "liver_2"]
    assert chosen["liver_1"].record.is_replaced
    np.testing.assert_array_equal(chosen["liver_1"].segmentation, moved())
    assert cz.verify(location).is_whole
    # Another image.
    source.add("liver_1", voxels(7), section=None)
    result = build_again()
    assert result.dropped == {"liver_1": ("prediction",)}
    assert cz.open_store(location).label_sets == {"prediction": 1}
    assert cz.verify(location).is_whole
    # Another form of the same voxels.
    result = build_again(codec="compact", chunk=(4, 16, 16), rebuild=True)
    assert (len(result.built), result.dropped) == (3, {})
    chosen = cz.open_store(location).select(labels="prediction")
    np.testing.assert_array_equal(chosen["liver_2"].segmentation, moved())
    assert cz.verify(location).is_whole


def test_a_mask_that_has_lost_its_labels_loses_no_label_set(store: cz.Store, source: Tree) -> None:
    store.add_labels("prediction", {"liver_1": moved()})
    source.add("liver_1", mask=labels() * 0)
    cz.build_store(cz.plan_build(source.root, store.location, workers=1))
    again = opened(store)
    assert again.label_sets == {"prediction": 1}
    assert again["liver_1"].record.labels == ()
    assert cz.verify(store.location, source=source.root).is_whole


def test_the_command_that_builds_says_what_it_dropped(store: cz.Store, source: Tree) -> None:
    store.add_labels("prediction", {"liver_1": moved()})
    source.add("liver_1", voxels(7), section=None)
    done = CliRunner().invoke(cli, ["build", str(source.root), store.location, "--workers", "1"])
    assert done.exit_code == 0
    assert "dropped label sets prediction of liver_1: its image is another" in done.output


def test_a_case_with_label_sets_is_mended(store: cz.Store, source: Tree, tmp_path: Path) -> None:
    location = Path(store.location)
    store.add_labels("prediction", {"liver_1": moved(), "liver_2": moved()})
    before, group = objects(location), location / "train/MSD-T10/liver_1"
    other = copied(store, tmp_path)
    for key in ("image/c/0/0/0", "labels/zarr.json", "labels/prediction/zarr.json", "zarr.json"):
        (group / key).write_bytes(b"")
        result = cz.repair(location, source.root)
        if key == "zarr.json":
            assert "which tells of the case's label sets; legal: another store" in result.left[0].reason
            result = cz.repair(location, other=other)
        assert result.is_whole, key
        assert objects(location) == before
    shard = "labels/prediction/segmentation/c/0/0/0"
    (group / shard).write_bytes(b"")
    left = cz.repair(location, source.root).left
    assert f"{shard} is of a label set, which no source has; legal: another store" in left[0].reason
    assert cz.repair(location, other=other).is_whole
    assert objects(location) == before


def test_a_lost_root_or_catalog_is_made_again_with_label_sets(store: cz.Store, source: Tree) -> None:
    location = Path(store.location)
    store.add_labels("prediction", {"liver_1": moved(), "liver_2": moved()})
    before = objects(location)
    next(location.glob("catalog-*")).unlink()
    assert cz.repair(location, source.root).is_whole
    assert objects(location) == before


def test_a_published_copy_gets_the_label_sets_too(store: cz.Store, tmp_path: Path) -> None:
    copy = copied(store, tmp_path)
    store.add_labels("prediction", {"liver_1": moved()})
    assert sum(one.copied for one in cz.publish(store.location, copy).cases) == 1
    assert objects(copy) == objects(Path(store.location))
    store.remove_labels("prediction")
    cz.publish(store.location, copy)
    assert objects(copy) == objects(Path(store.location))


def test_a_case_that_is_removed_takes_its_label_sets_along(store: cz.Store) -> None:
    store.add_labels("prediction", {"liver_1": moved(), "liver_2": moved()})
    cz.remove(store.location, "liver_1")
    assert opened(store).label_sets == {"prediction": 1}
    assert cz.verify(store.location).is_whole


def test_a_store_in_a_bucket_has_label_sets(bucket: Bucket, source: Tree) -> None:
    location, options = bucket.new(), bucket.options
    cz.build_store(cz.plan_build(source.root, location, storage_options=options, workers=1))
    store = cz.open_store(location, storage_options=options)
    assert store.add_labels("prediction", {"liver_1": moved()}).added == ("liver_1",)
    assert cz.add_labels(location, "prediction", {"liver_1": moved()}, storage_options=options).skipped
    again = cz.open_store(location, storage_options=options)
    np.testing.assert_array_equal(again.select(labels="prediction")["liver_1"].segmentation, moved())
    assert cz.verify(location, storage_options=options).is_whole
    assert again.remove_labels("prediction") == ("liver_1",)
    assert cz.verify(location, storage_options=options).is_whole


def test_nothing_is_written_where_somebody_else_writes_or_a_first_build_goes_on(
    store: cz.Store, source: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = claimed(open_storage(store.location), Claim.own("0" * 64, "a build"))
    with other, pytest.raises(StoreInUse, match="asked for to add the label set .* seen a build"):
        store.add_labels("prediction", GIVEN)
    put = Storage.put

    def interrupted(storage: Storage, key: str, data: bytes) -> None:
        if key.startswith("catalog-"):
            raise KeyboardInterrupt
        put(storage, key, data)

    monkeypatch.setattr(Storage, "put", interrupted)
    partial = tmp_path / "partial.zarr"
    with pytest.raises(KeyboardInterrupt):
        cz.build_store(cz.plan_build(source.root, partial, workers=1))
    monkeypatch.undo()
    with pytest.raises(StoreMismatch, match="is partial: its first build has not ended"):
        cz.add_labels(partial, "prediction", GIVEN)


def test_builds_and_other_sets_wait_for_who_adds(store: cz.Store, source: Tree) -> None:
    def pairs() -> Iterator[tuple[str, Any]]:
        yield "liver_1", moved()
        with pytest.raises(StoreInUse, match="seen to add the label set 'prediction'"):
            cz.add_labels(store.location, "other", GIVEN)
        source.add("liver_4")
        with pytest.raises(StoreInUse):
            cz.build_store(cz.plan_build(source.root, store.location, workers=1))

    assert store.add_labels("prediction", pairs()).added == ("liver_1",)
    assert cz.verify(store.location).is_whole


def test_more_cases_than_come_to_hold_at_once(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add, "AT_ONCE", 1)
    taken: list[dict[str, int]] = []

    def pairs() -> Iterator[tuple[str, Any]]:
        for pair in GIVEN.items():
            taken.append(opened(store).label_sets)
            yield pair

    assert store.add_labels("prediction", pairs()).added == tuple(GIVEN)
    assert taken == [{}, {"prediction": 1}, {"prediction": 2}]
    assert cz.verify(store.location).is_whole


def test_pointers_of_nnunet_are_of_the_label_set(store: cz.Store, tmp_path: Path) -> None:
    store.add_labels("corrected", {case: moved() for case in ("liver_1", "liver_2", "liver_3")})
    chosen = opened(store).select(labels="corrected")
    case = chosen["liver_1"]
    pointer = Pointer.of(Pointer.to(chosen, case, "segmentation").document)
    np.testing.assert_array_equal(pointer.open().voxels("segmentation")[...], moved())
    assert "label_set" not in Pointer.to(opened(store), opened(store)["liver_1"], "image").document
    store.add_labels("corrected", {"liver_1": moved(2)}, replace=True)
    raw = write_raw(opened(store).select(labels="corrected"), tmp_path / "raw", id=1, nifti=True, folds=None)
    found = nibabel.load(raw / "labelsTr" / "liver_1.nii.gz")
    assert (np.asarray(found.dataobj).transpose() > 0).sum() == (moved(2) > 0).sum()  # type: ignore[attr-defined]


def test_exports_are_of_the_label_set(store: cz.Store, tmp_path: Path) -> None:
    given = turned(moved().transpose(), "LPS")
    nibabel.save(given, tmp_path / "given.nii.gz")
    store.add_labels("prediction", [("liver_1", tmp_path / "given.nii.gz"), ("liver_2", moved())])
    chosen = opened(store).select(labels="prediction")
    _, path = cz.export(chosen["liver_1"], tmp_path / "one")
    assert path.name == "liver_1_seg.nii.gz"
    assert gzip.decompress(path.read_bytes()) == gzip.decompress((tmp_path / "given.nii.gz").read_bytes())
    status, text = run("export", store.location, "--output", tmp_path / "all", "--label-set", "prediction")
    assert status == 0, text
    assert len(list((tmp_path / "all").rglob("*_seg.nii.gz"))) == 2
    found: Any = nibabel.load(next((tmp_path / "all").rglob("liver_2_seg.nii.gz")))
    np.testing.assert_array_equal(np.asarray(found.dataobj), moved().transpose())
    verse = cz.export_cases(store.location, tmp_path / "verse", layout="verse", label_set="prediction")
    assert not verse.failed


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(one) for one in arguments])
    return done.exit_code, done.output


def test_the_commands_add_score_tell_and_remove(store: cz.Store, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    nibabel.save(nibabel.Nifti1Image(moved().transpose(), AFFINE), folder / "liver_1.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels(), AFFINE), folder / "liver_3_seg.nii.gz")
    status, text = run("labels", "add", store.location, "prediction", folder)
    assert (status, text.splitlines()[-1].partition(" in ")[0]) == (0, "added prediction to 2 cases")
    status, text = run("labels", "add", store.location, "prediction", folder)
    assert (status, text.partition("; ")[2]) == (0, "2 had these labels, 0 refused\n")
    assert "label set prediction of 2 cases" in run("info", store.location)[1]
    assert "label set prediction: L4, L5" in run("info", store.location, "liver_1")[1]
    status, text = run("score", store.location, "prediction", "--csv", tmp_path / "scores.csv")
    assert status == 0
    assert text.splitlines()[-1].split() == ["total", "4", "0.8750", "1.0000", "0"]
    rows = pd.read_csv(tmp_path / "scores.csv")
    assert list(rows.case) == ["liver_1", "liver_1", "liver_3", "liver_3"]
    nibabel.save(nibabel.Nifti1Image(labels(), AFFINE), folder / "liver_1.nii.gz")
    status, text = run("labels", "add", store.location, "prediction", folder)
    assert status == 3
    assert "refused liver_1: case liver_1 has other labels in the set 'prediction'" in text
    assert run("labels", "add", store.location, "prediction", folder, "--replace")[0] == 0
    assert run("score", store.location, "prediction")[1].splitlines()[-1].split()[2] == "1.0000"
    assert run("labels", "remove", store.location, "prediction") == (0, "removed prediction of 2 cases\n")
    assert run("labels", "remove", store.location, "prediction")[0] == 2
    assert run("score", store.location, "prediction")[0] == 2
    assert cz.verify(store.location).is_whole


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "with nothing in it; legal: for each case"),
        (("liver_1.nii.gz", "liver_9.nii.gz"), "with liver_9.nii.gz in it; legal: for each case"),
        (("liver_1.nii.gz", "liver_1_seg.nii.gz"), "with liver_1_seg.nii.gz in it"),
        (("dataset.json", "plans.json"), "with nothing in it"),
    ],
)
def test_a_folder_of_other_files_is_an_error(
    store: cz.Store, tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    folder, before = tmp_path / "files", objects(Path(store.location))
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    status, text = run("labels", "add", store.location, "prediction", folder)
    assert status == 2
    assert reason in text
    assert objects(Path(store.location)) == before
    assert run("labels", "add", store.location, "prediction", tmp_path / "nowhere")[0] == 2


def test_what_is_odd_about_a_file_is_found_of_its_set_alone(store: cz.Store, tmp_path: Path) -> None:
    near = AFFINE.copy()
    near[0, 3] += 0.2
    nibabel.save(nibabel.Nifti1Image(labels() * (labels() == 24), near), tmp_path / "near.nii.gz")
    store.add_labels("prediction", [("liver_1", tmp_path / "near.nii.gz"), ("liver_2", canonical() * 0)])
    store = opened(store)
    found = store.select(labels="prediction").cases.findings
    assert set(found["liver_1"]) - set(store.cases.findings["liver_1"]) == {"mask_offset", "unit"}
    assert "no_label" in found["liver_2"]
    assert list(store.select(labels="prediction", without_finding="no_label")) == ["liver_1"]


def test_a_derived_store_has_the_masks_of_its_parent(store: cz.Store, tmp_path: Path) -> None:
    store.add_labels("prediction", GIVEN)
    cz.build_store(cz.plan_derive(store.location, tmp_path / "coarse.zarr", spacing=4, workers=1))
    derived = cz.open_store(tmp_path / "coarse.zarr")
    assert derived.label_sets == {}
    assert derived["liver_1"].labels == ("L4", "L5")
    assert cz.verify(tmp_path / "coarse.zarr").is_whole
