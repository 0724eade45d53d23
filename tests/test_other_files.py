"""Files that are of no store, and stores of other datasets: never removed, replaced or taken in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Bucket, Hub
from stores import objects
from trees import NnunetTree, Tree, VerseTree, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import NotAStore, SourceError, StoreMismatch
from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import encode_root
from ctspine_zarr.storage import open_storage

REFUSED = r"objects that are of no store where its cases would be, such as .*; legal: a place of its own"
# The client's own upload without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


def build(source: Path, location: Path) -> cz.BuildResult:
    return cz.build_store(cz.plan_build(source, location, workers=1))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def livers(tmp_path: Path) -> NnunetTree:
    tree = NnunetTree(tmp_path / "livers")
    tree.add("case_001", voxels(1))
    tree.describe(name="Livers")
    return tree


@pytest.fixture
def spines(tmp_path: Path) -> NnunetTree:
    tree = NnunetTree(tmp_path / "spines")
    tree.add("case_001", voxels(2))
    tree.add("case_002", voxels(3))
    return tree


# -- a build


@pytest.mark.parametrize("where", [".", "..", "link"])
def test_a_store_is_not_built_where_its_source_lies(tmp_path: Path, where: str) -> None:
    tree = VerseTree(tmp_path / "data" / "verse")
    for number, folder in enumerate(("training", "validation", "test")):
        tree.add(f"sub-verse00{number}", folder=folder)
    before = files(tmp_path)
    (tmp_path / "link").symlink_to(tree.root)
    location = tmp_path / "link" if where == "link" else Path(os.path.normpath(tree.root / where))
    with pytest.raises(StoreMismatch, match="where its files are; legal: a place apart"):
        cz.plan_build(tree.root, location)
    assert files(tmp_path) == before


def test_a_store_within_its_source_harms_neither(tmp_path: Path) -> None:
    tree = VerseTree(tmp_path / "verse")
    tree.add(folder="training")
    before = files(tree.root)
    for _ in range(2):
        build(tree.root, tree.root / "s.zarr")
    assert {key: data for key, data in files(tree.root).items() if "s.zarr" not in key} == before
    assert cz.verify(tree.root / "s.zarr").is_whole


@pytest.mark.parametrize(
    "key",
    [
        *(
            "train/precious.txt",
            "receipts/invoice.pdf",
            "test/MSD-T10/scan/rawdata/x.nii.gz",
            "train/a/b.c/d",
        ),
        # Of the form that a store writes.
        *("receipts/2024-01.json", "train/site/zarr.json", "train/zarr.json", "test/a/b/image/c/0/0/0"),
    ],
)
def test_a_first_build_among_files_of_a_users_own_is_refused(tree: Tree, tmp_path: Path, key: str) -> None:
    tree.add()
    path = tmp_path / "mine" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    with pytest.raises(StoreMismatch, match=REFUSED):
        cz.plan_build(tree.root, tmp_path / "mine")
    assert files(tmp_path / "mine") == {key: b"precious"}


def test_an_update_leaves_what_no_store_writes_and_verify_names_it(tree: Tree, tmp_path: Path) -> None:
    tree.add("liver_1")
    location = tmp_path / "s.zarr"
    build(tree.root, location)
    precious = [
        "train/precious.txt",
        "receipts/invoice.pdf",
        "train/MSD-T10/liver_1/image/notes",
        "download.partial",
        "train/x.partial",
        "other/0123.0123456789abcdef.partial",
    ]
    for key in precious:
        (location / key).parent.mkdir(parents=True, exist_ok=True)
        (location / key).write_bytes(b"precious")
    (location / "plans").mkdir()
    tree.add("liver_2", voxels(2))
    build(tree.root, location)
    assert {key for key in precious if (location / key).exists()} == set(precious)
    assert (location / "plans").is_dir()
    assert set(cz.open_store(location)) == {"liver_1", "liver_2"}
    told = "\n".join(cz.verify(location).problems)
    assert all(key in told for key in precious)


def test_every_key_of_a_store_is_of_the_form_that_a_store_writes(phantom_store: cz.Store) -> None:
    # By the name alone a table is not told from a file of a user's.
    keys = set(objects(Path(phantom_store.location))) - {layout.ROOT, *layout.TABLES}
    assert all(layout.is_written(key, phantom_store.spec.splits) for key in keys)
    assert not any(layout.is_written(f"{key}x", phantom_store.spec.splits) for key in keys)
    assert not any(layout.is_written(key, ()) for key in keys if key.startswith("train/"))


# -- a publication


@pytest.mark.parametrize("key", ["receipts/2024-01.json", "train/site/zarr.json", "train/a/b/image/c/0/0/0"])
@pytest.mark.parametrize("kind", ["folder", "bucket", "hub"])
def test_a_first_publication_among_files_of_a_users_own_is_refused(
    phantom_store: cz.Store, tmp_path: Path, bucket: Bucket, hub: Hub, kind: str, key: str
) -> None:
    place: dict[str, tuple[str, Any]] = {
        "folder": (str(tmp_path / "mine"), {}),
        "bucket": (bucket.new(), bucket.options),
        "hub": ("hf://datasets/someone/mine", hub.options),
    }
    target, options = place[kind]
    if kind == "hub":
        hub.hub.add("someone/mine", {key: b"precious"})
    else:
        open_storage(target, options=options).put(key, b"precious")
    with pytest.raises(StoreMismatch, match=REFUSED):
        cz.publish(phantom_store.location, target, target_options=options)
    if kind == "hub":
        assert hub.hub.repos["someone/mine"].files[key] == b"precious"
    else:
        assert dict(open_storage(target, options=options).sizes()) == {key: 8}


def test_a_store_of_another_dataset_is_not_replaced(
    livers: NnunetTree, spines: NnunetTree, tmp_path: Path, bucket: Bucket, hub: Hub
) -> None:
    build(livers.root, tmp_path / "livers.zarr")
    build(spines.root, tmp_path / "spines.zarr")
    for target, options in (
        (str(tmp_path / "target.zarr"), {}),
        (bucket.new(), bucket.options),
        ("hf://datasets/someone/livers", hub.options),
    ):
        cz.publish(tmp_path / "livers.zarr", target, target_options=options)
        for _ in range(2):
            with pytest.raises(StoreMismatch, match="holds Livers, asked for Spines"):
                cz.publish(tmp_path / "spines.zarr", target, target_options=options)
            assert cz.open_store(target, storage_options=options).spec.name == "Livers"
            if not target.startswith("hf:"):
                # An interrupted publication of it has no root.
                open_storage(target, options=options).remove(layout.ROOT)
                with pytest.raises(StoreMismatch, match="holds Livers, asked for Spines"):
                    cz.publish(tmp_path / "spines.zarr", target, target_options=options)
                cz.publish(tmp_path / "livers.zarr", target, target_options=options)


def test_files_of_somebody_elses_are_left_where_they_are(
    livers: NnunetTree, tmp_path: Path, bucket: Bucket, hub: Hub
) -> None:
    build(livers.root, tmp_path / "livers.zarr")
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "0000.parquet").write_bytes(b"precious")
    with pytest.raises(StoreMismatch, match=REFUSED):
        cz.publish(tmp_path / "livers.zarr", tmp_path / "mine")
    assert files(tmp_path / "mine") == {"train/0000.parquet": b"precious"}
    target = bucket.new()
    open_storage(target, options=bucket.options).put("test/x.csv", b"precious")
    with pytest.raises(StoreMismatch, match=REFUSED):
        cz.publish(tmp_path / "livers.zarr", target, target_options=bucket.options)
    assert list(open_storage(target, options=bucket.options).sizes()) == ["test/x.csv"]
    hub.hub.add("someone/livers", {"train/0000.parquet": b"precious"})
    with pytest.raises(StoreMismatch, match=REFUSED):
        cz.publish(tmp_path / "livers.zarr", "hf://datasets/someone/livers", target_options=hub.options)


# -- receipts of others, where the root is lost


def test_cases_of_another_dataset_are_not_taken_in(
    livers: NnunetTree, spines: NnunetTree, tmp_path: Path
) -> None:
    location = tmp_path / "s.zarr"
    build(livers.root, location)
    for damage in (b"", b"{}", None):
        root = location / layout.ROOT
        root.unlink(missing_ok=True)
        if damage is not None:
            root.write_bytes(damage)
        with pytest.raises(StoreMismatch, match=r"it is of the dataset 'Livers'; legal: 'Spines'"):
            cz.plan_build(spines.root, location)


def test_cases_whose_labels_had_other_names_are_not_taken_in(spines: NnunetTree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    build(spines.root, location)
    (location / layout.ROOT).write_bytes(b"")
    spines.describe(labels={"background": 0, "lumbar 4": 23, "L5": 24})
    with pytest.raises(StoreMismatch, match=r"label 23 is 'L4'; legal, by the root: 'lumbar 4'"):
        cz.plan_build(spines.root, location)


def test_a_partial_store_does_not_show_cases_of_another_dataset(
    livers: NnunetTree, spines: NnunetTree, tmp_path: Path
) -> None:
    for tree, name in ((livers, "livers.zarr"), (spines, "spines.zarr")):
        build(tree.root, tmp_path / name)
    location = tmp_path / "spines.zarr"
    root = cz.open_store(location).root
    (location / layout.ROOT).write_bytes(
        encode_root(msgspec.structs.replace(root, catalog=None, cases={}, refused=()))
    )
    assert set(cz.open_store(location)) == {"case_001", "case_002"}
    shutil.copy(tmp_path / "livers.zarr/receipts/case_001.json", location / "receipts/case_001.json")
    with pytest.raises(cz.CtspineError, match="it is of the dataset 'Livers'"):
        cz.open_store(location)


# -- descriptions that no store can hold


def test_a_dataset_without_a_name_is_called_by_its_folder(tmp_path: Path) -> None:
    for number, folder in enumerate(("@archive", "d" * 200)):
        tree = NnunetTree(tmp_path / folder)
        del tree.description["name"]
        tree.add()
        build(tree.root, tmp_path / f"{number}.zarr")
        assert cz.open_store(tmp_path / f"{number}.zarr").spec.name == folder[:128]


def test_a_description_that_no_store_can_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    tree = NnunetTree(tmp_path / "d")
    tree.add()
    tree.describe(labels={"background": 0, "x" * 200: 1})
    with pytest.raises(SourceError):
        cz.plan_build(tree.root, tmp_path / "s.zarr")
    with pytest.raises(NotAStore):
        cz.open_store(tmp_path / "s.zarr")
