"""Bad input is one case refused with what was seen and what is legal; the others are built."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import AFFINE, Tree, described, in_mm, labels, listed, nibabel_canonical, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.errors import SourceError, UnknownCase, UnknownValue
from ctspine_zarr.format.catalog import Refused


def moved(mask: Any, *, by: float = 0.0, stretch: float = 1.0) -> nibabel.Nifti1Image:
    """A mask that lies `by` voxels to the right of its image, its spacing stretched."""
    affine = AFFINE.copy()
    affine[0, 3] += by * AFFINE[0, 0]
    affine[0, 0] *= stretch
    image: nibabel.Nifti1Image = in_mm(mask, affine)
    return image


def with_value(value: float, dtype: str, base: Any) -> Any:
    array = base.astype(dtype)
    array[0, 0, 0] = value
    return array


METRES_AND_MICRONS = ((voxels(), 0.001), (labels(), 1000))

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "truncated image": ({"image": packed(voxels())[:-40]}, r"liver_1.nii.gz: truncated or corrupt gzip"),
    "text": ({"image": b"text" * 99}, r"liver_1.nii.gz: not gzip: starts with bytes 7465; legal: 1f8b"),
    "more than a gzip": (
        {"image": packed(voxels()) + b"more"},
        r"liver_1.nii.gz: other bytes follow its gzip: 4",
    ),
    "LFS pointer": (
        {"mask": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"},
        r"liver_1_seg.nii.gz: not gzip: a Git LFS pointer, its file was not fetched; legal: 1f8b",
    ),
    "truncated mask": ({"mask": packed(labels())[:-9]}, r"liver_1_seg.nii.gz: truncated or corrupt gzip"),
    "not NIfTI": ({"image": packed(b"text" * 200)}, r"not NIfTI: starts with bytes 74657874"),
    "2-D": ({"image": voxels()[:, :, 0]}, r"shape \(20, 24\); legal: three axes"),
    "4-D mask": ({"mask": np.stack([labels()] * 3, -1)}, r"liver_1_seg.nii.gz: shape \(20, 24, 18, 3\)"),
    "no mask": ({"mask": False}, r"mask missing: no raw_data/labels/<source>/liver_1_seg.nii.gz"),
    "no image": ({"image": False}, r"volume missing: no raw_data/volumes/<source>/liver_1.nii.gz"),
    "other shape": (
        {"mask": labels((20, 24, 17))},
        r"mask of shape \(17, 24, 20\) for an image of shape \(18, 24, 20\) \(z, y, x\); legal: the same",
    ),
    "other place": (
        {"mask": moved(labels(), by=0.6)},
        r"mask lies 0.6 voxels from its image; legal: below 0.5",
    ),
    "other spacing": ({"mask": moved(labels(), stretch=1.1)}, r"mask lies 1.9 voxels from its image"),
    "label 26": (
        {"mask": with_value(26, "uint8", labels())},
        r"liver_1_seg.nii.gz: values from 0 to 26; legal: integers 0 to 25",
    ),
    "label -1": ({"mask": with_value(-1, "int16", labels())}, r"values from -1 to 24; legal"),
    "fraction": (
        {"mask": with_value(1.5, "float32", labels())},
        r"_seg.nii.gz: value 1.5; legal: integers",
    ),
    "NaN": (
        {"image": with_value(np.nan, "float32", voxels())},
        r"liver_1.nii.gz: 1 or more voxels are NaN",
    ),
    "infinity": (
        {"image": with_value(np.inf, "float64", voxels())},
        r"liver_1.nii.gz: 1 or more voxels are NaN",
    ),
    "in no split": ({"section": None}, r"in no split of the split list; legal: one"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_one_bad_case_is_refused_and_the_other_built(tree: Tree, tmp_path: Path, fault: str) -> None:
    arguments, message = REFUSED[fault]
    good = tree.add("liver_2")
    tree.add("liver_1", **arguments)
    result = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    [refusal] = result.refused
    assert refusal.case == "liver_1"
    assert re.search(message, refusal.reason), refusal.reason
    store = cz.open_store(tmp_path / "s.zarr")
    assert list(store) == ["liver_2"]
    assert store.root.refused == (Refused("liver_1", refusal.reason),)
    assert np.array_equal(store["liver_2"].image.compute(), nibabel_canonical(good))
    claimed = {path.name for path in (tmp_path / "s.zarr" / "receipts").iterdir()}
    assert claimed == {"liver_2.json"}
    assert not (tmp_path / "s.zarr" / "train" / "MSD-T10" / "liver_1").exists()


def test_a_name_in_two_splits_is_refused(tree: Tree) -> None:
    tree.add("liver_1")
    tree.sections["test_public"].append("liver_1")
    tree.write_splits()
    listing = listed(tree.root)
    assert listing.cases == ()
    assert listing.refused[0].reason == "named in two splits, train and validation; legal: one"


def test_a_case_in_two_sources_is_refused(tree: Tree) -> None:
    tree.add("liver_1")
    tree.add("liver_1", source="COLONOG")
    [refusal] = listed(tree.root).refused
    assert refusal.reason.startswith("volume liver_1.nii.gz is in COLONOG and MSD-T10")


def test_a_mask_in_another_source_is_refused(tree: Tree) -> None:
    tree.add("liver_1", mask=False)
    tree.add("liver_1", image=False, source="COLONOG")
    assert listed(tree.root).refused[0].reason == "volume in MSD-T10, mask in COLONOG; legal: one"


def test_a_mask_slightly_off_is_taken_and_told(tree: Tree, tmp_path: Path) -> None:
    tree.add(mask=moved(labels(), by=0.3))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    [finding] = cz.open_store(tmp_path / "s.zarr")["liver_1"].record.findings
    assert (finding.code, finding.message) == ("mask_offset", "image and mask lie 0.300 voxel apart")


def test_a_mask_stored_in_another_orientation_is_brought_to_its_image(tree: Tree, tmp_path: Path) -> None:
    flipped = in_mm(labels()).as_reoriented(nibabel.orientations.axcodes2ornt("PIR"))
    tree.add(mask=flipped)
    result = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    assert result.refused == ()
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    assert np.array_equal(case.segmentation.compute(), labels().transpose())


def test_a_dropped_axis_and_disagreeing_affines_are_told(tree: Tree, tmp_path: Path) -> None:
    image = in_mm(voxels()[..., None])
    image.set_qform(np.diag([0.8, 0.8, 3.0, 1]), code=1)
    tree.add(image=image)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    found = {f.code: f.message for f in cz.open_store(tmp_path / "s.zarr")["liver_1"].record.findings}
    assert found["trailing_axis"] == "the image has shape (20, 24, 18, 1), read as (20, 24, 18)"
    assert found["sform_qform"] == "sform and qform of the image lie 3.4 voxels apart"


def test_a_file_without_orientation_is_told(tree: Tree, tmp_path: Path) -> None:
    image = in_mm(voxels(), None)
    mask = in_mm(labels(), None)
    tree.add(image=image, mask=mask)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    codes = [f.code for f in cz.open_store(tmp_path / "s.zarr")["liver_1"].record.findings]
    assert codes == ["no_orientation", "no_orientation"]


def test_a_file_without_a_unit_is_taken_as_millimetres_and_told(tree: Tree, tmp_path: Path) -> None:
    tree.add(mask=nibabel.Nifti1Image(labels(), AFFINE))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    record = cz.open_store(tmp_path / "s.zarr")["liver_1"].record
    [finding] = record.findings
    assert (finding.code, finding.message) == (
        "unit",
        "the mask names no unit of length; taken as millimetres",
    )
    assert record.spacing == pytest.approx((2.5, 0.8, 0.8))


def test_a_case_in_metres_is_stored_in_millimetres(tree: Tree, tmp_path: Path) -> None:
    """Its mask is in microns, and lies on the same grid all the same."""
    image, mask = (in_mm(a, np.diag([*(AFFINE.diagonal()[:3] * s), 1])) for a, s in METRES_AND_MICRONS)
    image.header.set_xyzt_units("meter")
    mask.header.set_xyzt_units("micron")
    tree.add(image=image, mask=mask)
    assert cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr")).refused == ()
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    assert case.spacing == pytest.approx((2.5, 0.8, 0.8))
    assert [f.code for f in case.record.findings] == ["unit", "unit"]
    assert np.allclose(case.to_nibabel().affine, image.affine)
    paths = cz.export(case, tmp_path / "out")
    for path, written in zip(paths, (image, mask), strict=True):
        assert gzip.decompress(path.read_bytes()) == written.to_bytes()


def test_the_cards_spelling_of_the_folder_is_accepted(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "source", data="rawdata")
    tree.add()
    assert [case.id for case in listed(tree.root).cases] == ["liver_1"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: (root / "raw_data").rename(root / "data"),
            r"no CTSpine1K at .*: looked for .*raw_data/volumes or .*rawdata/volumes",
        ),
        (
            lambda root: (root / "metadata" / "data_split.txt").unlink(),
            r"no split list at .*\(not found\); give one with --split-file FILE",
        ),
        (
            lambda root: (root / "metadata" / "data_split.txt").write_bytes(b"\xff\xfe\x00"),
            r"no split list at .*'utf-8' codec",
        ),
        (
            lambda root: (root / "raw_data/volumes/MSD-T10").rename(root / "raw_data/volumes/liver"),
            r"no .nii.gz below .*; seen there: liver; legal: COLONOG",
        ),
    ],
)
def test_a_source_of_another_form_is_an_error(tree: Tree, spoil: Any, message: str) -> None:
    tree.add()
    spoil(tree.root)
    with pytest.raises(SourceError, match=message):
        listed(tree.root)


def test_a_selection_names_what_exists(tree: Tree) -> None:
    tree.add("liver_1")
    found = described(tree.root)
    with pytest.raises(UnknownCase, match="no case 'liver_3' among 1 in the source; nearest: liver_1"):
        cz.Selection(cases=["liver_3"]).of(found.spec, found.listing)
    with pytest.raises(UnknownValue, match="unknown split 'val'; legal: train, validation, test"):
        cz.Selection(splits=["val"]).of(found.spec, found.listing)
    with pytest.raises(UnknownValue, match="unknown source dataset 'liver'; legal: COLONOG"):
        cz.Selection(sources=["liver"]).of(found.spec, found.listing)


def test_a_selection_reports_only_its_own_refusals(tree: Tree) -> None:
    tree.add("liver_1")
    tree.add("liver_2", mask=False, section="test_public")
    found = described(tree.root)
    train, validation = (cz.Selection(splits=name) for name in ("train", "validation"))
    assert train.of(found.spec, found.listing).refused == ()
    assert [r.case for r in validation.of(found.spec, found.listing).refused] == ["liver_2"]


SMALL, LARGE = (20, 24, 18), (96, 96, 60)


def needed_bytes(shape: tuple[int, int, int]) -> int:
    """Of a case of int16 with a mask: the image inflated, its values, a byte a voxel of the mask, 300 MB."""
    return 5 * int(np.prod(shape)) + 300_000_000


def test_a_case_that_cannot_fit_is_refused_before_it_is_tried(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("liver_1", voxels(1, LARGE), labels(LARGE))
    tree.add("liver_2", voxels(2, SMALL), labels(SMALL))
    tree.add("liver_3", image=b"text" * 99)
    monkeypatch.setattr("ctspine_zarr.write.estimates.usable_memory", lambda: needed_bytes(LARGE) - 1)
    result = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    [refusal, torn] = result.refused
    assert torn.case == "liver_3"
    assert refusal == Refusal(
        "liver_1",
        "building it takes up to 303 MB of memory, 303 MB may be used; "
        "legal: a machine, container or job with more",
        "train",
        "MSD-T10",
    )
    assert list(cz.open_store(tmp_path / "s.zarr")) == ["liver_2"]
    # A byte more is enough.
    monkeypatch.setattr("ctspine_zarr.write.estimates.usable_memory", lambda: needed_bytes(LARGE))
    again = cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    assert [refused.case for refused in again.refused] == ["liver_3"]


def test_a_case_that_cannot_fit_any_more_stays_as_an_earlier_build_has_it(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree.add("liver_1").read_bytes()
    tree.add("liver_2")
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    tree.add("liver_1", voxels(1, LARGE), labels(LARGE))
    monkeypatch.setattr("ctspine_zarr.write.estimates.usable_memory", lambda: needed_bytes(LARGE) - 1)
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    store = cz.open_store(tmp_path / "s.zarr")
    assert list(store) == ["liver_1", "liver_2"]
    [refused] = store.root.refused
    assert refused.reason.endswith("; as an earlier build read it, it is still in the store")
    (tmp_path / "before.nii.gz").write_bytes(before)
    assert np.array_equal(store["liver_1"].image.compute(), nibabel_canonical(tmp_path / "before.nii.gz"))
