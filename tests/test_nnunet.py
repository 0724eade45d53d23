"""Raw datasets of nnU-Net by the names of their files and what they say of themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import Names, NnunetTree, described, listed

from ctspine_zarr.datasets.nnunet import NnUNet
from ctspine_zarr.errors import SourceError, UnknownValue
from ctspine_zarr.format.spec import UNKNOWN, Spec

DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "L4": 1, "L5": 2},
    "file_ending": ".nii.gz",
}
FOLDS = [
    {"train": ["b", "c"], "val": ["a"]},
    {"train": ["a", "c"], "val": ["b"]},
    {"train": ["a"], "val": []},
]
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=8)


def files(*paths: str, folds: Any = None, name: str = "a/Dataset001_Spines", **fields: Any) -> Names:
    documents = {"dataset.json": json.dumps(DESCRIPTION | fields).encode()}
    if folds is not None:
        documents["splits_final.json"] = json.dumps(folds).encode()
    return Names(list(paths), documents, name)


def train(*cases: str) -> list[str]:
    return [path for case in cases for path in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz")]


def splits(place: Names, **wishes: Any) -> dict[str, str]:
    return {case.id: case.split for case in listed(place, **wishes).cases}


def test_a_dataset_is_what_its_description_says() -> None:
    spec = described(
        files(
            *train("a"),
            name="Spines, first",
            labels={"background": 0, "L4": 1, "L5": 2, "lumbar": [1, 2, 3], "ignore": 4},
            description="Spines\nof many.",
            licence="CC0-1.0",
            reference="Us, 2026",
        )
    ).spec
    assert (spec.title, spec.layout, spec.mask) == ("Spines of many.", "nnunet", "structures")
    assert (spec.licence, spec.citation) == ("CC0-1.0", "Us, 2026")
    assert spec.labels == {1: "L4", 2: "L5", 3: "label 3", 4: "ignore"}
    assert spec.regions == {"lumbar": (1, 2, 3)}
    assert (spec.levels, spec.splits) == ((), ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("said", "place", "name", "source"),
    [
        ({"name": "Spines, first"}, "a/b", "Spines, first", "Spines_first"),
        ({"name": "\u810a\u690e"}, "a/b", "\u810a\u690e", "dataset"),
        ({"name": "CON"}, "a/b", "CON", "dataset"),
        ({}, "a/Dataset001_Spines", "Dataset001_Spines", "Dataset001_Spines"),
        ({}, "hf://datasets/me/spines@v1", "spines", "spines"),
    ],
)
def test_its_one_source_is_named_after_it(said: dict[str, str], place: str, name: str, source: str) -> None:
    documents = {"dataset.json": json.dumps(DESCRIPTION | said).encode()}
    spec = described(Names(train("a"), documents, place)).spec
    assert (spec.name, spec.sources) == (name, (source,))
    assert (spec.licence, spec.citation) == (UNKNOWN, UNKNOWN)


def test_cases_are_for_training_or_for_testing(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path)
    tree.add("a")
    tree.add("s", folder="Ts")
    tree.add("t", mask=False, folder="Ts")
    found = listed(tmp_path)
    assert found.refused == ()
    assert [(case.id, case.split, case.source, len(case.files)) for case in found.cases] == [
        ("a", "train", "Spines", 2),
        ("s", "test", "Spines", 2),
        ("t", "test", "Spines", 1),
    ]


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (None, {"a": "train", "b": "train", "c": "train"}),
        (0, {"a": "validation", "b": "train", "c": "train"}),
        (1, {"a": "train", "b": "validation", "c": "train"}),
        (2, {"a": "train"}),
    ],
)
def test_a_fold_makes_the_splits(fold: int | None, expected: dict[str, str]) -> None:
    place = files(*train("a", "b", "c"), "imagesTs/t_0000.nii.gz", folds=FOLDS)
    assert splits(place, fold=fold) == expected | {"t": "test"}
    refused = listed(place, fold=fold).refused
    assert {refusal.case for refusal in refused} == {"a", "b", "c"} - set(expected)
    assert {refusal.reason for refusal in refused} <= {
        "not once in the fold, in train or in val; legal: once"
    }


def test_folds_may_lie_elsewhere() -> None:
    assert splits(files(*train("a", "b")), fold=0, split_list=json.dumps(FOLDS[1:]))["b"] == "validation"
    with pytest.raises(UnknownValue, match="a split list without a fold for .*; legal: --fold N beside it"):
        listed(files(*train("a")), split_list=json.dumps(FOLDS))


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_is_not_there_is_an_error(fold: int) -> None:
    with pytest.raises(UnknownValue, match=f"fold {fold} of a/Dataset001_Spines; legal: 0 to 2"):
        listed(files(*train("a"), folds=FOLDS), fold=fold)
    with pytest.raises(SourceError, match=r"no splits_final.json at a/Dataset001_Spines \(not found\)"):
        listed(files(*train("a")), fold=fold)


@pytest.mark.parametrize("folds", [{}, [1], [{"train": ["a"]}], [{"train": "a", "val": []}], "x", None])
def test_folds_of_another_form_are_an_error(folds: Any) -> None:
    documents = {
        "dataset.json": json.dumps(DESCRIPTION).encode(),
        "splits_final.json": json.dumps(folds).encode(),
    }
    with pytest.raises(SourceError, match=r"splits_final.json of a place: .*; legal: as nnU-Net 2 documents"):
        listed(Names(train("a"), documents), fold=0)


def test_a_case_that_only_the_fold_names_is_refused() -> None:
    found = listed(files(*train("a", "b"), folds=FOLDS), fold=0)
    [refusal] = found.refused
    assert (refusal.case, refusal.split) == ("c", "train")
    assert refusal.missing == ("c_0000.nii.gz", "c.nii.gz")


REFUSED = {
    "no mask": (["imagesTr/x_0000.nii.gz"], "mask missing: no labelsTr/x.nii.gz"),
    "no volume": (["labelsTr/x.nii.gz"], "volume missing: no imagesTr/x_0000.nii.gz"),
    "two channels": (
        [*train("x"), "imagesTr/x_0001.nii.gz"],
        "another channel in imagesTr/x_0001.nii.gz; legal: one, x_0000.nii.gz",
    ),
    "not compressed": (
        ["imagesTr/x_0000.nii", "labelsTr/x.nii.gz"],
        (
            "volume missing: no imagesTr/x_0000.nii.gz; seen: imagesTr/x_0000.nii; "
            "legal: a name that ends in .nii.gz"
        ),
    ),
    "twice": (
        [*train("x"), "imagesTs/x_0000.nii.gz"],
        "volume x_0000.nii.gz is in Tr and Ts; legal: one of Tr and Ts",
    ),
    "apart": (["imagesTs/x_0000.nii.gz", "labelsTr/x.nii.gz"], "volume in Ts, mask in Tr; legal: one"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_one_bad_case_is_refused_and_the_other_listed(fault: str) -> None:
    paths, reason = REFUSED[fault]
    found = listed(files(*train("a"), *paths))
    assert [case.id for case in found.cases] == ["a"]
    assert [(refusal.case, refusal.reason) for refusal in found.refused] == [("x", reason)]


ILLEGAL: dict[str, tuple[dict[str, Any], str]] = {
    "256": ({"labels": {"background": 0, "L4": 256}}, "label 'L4' is 256; legal: 1 to 255"),
    "-1": ({"labels": {"background": 0, "L4": -1}}, "label 'L4' is -1; legal: 1 to 255"),
    "0": ({"labels": {"background": 0, "L4": 0}}, "label 'L4' is 0; legal: 1 to 255"),
    "two names": ({"labels": {"background": 0, "L4": 1, "L5": 1}}, "label 'L5' is 1; legal: 1 to 255, each"),
    "low ignore": ({"labels": {"background": 0, "ignore": 1, "L5": 2}}, "'ignore' is 1; .*the highest for"),
    "empty region": ({"labels": {"background": 0, "lumbar": []}}, r"label 'lumbar' is \[\]; legal"),
    "no background": ({"labels": {"L4": 1}}, "label background is None; legal: 0"),
    "background 1": ({"labels": {"background": 1}}, "label background is 1; legal: 0"),
    "nnU-Net 1": ({"labels": {"0": "background", "1": "L4"}}, "got `str`"),
    "unprintable": ({"labels": {"background": 0, "a\nb": 1}}, "legal: printable text"),
    "long": ({"labels": {"background": 0, "x" * 129: 1}}, "length <= 128"),
    "ending": ({"file_ending": ".nrrd"}, "file_ending '.nrrd'; legal: .nii.gz"),
    "plain": ({"file_ending": ".nii"}, "file_ending '.nii'; legal: .nii.gz"),
    "channels": ({"channel_names": {"0": "T1", "1": "T2"}}, "2 channels, T1, T2; legal: one"),
    "no channel": ({"channel_names": {}}, "0 channels, none; legal: one"),
    "name": ({"name": "x" * 129}, "length <= 128"),
    "licence": ({"licence": 4}, "got `int`"),
}


@pytest.mark.parametrize("fault", ILLEGAL)
def test_a_description_that_is_not_legal_is_an_error(fault: str) -> None:
    fields, message = ILLEGAL[fault]
    documents = {"dataset.json": json.dumps(DESCRIPTION | fields).encode()}
    with pytest.raises(SourceError, match=f"^dataset.json of a place: .*{message}"):
        described(Names(train("a"), documents))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 100_000, b'{"labels": 1e999}'])
def test_a_description_that_is_none_is_an_error(data: bytes) -> None:
    with pytest.raises(SourceError, match="dataset.json of a place: .*; legal: as nnU-Net 2 documents it"):
        described(Names(train("a"), {"dataset.json": data}))


@given(st.dictionaries(NAMES, st.integers(-2, 300) | st.lists(st.integers(-2, 300), max_size=4), max_size=6))
def test_labels_make_a_valid_spec_or_an_error(labels: dict[str, Any]) -> None:
    try:
        spec = described(files(*train("a"), labels={"background": 0, **labels})).spec
    except SourceError:
        return
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Spec) == spec
    single = {
        name: value for name, value in labels.items() if isinstance(value, int) and name != "background"
    }
    assert single.items() <= spec.values.items()
    assert spec.regions == {n: tuple(v) for n, v in labels.items() if isinstance(v, list)}


def test_a_description_may_say_where_the_files_are() -> None:
    dataset = {
        "x": {"images": ["./data/ct.nii.gz"], "label": "data/../masks/m.nii.gz"},
        "y": {"images": ["a.nii.gz", "b.nii.gz"], "label": "l.nii.gz"},
        "z": {"images": ["a.nrrd"], "label": "l.nii.gz"},
        "n": {"images": [], "label": "l.nii.gz"},
    }
    found = listed(files(*train("a"), "imagesTs/t_0000.nii.gz", dataset=dataset))
    assert {case.id: [file.path for file in case.files] for case in found.cases} == {
        "t": ["imagesTs/t_0000.nii.gz"],
        "x": ["data/ct.nii.gz", "masks/m.nii.gz"],
    }
    assert [(refusal.case, refusal.reason.partition(";")[0]) for refusal in found.refused] == [
        ("n", "volume missing: no imagesTr/n_0000.nii.gz"),
        ("y", "another channel in b.nii.gz"),
        ("z", "volume missing: no imagesTr/z_0000.nii.gz"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/x.nii.gz",
        "../x.nii.gz",
        "a/../../x.nii.gz",
        "a\0.nii.gz",
        "a\n.nii.gz",
        "a\\b.nii.gz",
        "//x.nii.gz",
    ],
    ids=ascii,
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    for pair in ((path, "l.nii.gz"), ("i.nii.gz", path)):
        dataset = {"x": {"images": [pair[0]], "label": pair[1]}}
        [refusal] = listed(files(dataset=dataset)).refused
        assert "in dataset.json; legal: one below the dataset's own folder" in refusal.reason
        assert refusal.reason.isprintable()


def test_a_path_of_any_length_or_to_nothing_is_refused(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path)
    tree.add("a")
    long = {"images": ["x/" * 5000 + "x.nii.gz"], "label": "labelsTr/a.nii.gz"}
    gone = {"images": ["gone.nii.gz"], "label": "labelsTr/a.nii.gz"}
    tree.describe(dataset={"x": long, "y": gone})
    found = listed(tmp_path)
    assert found.cases == ()
    assert [refusal.reason for refusal in found.refused] == [
        "x.nii.gz: cannot be read (File name too long)",
        "gone.nii.gz: cannot be read (No such file or directory)",
    ]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("document", ["dataset.json", "splits_final.json"])
def test_a_fifo_in_place_of_a_document_is_an_error_at_once(tmp_path: Path, document: str) -> None:
    tree = NnunetTree(tmp_path)
    tree.add("a")
    (tmp_path / document).unlink(missing_ok=True)
    os.mkfifo(tmp_path / document)
    with pytest.raises(SourceError, match=f"{document}: cannot be read: a FIFO; legal: a regular file"):
        listed(tmp_path, fold=0)


def test_a_split_without_a_folder_has_no_path() -> None:
    for path in (NnUNet().image_path, NnUNet().mask_path):
        with pytest.raises(UnknownValue, match="unknown split 'dev'; legal: train, validation, test"):
            path("dev", "Spines", "a")
