"""VerSe by the names of its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Names, VerseTree, described, listed

from ctspine_zarr.datasets.verse import SPEC, TRANSITIONAL, VerSe
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.spec import UNKNOWN

FOLDERS = {
    "dataset-verse19training": "train",
    "dataset-verse20validation": "validation",
    "dataset-verse19test": "test",
    "dataset-01training": "train",
    "dataset-02validation": "validation",
    "dataset-03test": "test",
    "01_training": "train",
    "validation": "validation",
    "dataset-verse19test/dataset-verse19test": "test",
    "VerSe20/03_test": "test",
}
ENTITIES = st.sampled_from(["", "_dir-ax", "_dir-iso", "_split-verse201"])
SUBJECTS = st.from_regex(r"sub-(verse|gl)[0-9]{3}", fullmatch=True)


def paths_of(case: str, folder: str = "dataset-01training") -> tuple[str, str]:
    subject = case.partition("_")[0]
    return (
        f"{folder}/rawdata/{subject}/{case}_ct.nii.gz",
        f"{folder}/derivatives/{subject}/{case}_seg-vert_msk.nii.gz",
    )


@pytest.mark.parametrize(("folder", "split"), FOLDERS.items())
def test_a_folder_is_a_split(tmp_path: Path, folder: str, split: str) -> None:
    VerseTree(tmp_path).add("sub-verse401_split-verse201", folder=folder)
    [case] = listed(tmp_path).cases
    assert (case.id, case.patient_id) == ("sub-verse401_split-verse201", "sub-verse401")
    assert (case.split, case.source) == (split, "verse")
    assert [file.path for file in case.files] == list(paths_of(case.id, folder))


@given(
    st.dictionaries(st.tuples(SUBJECTS, ENTITIES).map("".join), st.sampled_from(list(FOLDERS)), min_size=1)
)
def test_every_scan_is_a_case_of_its_subject(scans: dict[str, str]) -> None:
    found = described(Names([path for case, folder in scans.items() for path in paths_of(case, folder)]))
    assert found.listing.refused == ()
    assert {case.id: case.split for case in found.listing.cases} == {
        case: FOLDERS[folder] for case, folder in scans.items()
    }
    for case in found.listing.cases:
        assert case.patient_id == case.id.partition("_")[0]
        assert case.source == ("gl" if case.id.startswith("sub-gl") else "verse")
    assert found.spec == SPEC


@pytest.mark.parametrize(
    "other",
    [
        "latest/rawdata/sub-verse004/sub-verse004_ct.nii.gz",
        "dataset-01training/rawdata/sub-verse004/sub-verse004_ct.json",
        "dataset-01training/rawdata/sub-verse004_ct.nii.gz",
        "dataset-01training/rawdata/sub-verse004/._sub-verse004_ct.nii.gz",
    ],
)
def test_other_files_are_left_alone(other: str) -> None:
    assert not VerSe().recognises([other])


def test_only_a_test_case_may_lack_its_mask() -> None:
    bare = [paths_of("sub-verse004", "dataset-03test")[0], paths_of("sub-verse005")[0]]
    found = listed(Names(bare))
    assert [(case.id, case.segmentation) for case in found.cases] == [("sub-verse004", None)]
    [refusal] = found.refused
    assert refusal.reason == (
        "mask missing: no *training/derivatives/sub-verse005/sub-verse005_seg-vert_msk.nii.gz"
    )
    assert (refusal.split, refusal.source) == ("train", "verse")


REFUSED = {
    "no volume": (
        [paths_of("sub-verse004")[1]],
        "volume missing: no *training/rawdata/sub-verse004/sub-verse004_ct.nii.gz",
    ),
    "in two years": (
        [*paths_of("sub-verse004", "dataset-verse19training"), *paths_of("sub-verse004", "dataset-03test")],
        "volume sub-verse004_ct.nii.gz is in dataset-03test and dataset-verse19training; legal: one folder",
    ),
    "apart": (
        [paths_of("sub-verse004")[0], paths_of("sub-verse004", "dataset-03test")[1]],
        "volume in dataset-01training, mask in dataset-03test; legal: one",
    ),
    "of another subject": (
        ["training/rawdata/sub-verse005/sub-verse004_ct.nii.gz", paths_of("sub-verse004", "training")[1]],
        (
            "training/rawdata/sub-verse005/sub-verse004_ct.nii.gz is in another subject's folder; "
            "legal: sub-verse004"
        ),
    ),
    "a mask of another ending": (
        [
            paths_of("sub-verse004", "test")[0],
            paths_of("sub-verse004", "test")[1].replace("nii.gz", "NII.GZ"),
        ],
        (
            "mask missing: no *test/derivatives/sub-verse004/sub-verse004_seg-vert_msk.nii.gz; "
            "seen: test/derivatives/sub-verse004/sub-verse004_seg-vert_msk.NII.GZ; "
            "legal: a name that ends in .nii.gz"
        ),
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_one_bad_case_is_refused_and_the_other_listed(fault: str) -> None:
    paths, reason = REFUSED[fault]
    found = listed(Names([*paths, *paths_of("sub-verse999")]))
    assert [case.id for case in found.cases] == ["sub-verse999"]
    assert [(refusal.case, refusal.reason) for refusal in found.refused] == [("sub-verse004", reason)]


def test_the_spec_is_that_of_the_authors() -> None:
    assert (SPEC.licence, SPEC.name) == ("CC-BY-SA-4.0", "VerSe")
    assert "102166" in SPEC.citation
    names = [SPEC.labels[level] for level in SPEC.levels]
    assert names[18:] == ["T12", "T13", "L1", "L2", "L3", "L4", "L5", "L6", "sacrum", "coccyx"]
    assert [SPEC.values[name] for name in ("C1", "T1", "T13", "L1", "L6", "sacrum", "coccyx")] == [
        *(1, 8, 28, 20, 25, 26, 27)
    ]
    assert sorted(value for region in SPEC.regions.values() for value in region) == sorted(SPEC.labels)
    assert SPEC.require_label("T13") in SPEC.regions["thoracic"]


def test_the_cards_transitional_cases_are_found_by_subject() -> None:
    cases = ["sub-verse506_dir-iso", "sub-verse532_dir-ax", "sub-verse100", "sub-verse101"]
    found = listed(Names([path for case in cases for path in paths_of(case)]))
    assert {case.id: case.transitional for case in found.cases} == {
        "sub-verse506_dir-iso": "lumbarization",
        "sub-verse532_dir-ax": "lumbarization",
        "sub-verse100": "sacralization",
        "sub-verse101": None,
    }
    assert len(TRANSITIONAL) == 11


def test_other_subjects_make_another_dataset() -> None:
    cases = ["sub-verse100", "sub-ours01_dir-ax"]
    found = described(Names([path for case in cases for path in paths_of(case)]))
    assert found.spec.name == "dataset in VerSe's layout"
    assert (found.spec.licence, found.spec.citation, found.spec.licence_note) == (UNKNOWN, UNKNOWN, "")
    assert {case.id: case.source for case in found.listing.cases} == {
        "sub-verse100": "verse",
        "sub-ours01_dir-ax": "other",
    }
    assert found.listing.cases[1].transitional is None
    assert "other" in found.spec.sources


def test_a_split_without_a_folder_has_no_path() -> None:
    for path in (VerSe().image_path, VerSe().mask_path):
        with pytest.raises(UnknownValue, match="unknown split 'dev'; legal: train, validation, test"):
            path("dev", "verse", "sub-verse004")
