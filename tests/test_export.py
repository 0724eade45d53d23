"""Export gives back the source, byte for byte."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hostile import OWN, Author, dumps
from stores import objects
from trees import AFFINE, Tree, labels, load, packed, scaled, voxels

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, StorageError

SOURCES = {
    "int16": voxels(),
    "int32": voxels(dtype="int32"),
    "uint16 beyond int16": np.where(voxels() > 0, 60000, 5).astype("uint16"),
    "whole floats": voxels(dtype="float32"),
    "fractions": voxels().astype("float32") + np.float32(0.1),
    "doubles": voxels().astype("float64") / 3,
    "negative zeros": np.where(voxels() > 0, -0.0, 1.0),
    "offset": scaled(voxels(), 1, -1024),
    "halves": scaled(voxels(), 0.5, 0.25),
    "thirds": scaled(voxels(), 1 / 3, -7),
    "big-endian": nibabel.Nifti1Image(
        voxels().astype(">i2"), AFFINE, nibabel.Nifti1Header(endianness=">")
    ).to_bytes(),
    "NIfTI-2": nibabel.Nifti2Image(voxels(), AFFINE).to_bytes(),
    "a trailing axis": nibabel.Nifti1Image(voxels()[..., None], AFFINE).to_bytes(),
    "a trailer": nibabel.Nifti1Image(voxels(), AFFINE).to_bytes() + b"and more",
}


def inflated(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def exported(tree: Tree, tmp_path: Path, **options: bool) -> tuple[Path, ...]:
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    return cz.export(cz.open_store(tmp_path / "s.zarr")["liver_1"], tmp_path / "out", **options)


@pytest.mark.parametrize("kind", SOURCES)
def test_any_source_comes_back(tree: Tree, tmp_path: Path, kind: str) -> None:
    content = SOURCES[kind]
    tree.add(image=packed(content), mask=packed(labels(dtype="float64")))
    paths = exported(tree, tmp_path)
    for path in paths:
        assert inflated(path) == inflated(tree.root / path.relative_to(tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_header_extensions_come_back(tree: Tree, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"scanned lying down"))
    tree.add(image=image)
    path, _ = exported(tree, tmp_path)
    assert load(path).header.extensions[0].get_content() == b"scanned lying down"
    assert inflated(path) == inflated(tree.root / "raw_data/volumes/MSD-T10/liver_1.nii.gz")


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SRA", "IAL"])
def test_any_orientation_comes_back(tree: Tree, tmp_path: Path, codes: str) -> None:
    orientation = nibabel.orientations.axcodes2ornt(codes)
    shape = (20, 70, 100)
    image, mask = (
        nibabel.Nifti1Image(array, AFFINE).as_reoriented(orientation)
        for array in (voxels(shape=shape), labels(shape))
    )
    tree.add(image=image, mask=mask)
    for path in exported(tree, tmp_path):
        assert inflated(path) == inflated(tree.root / path.relative_to(tmp_path / "out"))


def test_what_cannot_come_back_in_bytes_does_in_values(tree: Tree, tmp_path: Path) -> None:
    mask = labels(dtype="float64")
    mask[0, 0, 0] = -0.0
    tree.add(mask=mask)
    _, path = exported(tree, tmp_path)
    assert inflated(path) != inflated(tree.root / "raw_data/labels/MSD-T10/liver_1_seg.nii.gz")
    assert np.array_equal(np.asarray(load(path).dataobj), mask)
    [finding] = cz.open_store(tmp_path / "s.zarr")["liver_1"].record.findings
    assert (finding.code, finding.message) == (
        "not_restorable",
        "liver_1_seg.nii.gz: its values are kept, the bytes of its voxels are not",
    )


def test_a_file_that_is_there_is_kept(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    path, _ = exported(tree, tmp_path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="liver_1.nii.gz exists; give --overwrite to replace it"):
        exported(tree, tmp_path)
    assert path.read_bytes() == before
    assert exported(tree, tmp_path, overwrite=True)[0] == path


def test_a_damaged_case_is_not_exported(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    (tmp_path / "s.zarr" / case.record.path / "image/c/0/0/0").write_bytes(b"nothing")
    with pytest.raises(DamagedStore):
        cz.export(case, str(tmp_path / "out"))
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def test_a_folder_that_cannot_be_made_is_told(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(StorageError, match="cannot write .*: Not a directory"):
        exported(tree, tmp_path)


def test_a_name_that_no_file_can_have_is_told(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr"))
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="cannot write .*: File name too long"):
            cz.export(cz.open_store(tmp_path / "s.zarr")["liver_1"], "x" * 300, overwrite=overwrite)


def test_what_lies_at_the_name_of_a_half_written_file_is_left(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    path, mask = exported(tree, tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name(path.name + ".partial").symlink_to(victim)
    os.mkfifo(mask.with_name(mask.name + ".partial"))
    exported(tree, tmp_path, overwrite=True)
    assert victim.read_text() == "precious"
    assert [one.name for one in path.parent.iterdir() if one.is_symlink()] == [path.name + ".partial"]


def moved(prefix: bytes, **fields: Any) -> bytes:
    """A kept header with fields set after the fact."""
    header = nibabel.Nifti1Header(prefix[:348])
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + prefix[348:]


@pytest.mark.parametrize("restorable", [False, True])
@pytest.mark.parametrize(
    ("which", "fields", "told"),
    [
        ("image", {"dim": [3, 24, 20, 18, 1, 1, 1, 1]}, r"its kept header has shape \(18, 20, 24\)"),
        ("image", {"dim": [3, 20, 24, 9, 1, 1, 1, 1]}, r"its kept header has shape \(9, 24, 20\)"),
        ("image", {"srow_x": [0.8, 0, 0, 0.4]}, r"lies 0\.5 voxels from the catalog's affine"),
        ("image", {"srow_x": [-0.8, 0, 0, 0]}, r"lies 38 voxels from the catalog's affine"),
        ("image", {"srow_z": [0, 0, 2.6, 0]}, r"lies 0\.68 voxels from the catalog's affine"),
        ("segmentation", {"srow_x": [0.8, 0, 0, 0.8]}, r"lies 1 voxels from the catalog's affine"),
        ("segmentation", {"srow_y": [0, 0.8, 0, 3e38]}, r"voxels from the catalog's affine"),
    ],
)
def test_a_kept_header_of_another_grid_is_damage(
    tree: Tree, tmp_path: Path, restorable: bool, which: Any, fields: dict[str, Any], told: str
) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    author = Author(objects(tmp_path / "s.zarr"))
    key = f"{author.groups['liver_1']}/zarr.json"
    group = json.loads(author.before[key])
    kept = group["attributes"][OWN]["nifti"][which]
    prefix = moved(base64.b64decode(kept["prefix"]), **fields)
    kept |= {"restorable": restorable, "prefix": base64.b64encode(prefix).decode()}
    for at, data in author.case("liver_1", objects={key: dumps(group)}).items():
        (tmp_path / "s.zarr" / at).write_bytes(data)
    case = cz.open_store(tmp_path / "s.zarr")["liver_1"]
    with pytest.raises(DamagedStore, match=told):
        case.to_nibabel(which)
    with pytest.raises(DamagedStore, match=told):
        cz.export(case, tmp_path / "out")
    [report] = cz.verify(tmp_path / "s.zarr").cases
    assert any(re.search(told, problem) for problem in report.problems)
