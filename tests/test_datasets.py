"""What holds for every dataset: recognised, listed case by case, hostile names refused, then built."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, override

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from trees import (
    SHAPE,
    Names,
    NnunetTree,
    Tree,
    VerseTree,
    described,
    labels,
    listed,
    nibabel_canonical,
    voxels,
)

import ctspine_zarr as cz
from ctspine_zarr import datasets
from ctspine_zarr.datasets import DATASETS, dataset_of
from ctspine_zarr.datasets.cases import SourceCase
from ctspine_zarr.datasets.ctspine1k import SOURCE_PATTERNS, SPLIT_FILE, SPREADSHEET, TRANSITIONAL
from ctspine_zarr.datasets.dataset import MAX_DOCUMENT_BYTES, Dataset, Files, Survey, Wishes
from ctspine_zarr.datasets.naming import SUFFIX
from ctspine_zarr.datasets.selection import Selection
from ctspine_zarr.errors import CaseRefused, NoMask, SourceError, UnknownCase, UnknownValue
from ctspine_zarr.format.names import LEGAL, is_legal_name
from ctspine_zarr.format.spec import UNKNOWN, Spec
from ctspine_zarr.sources.folder import FolderSource, read_split_list
from ctspine_zarr.sources.location import open_source

VOLUMES, MASKS = "raw_data/volumes/MSD-T10", "raw_data/labels/MSD-T10"


def ctspine1k(*cases: str, listed_as: Iterable[str] | None = None, sheet: bytes | None = None) -> Names:
    """Volumes and masks of MSD-T10 by name alone, all of them for training."""
    names = "\n".join(cases if listed_as is None else listed_as)
    return Names(
        [path for case in cases for path in (f"{VOLUMES}/{case}.nii.gz", f"{MASKS}/{case}_seg.nii.gz")],
        {SPLIT_FILE: f"trainset:\n{names}\n".encode()} | ({} if sheet is None else {SPREADSHEET: sheet}),
    )


# -- recognition


def test_each_dataset_is_recognised_by_its_files(tmp_path: Path) -> None:
    Tree(tmp_path / "ctspine1k").add()
    VerseTree(tmp_path / "verse").add()
    NnunetTree(tmp_path / "nnunet").add()
    for name, dataset in DATASETS.items():
        assert dataset_of(FolderSource(tmp_path / name)) is dataset
        assert dataset_of(FolderSource(tmp_path / name), name) is dataset
        assert described(tmp_path / name).spec.layout == name


def test_files_of_no_dataset_are_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "holiday.nii.gz").write_bytes(b"")
    with pytest.raises(SourceError) as told:
        dataset_of(FolderSource(tmp_path))
    for dataset in DATASETS.values():
        assert f"no {dataset.title} at {tmp_path}: looked for {dataset.looked_for}" in str(told.value)
    with pytest.raises(SourceError, match=f"^no VerSe at {tmp_path}: looked for [^;]*$"):
        dataset_of(FolderSource(tmp_path), "verse")


def test_files_of_two_datasets_are_an_error_that_asks_which(tmp_path: Path) -> None:
    Tree(tmp_path).add()
    NnunetTree(tmp_path).add()
    with pytest.raises(SourceError, match="one of them, by --dataset ctspine1k or --dataset nnunet"):
        dataset_of(FolderSource(tmp_path))
    assert [case.id for case in listed(tmp_path, "nnunet").cases] == ["a"]
    assert [case.id for case in listed(tmp_path, "ctspine1k").cases] == ["liver_1"]


def test_an_unknown_dataset_is_an_error_that_lists_the_legal_ones() -> None:
    with pytest.raises(UnknownValue, match="unknown dataset 'mnist'; legal: ctspine1k, verse, nnunet"):
        dataset_of(Names(), "mnist")


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_what_is_exported_is_recognised_and_is_the_same_case(dataset: Dataset) -> None:
    case = {"ctspine1k": "liver_1", "verse": "sub-verse004_dir-ax", "nnunet": "a"}[dataset.name]
    description = {"labels": {"background": 0}, "file_ending": SUFFIX, "channel_names": {"0": "CT"}}
    documents: dict[str, bytes] = {
        "ctspine1k": {SPLIT_FILE: f"test_private:\n{case}".encode()},
        "verse": {},
        "nnunet": {"dataset.json": json.dumps(description).encode()},
    }[dataset.name]
    source = {"ctspine1k": "MSD-T10", "verse": "verse", "nnunet": "place"}[dataset.name]
    paths = [dataset.image_path("test", source, case), dataset.mask_path("test", source, case)]
    files = Names(paths, documents, "a/place")
    assert dataset_of(files) is dataset
    [found] = listed(files).cases
    assert (found.id, found.split, found.source) == (case, "test", source)
    assert [file.path for file in found.files] == paths


class Cubes(Dataset):
    """A dataset in twenty lines, as another one would be added."""

    name = "cubes"
    title = "Cubes"
    looked_for = "cubes/<case>.nii.gz"
    globs = ("cubes/*",)

    @override
    def recognises(self, paths: Iterable[str]) -> bool:
        return any(path.startswith("cubes/") for path in paths)

    @override
    def survey(self, files: Files, wishes: Wishes) -> Survey:
        spec = Spec(
            name="Cubes",
            title="Cubes",
            layout=self.name,
            licence=UNKNOWN,
            licence_note="",
            citation=UNKNOWN,
            mask="structures",
            labels={},
            levels=(),
            optional_levels=(),
            regions={},
            splits=("train",),
            sources=("cubes",),
        )
        names = [path[len("cubes/") : -len(SUFFIX)] for path in files.paths]

        def resolve(case: str) -> SourceCase:
            image = files.describe(self.image_path("train", "cubes", case))
            return SourceCase(case, case, "train", "cubes", image, None)

        return Survey(spec, names, lambda _: ("train", "cubes"), resolve)

    @override
    def image_path(self, split: str, source: str, case: str) -> str:
        return f"cubes/{case}{SUFFIX}"

    @override
    def mask_path(self, split: str, source: str, case: str) -> str:
        raise NotImplementedError


def test_a_dataset_is_added_in_one_class_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DATASETS", {**DATASETS, "cubes": Cubes()})
    monkeypatch.setattr("ctspine_zarr.sources.folder.GLOBS", Cubes.globs)
    (tmp_path / "cubes").mkdir()
    for name in ("a", "A", "b", "CON"):
        (tmp_path / "cubes" / f"{name}{SUFFIX}").write_bytes(b"12345")
    found = described(tmp_path, licence="MIT")
    assert (found.spec.name, found.spec.licence) == ("Cubes", "MIT")
    assert [(case.id, case.bytes) for case in found.listing.cases] == [("b", 5)]
    assert [refusal.case for refusal in found.listing.refused] == ["A", "CON", "a"]


# -- names


HOSTILE = [
    "..",
    "../../victim",
    "/etc/passwd",
    "a\0b",
    "line\nbreak",
    "x" * 129,
    "x" * 5000,
    "CON",
    "nul.1",
    "dot.",
    " space",
    "back\\slash",
    "zarr.json",
    "\u202eevil",
    "caf\u00e9",
    "\udcff",
    "a:b",
    "a b",
    "receipts",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_one_refusal_on_one_line(name: str) -> None:
    files = ctspine1k("liver_1", name, listed_as=["liver_1"])
    found = listed(files)
    assert [case.id for case in found.cases] == ["liver_1"]
    for refusal in found.refused:
        assert refusal.case.isprintable()
        assert refusal.reason.isprintable()
        assert len(refusal.case) <= 1003
    # Names that begin with a dot are no cases: macOS leaves them beside each.
    if "/" not in name and not name.startswith("."):
        [refusal] = found.refused
        assert refusal.reason == f"its name is not legal; legal: {LEGAL}"
        assert refusal.source == "MSD-T10"


def test_names_in_the_split_list_are_names_only() -> None:
    found = listed(ctspine1k("liver_1", listed_as=["liver_1", "../../victim", "/etc/passwd", "a\0b"]))
    assert [case.id for case in found.cases] == ["liver_1"]
    assert [refusal.case for refusal in found.refused] == ["../../victim", "/etc/passwd", "a\\x00b"]
    assert {refusal.reason for refusal in found.refused} == {f"its name is not legal; legal: {LEGAL}"}


def test_names_that_differ_by_case_alone_are_all_refused() -> None:
    found = listed(ctspine1k("liver_1", "LIVER_1", "Liver_1", "liver_2"))
    assert [case.id for case in found.cases] == ["liver_2"]
    assert {refusal.case: refusal.reason for refusal in found.refused} == {
        "LIVER_1": "its name differs from Liver_1, liver_1 by case alone; legal: names that differ by more",
        "Liver_1": "its name differs from LIVER_1, liver_1 by case alone; legal: names that differ by more",
        "liver_1": "its name differs from LIVER_1, Liver_1 by case alone; legal: names that differ by more",
    }


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1, max_size=20), max_size=8))
def test_every_name_is_a_case_or_a_refusal(names: list[str]) -> None:
    paths = [f"raw_data/volumes/MSD-T10/{name}{SUFFIX}" for name in {*names, "liver_1"}]
    found = listed(Names(paths, {SPLIT_FILE: b"trainset:\nliver_1"}))
    visible = {name for name in names if not name.startswith(".")}
    assert found.cases == ()
    assert len(found.refused) == len({*visible, "liver_1"})
    for refusal in found.refused:
        assert refusal.case.isprintable()
        assert refusal.reason.isprintable()


@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/:"), min_size=1))
def test_a_case_that_is_listed_has_a_legal_name(name: str) -> None:
    assume(name.lower() != "liver_1")
    found = listed(ctspine1k(*{"liver_1", name}))
    assert {case.id for case in found.cases} == {case for case in ("liver_1", name) if is_legal_name(case)}


@pytest.mark.parametrize("other", ["liver_1.nii", "liver_1.NII.GZ", "liver_1.nii.GZ", "liver_1.Nii"])
def test_a_file_of_another_ending_is_named_in_the_refusal(other: str) -> None:
    paths = [f"{VOLUMES}/{other}", f"{MASKS}/liver_1_seg.nii.gz", *ctspine1k("liver_2").paths[1:]]
    [refusal] = listed(Names(paths, {SPLIT_FILE: b"trainset:\nliver_1\nliver_2"})).refused
    assert refusal.reason == (
        f"volume missing: no raw_data/volumes/<source>/liver_1.nii.gz; seen: {VOLUMES}/{other}; "
        "legal: a name that ends in .nii.gz"
    )
    assert refusal.missing == ("liver_1.nii.gz",)


def test_both_files_that_are_missing_are_told() -> None:
    [refusal] = listed(ctspine1k("liver_1", listed_as=["liver_1", "HN_P001"])).refused
    assert (refusal.case, refusal.split, refusal.source) == ("HN_P001", "train", "HNSCC-3DCT-RT")
    assert refusal.missing == ("HN_P001.nii.gz", "HN_P001_seg.nii.gz")
    assert "volume missing" in refusal.reason
    assert "mask missing" in refusal.reason


# -- licences


def test_ctspine1k_is_told_from_what_is_laid_out_as_it_is() -> None:
    ours, other = described(ctspine1k("liver_106")), described(ctspine1k("liver_106", "knee_1"))
    assert (ours.spec.name, ours.spec.licence) == ("CTSpine1K", "CC-BY-NC-SA-4.0")
    assert ours.listing.cases[0].transitional == "lumbarization"
    assert other.spec.name == "dataset in CTSpine1K's layout"
    assert (other.spec.licence, other.spec.licence_note, other.spec.citation) == (UNKNOWN, "", UNKNOWN)
    assert [case.transitional for case in other.listing.cases] == [None, None]
    assert other.spec.sources == tuple(SOURCE_PATTERNS)


def test_a_stray_file_that_no_list_names_makes_no_other_dataset() -> None:
    assert described(ctspine1k("liver_1", "notes", listed_as=["liver_1"])).spec.name == "CTSpine1K"


def test_a_licence_is_taken_where_the_dataset_states_none() -> None:
    found = described(ctspine1k("knee_1"), licence="CC0-1.0", citation="Us, 2026").spec
    assert (found.licence, found.citation) == ("CC0-1.0", "Us, 2026")


def test_a_rerun_without_licence_and_citation_keeps_those_of_the_store(tmp_path: Path) -> None:
    spines = NnunetTree(tmp_path / "spines")
    spines.add("a", voxels())

    def rerun(**terms: Any) -> tuple[str, str, bytes]:
        cz.build_store(cz.plan_build(spines.root, tmp_path / "s.zarr", workers=1, **terms))
        spec = cz.open_store(tmp_path / "s.zarr").spec
        return spec.licence, spec.citation, (tmp_path / "s.zarr/zarr.json").read_bytes()

    first = rerun(licence="CC-BY-4.0", citation="Us")
    assert first[:2] == ("CC-BY-4.0", "Us")
    assert rerun() == first
    assert rerun(licence="CC0-1.0")[:2] == ("CC0-1.0", "Us")


@pytest.mark.parametrize("name", ["zarr", "Zarr", "zarr.json", "receipts"])
def test_names_that_the_store_itself_needs_are_none_of_cases(name: str) -> None:
    assert not is_legal_name(name)


@pytest.mark.parametrize("path", ["~nobody_of_that_name/x", "a\0b"])
def test_a_source_that_is_no_path_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError, match=r"source .*; legal: a folder"):
        cz.plan_build(path, tmp_path / "s.zarr")


@pytest.mark.parametrize("what", ["licence", "citation"])
def test_a_licence_in_place_of_the_datasets_own_is_an_error(what: str) -> None:
    own = getattr(described(ctspine1k("liver_1")).spec, what)
    assert described(ctspine1k("liver_1"), **{what: own}).spec.name == "CTSpine1K"
    with pytest.raises(UnknownValue, match=f"{what} 'mine' for CTSpine1K, which states its own; legal: "):
        described(ctspine1k("liver_1"), **{what: "mine"})


@pytest.mark.parametrize("text", ["", "x" * 10_001, "not UTF-8: \udcff"], ids=ascii)
def test_a_licence_is_text_of_a_length_that_a_store_can_keep(text: str) -> None:
    with pytest.raises(UnknownValue, match="characters; legal: 1 to 10000, of Unicode text"):
        described(ctspine1k("knee_1"), licence=text)


@pytest.mark.parametrize(("dataset", "wishes"), [("ctspine1k", {"fold": 0}), ("verse", {"split_list": "x"})])
def test_a_wish_that_a_dataset_cannot_heed_is_an_error(dataset: str, wishes: dict[str, Any]) -> None:
    with pytest.raises(UnknownValue, match="which takes none; legal: leave it out"):
        DATASETS[dataset].describe(ctspine1k("liver_1"), Wishes(**wishes))


# -- CTSpine1K


def test_transitional_cases_are_those_of_the_card() -> None:
    names = [case for case in TRANSITIONAL if case.startswith("liver")]
    found = {case.id: case.transitional for case in listed(ctspine1k("liver_1", *names)).cases}
    assert found == {**{name: TRANSITIONAL[name] for name in names}, "liver_1": None}


def test_a_split_list_of_the_users_is_read_in_place_of_the_datasets() -> None:
    files = ctspine1k("liver_1", "liver_2")
    [case] = listed(files, split_list="test_public:\nliver_2").cases
    assert (case.id, case.split) == ("liver_2", "validation")


def test_a_split_list_or_spreadsheet_that_is_none_is_an_error() -> None:
    paths = ctspine1k("liver_1").paths[1:]
    with pytest.raises(SourceError, match=r"no split list at a place/metadata/data_split.txt \(not found\)"):
        listed(Names(paths))
    with pytest.raises(SourceError, match="no split list at a place/metadata/data_split.txt .'utf-8' codec"):
        listed(Names(paths, {SPLIT_FILE: b"\xff"}))
    with pytest.raises(SourceError, match="cannot read spreadsheet a place/metadata/metadata_colonog.xlsx"):
        listed(ctspine1k("liver_1", sheet=b"PK"))


def test_the_phantom_is_listed_with_its_spreadsheet(phantom: Path) -> None:
    found = listed(phantom)
    assert found.refused == ()
    assert len(found.cases) == 9
    for case in found.cases:
        rows = ({"Age": 50 + len(case.id), "Position": "supine"},) if case.source == "COLONOG" else ()
        assert case.spreadsheet == rows
        assert case.bytes == sum((phantom / file.path).stat().st_size for file in case.files)
        assert case.patient_id == case.id


# -- selection


def test_a_selection_names_what_the_dataset_has() -> None:
    found = described(ctspine1k("liver_1"))
    with pytest.raises(UnknownCase, match="no case 'liver_3' among 1 in the source; nearest: liver_1"):
        Selection(cases=["liver_3"]).of(found.spec, found.listing)
    with pytest.raises(UnknownValue, match="unknown split 'val'; legal: train, validation, test"):
        Selection(splits="val").of(found.spec, found.listing)
    with pytest.raises(UnknownValue, match="unknown source dataset 'liver'; legal: COLONOG"):
        Selection(sources=["liver"]).of(found.spec, found.listing)
    assert Selection(splits="train", sources="MSD-T10").of(found.spec, found.listing) == found.listing
    assert Selection(splits="test").of(found.spec, found.listing).ids == frozenset()


def test_what_is_unknown_of_a_refused_case_excludes_nothing() -> None:
    found = described(ctspine1k("liver_1", "liver_2", listed_as=["liver_1"]))
    assert Selection(splits="test").of(found.spec, found.listing).refused == found.listing.refused
    assert Selection(sources="COLONOG").of(found.spec, found.listing).refused == ()
    assert str(Selection(splits=("train", "test"), cases="a")) == "split train or test, case a"
    assert str(Selection()) == "all"


# -- folders


@pytest.fixture
def fifo(tree: Tree) -> Iterator[Path]:
    """A FIFO that nobody writes to."""
    tree.add("liver_1")
    tree.add("liver_2")
    path = tree.root / "fifo"
    os.mkfifo(path)
    yield path
    path.unlink()


@pytest.mark.parametrize("kind", ["FIFO", "folder", "socket", "device", "link to nothing"])
@pytest.mark.timeout(20)
def test_what_is_no_file_in_place_of_a_volume_is_refused_at_once(
    tree: Tree, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree.add("liver_1")
    tree.add("liver_2")
    path.unlink()
    monkeypatch.chdir(path.parent)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/nowhere")
    found = listed(tree.root)
    assert [case.id for case in found.cases] == ["liver_2"]
    [refusal] = found.refused
    assert refusal.reason.startswith("liver_1.nii.gz: cannot be read")
    told = "No such file or directory" if kind == "link to nothing" else f"a {kind}; legal: a regular file"
    assert told in refusal.reason


@pytest.mark.parametrize("document", [SPLIT_FILE, SPREADSHEET])
@pytest.mark.timeout(20)
def test_a_fifo_in_place_of_a_document_is_an_error_at_once(fifo: Path, document: str) -> None:
    root = fifo.parent
    (root / document).unlink(missing_ok=True)
    (root / document).symlink_to(fifo)
    with pytest.raises(SourceError, match=f"{document}: cannot be read: a FIFO; legal: a regular file"):
        listed(root)


@pytest.mark.timeout(20)
def test_a_fifo_in_place_of_a_split_list_is_an_error_at_once(fifo: Path, tmp_path: Path) -> None:
    for path, reason in ((fifo, "a FIFO"), (fifo.parent, "a folder"), (Path("/dev/zero"), "a device")):
        with pytest.raises(SourceError, match=f"no split list at {path} .*{reason}; legal: a regular file"):
            read_split_list(path)
    with pytest.raises(SourceError, match=r"no split list at /no.txt \(not found\); give one with"):
        read_split_list(Path("/no.txt"))
    (tmp_path / "list.txt").write_bytes(b"\xff")
    with pytest.raises(SourceError, match="no split list at .*'utf-8' codec"):
        read_split_list(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("trainset:\na")
    assert read_split_list(tmp_path / "list.txt") == "trainset:\na"


def test_a_document_of_any_size_is_read_no_further_than_the_limit(tree: Tree) -> None:
    tree.add()
    with (tree.root / SPLIT_FILE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match=f"more than {MAX_DOCUMENT_BYTES} bytes"):
        listed(tree.root)


def test_links_to_files_are_files_as_the_hubs_cache_has_them(tree: Tree, tmp_path: Path) -> None:
    path = tree.add()
    path.rename(tmp_path / "blob")
    path.symlink_to(tmp_path / "blob")
    [case] = listed(tree.root).cases
    assert case.image.bytes == (tmp_path / "blob").stat().st_size


def test_a_folder_is_read_no_further_than_its_datasets_go(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add()
    for path in ("private/deep/er", "raw_data/volumes/MSD-T10/private/deep", "raw_data/private/deep"):
        (tree.root / path).mkdir(parents=True)
    seen: list[str] = []
    names = Path.iterdir

    def look(folder: Path) -> Iterator[Path]:
        seen.append(folder.relative_to(tree.root).as_posix())
        return names(folder)

    monkeypatch.setattr(Path, "iterdir", look)
    paths = FolderSource(tree.root).paths
    assert not [folder for folder in seen if "private" in folder]
    assert [path for path in paths if "private" in path] == ["raw_data/volumes/MSD-T10/private"]
    assert list(paths) == sorted(paths)


def test_a_folder_that_cannot_be_listed_is_an_error(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.add()
    names = Path.iterdir

    def deny(folder: Path) -> Iterator[Path]:
        if folder.name == "volumes":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
        return names(folder)

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(SourceError, match=f"cannot list {tree.root}/raw_data/volumes: Permission denied"):
        listed(tree.root)


@pytest.mark.parametrize("location", ["x" * 300, "/dev/null", "/nowhere", "a\0b"])
def test_a_place_that_is_no_folder_is_an_error(location: str) -> None:
    with pytest.raises(SourceError):
        dataset_of(open_source(location, {}, name="s.zarr", keep=False))


def test_a_place_of_another_kind_is_an_error() -> None:
    with pytest.raises(SourceError, match="source ftp://host/a; legal: a folder, hf://datasets/"):
        open_source("ftp://host/a", {}, name="s.zarr", keep=False)


def test_a_folder_gives_the_files_where_they_are(tree: Tree) -> None:
    path = tree.add()
    source = FolderSource(tree.root)
    [case] = listed(tree.root).cases
    found = source.fetch(case)
    source.release(found)
    source.close()
    assert (found.id, found.image, found.segmentation) == (case.id, path, source.local(case.files[1]))
    assert (source.disk, source.disk_bytes([case], 1), source.missing(listed(tree.root))) == (None, 0, ())
    assert path.exists()


def test_a_file_that_is_gone_is_refused(tree: Tree) -> None:
    tree.add()
    with pytest.raises(CaseRefused, match=r"gone.nii.gz: cannot be read \(No such file or directory\)"):
        FolderSource(tree.root).describe("gone.nii.gz")


# -- built


def built(root: Path, store: Path, **options: Any) -> cz.Store:
    result = cz.build_store(cz.plan_build(root, store, workers=1, **options))
    assert result.refused == ()
    return cz.open_store(store)


def assert_is(case: cz.Case, image: Path, mask: Path | None) -> None:
    """That the stored voxels are those that nibabel reads."""
    assert np.array_equal(case.image.compute(), nibabel_canonical(image))
    if mask is None:
        assert not case.has_mask
        with pytest.raises(NoMask):
            case.voxels("segmentation")
    else:
        assert np.array_equal(case.segmentation.compute(), nibabel_canonical(mask))


def assert_gives_back(store: cz.Store, out: Path, source: Path) -> None:
    """That exports lie where the source's files do, and are equal to them once inflated."""
    paths = [path for case in store.values() for path in cz.export(case, out)]
    assert sorted(path.relative_to(out) for path in paths) == sorted(
        path.relative_to(source) for path in source.rglob("*.nii.gz")
    )
    for path in paths:
        original = source / path.relative_to(out)
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(original.read_bytes())


def test_a_store_of_ctspine1k_is_what_nibabel_reads(tree: Tree, tmp_path: Path) -> None:
    image = tree.add("liver_106", voxels(1))
    store = built(tree.root, tmp_path / "s.zarr", dataset="ctspine1k")
    case = store["liver_106"]
    assert (case.record.split, case.record.source) == ("train", "MSD-T10")
    assert case.record.transitional == "lumbarization"
    assert store.root.dataset.name == "CTSpine1K"
    assert_is(case, image, image.parents[2] / "labels/MSD-T10/liver_106_seg.nii.gz")
    assert_gives_back(store, tmp_path / "out", tree.root)


def test_a_store_of_another_dataset_has_its_own_licence(tree: Tree, tmp_path: Path) -> None:
    tree.add("knee_1")
    store = built(tree.root, tmp_path / "s.zarr", licence="CC0-1.0", citation="Us, 2026")
    spec = store.root.dataset
    assert (spec.name, spec.licence, spec.citation) == (
        "dataset in CTSpine1K's layout",
        "CC0-1.0",
        "Us, 2026",
    )


def test_a_store_of_verse_is_what_nibabel_reads(tmp_path: Path) -> None:
    tree = VerseTree(tmp_path / "verse")
    mask = labels()
    mask[mask == 24] = 28
    image = tree.add("sub-verse506_dir-iso", voxels(1), mask)
    test = tree.add("sub-gl003_dir-ax", voxels(2), False, folder="dataset-03test")
    store = built(tree.root, tmp_path / "s.zarr")
    case = store["sub-verse506_dir-iso"]
    assert (case.record.patient_id, case.record.transitional) == ("sub-verse506", "lumbarization")
    assert [label.name for label in case.record.labels] == ["L4", "T13"]
    folder = image.parents[2] / "derivatives/sub-verse506"
    assert_is(case, image, folder / "sub-verse506_dir-iso_seg-vert_msk.nii.gz")
    assert_is(store["sub-gl003_dir-ax"], test, None)
    assert_gives_back(store, tmp_path / "out", tree.root)
    assert [finding.code for finding in store["sub-gl003_dir-ax"].record.findings] == ["no_mask"]


def test_a_store_of_an_nnunet_dataset_is_what_nibabel_reads(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "Dataset042_Spines")
    paths = {case: tree.add(case, voxels(seed)) for seed, case in enumerate("abc")}
    test = tree.add("t", voxels(9), False, folder="Ts")
    tree.write_folds(("bc", "a"), ("ac", "b"), ("ab", "c"))
    store = built(tree.root, tmp_path / "s.zarr", fold=1)
    assert {case.id: case.record.split for case in store.values()} == {
        "a": "train",
        "b": "validation",
        "c": "train",
        "t": "test",
    }
    for case, path in paths.items():
        assert_is(store[case], path, tree.root / f"labelsTr/{case}.nii.gz")
    assert_is(store["t"], test, None)
    assert_gives_back(store, tmp_path / "out", tree.root)
    assert store.root.dataset.labels == {23: "L4", 24: "L5"}
    assert store["a"].slice(0)["image"].shape == SHAPE[1::-1]
