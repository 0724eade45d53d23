"""Receipts that a build finds: of a later version, incomplete, too large, or two of one case."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import dumps, resealed
from stores import builds, objects
from trees import Tree, nibabel_canonical, packed, voxels

import ctspine_zarr as cz
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.manifest.receipts import read_receipts
from ctspine_zarr.storage import open_storage

ROOT = "zarr.json"


def build(tree: Tree, location: Path, **options: Any) -> cz.BuildResult:
    return cz.build_store(cz.plan_build(tree.root, location, workers=1, **options))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a receipt as one who can seal it would."""
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(resealed(dumps(document)))


def make_partial(location: Path) -> None:
    """Take a store back to the time before its first build ended."""
    root = json.loads((location / ROOT).read_bytes())
    root["attributes"]["ctspine_zarr"] |= {"catalog": None, "cases": {}}
    (location / ROOT).write_bytes(resealed(dumps(root)))


@pytest.fixture
def location(tree: Tree, tmp_path: Path) -> Path:
    tree.add("liver_1")
    tree.add("liver_2", voxels(2))
    build(tree, tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def test_a_receipt_with_fields_of_a_later_version_stays_as_it_is(tree: Tree, location: Path) -> None:
    rewrite(location / "receipts/liver_1.json", lambda document: document.update(later="more"))
    (location / ROOT).unlink()
    result = build(tree, location)
    assert (len(result.built), len(result.whole)) == (0, 2)
    assert cz.verify(location).is_whole
    assert json.loads((location / "receipts/liver_1.json").read_bytes())["later"] == "more"


def test_a_receipt_that_leaves_an_object_out_does_not_hold(tree: Tree, location: Path) -> None:
    before = objects(location)

    def forget(document: dict[str, Any]) -> None:
        document["objects"] = {k: v for k, v in document["objects"].items() if not k.startswith("labels")}

    rewrite(location / "receipts/liver_1.json", forget)
    [report] = cz.verify(location, cases="liver_1").cases
    assert any("legal for this case" in problem for problem in report.problems)
    (location / "train/MSD-T10/liver_1/labels/vertebrae/segmentation/c/0/0/0").unlink()
    with pytest.raises(cz.CtspineError, match="legal for this case"):
        build(tree, location)
    (location / "receipts/liver_1.json").unlink()
    build(tree, location)
    assert builds(objects(location)) == builds(before)


def test_a_file_too_large_for_a_receipt_claims_nothing(tree: Tree, location: Path) -> None:
    with (location / "receipts/huge.json").open("wb") as file:
        file.truncate(MOST_DOCUMENT_BYTES + 1)
    assert {one.receipt.record.id for one in read_receipts(open_storage(location))} == {"liver_1", "liver_2"}
    found = cz.verify(location)
    assert [problem.partition(" ")[0] for problem in found.problems] == ["receipts/huge.json"]
    assert len(cz.open_store(location)) == 2
    build(tree, location)
    assert cz.verify(location).is_whole


def test_of_two_receipts_of_a_case_the_newer_holds(tree: Tree, location: Path) -> None:
    older = objects(location)
    path = tree.add("liver_1", voxels(5))
    build(tree, location)
    for key, data in older.items():
        if not (location / key).exists() and "liver_1" in key:
            (location / key).parent.mkdir(parents=True, exist_ok=True)
            (location / key).write_bytes(data)
    assert len(list((location / "receipts").glob("liver_1*.json"))) == 2
    make_partial(location)
    assert np.array_equal(cz.open_store(location)["liver_1"].image.compute(), nibabel_canonical(path))
    build(tree, location, selection=cz.Selection(cases=["liver_2"]))
    assert np.array_equal(cz.open_store(location)["liver_1"].image.compute(), nibabel_canonical(path))


def test_receipts_are_held_without_their_counts(location: Path) -> None:
    assert cz.open_store(location)["liver_1"].receipt.foreground
    assert not any(one.receipt.foreground for one in read_receipts(open_storage(location)))


def test_a_case_that_no_reader_would_take_is_refused(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.add("liver_1")
    tree.add("liver_2", packed(voxels(2)) + packed(b"x" * 40_000))
    monkeypatch.setattr("ctspine_zarr.manifest.commit.MOST_DOCUMENT_BYTES", 40_000)
    [refusal] = build(tree, tmp_path / "s.zarr").refused
    assert refusal.case == "liver_2"
    assert "what is kept of it and its mask takes" in refusal.reason
    assert cz.verify(tmp_path / "s.zarr").is_whole


_AT_ONCE = """
import sys, threading
from pathlib import Path
from ctspine_zarr.format.receipt import decode_receipt
sys.setswitchinterval(1e-6)
path = Path(sys.argv[1])
data, ready = path.read_bytes(), threading.Barrier(4)
def decode():
    ready.wait()
    decode_receipt(data, f"receipts/{path.name}")
threads = [threading.Thread(target=decode) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_decode_first_do_not_end_the_process(phantom_store: cz.Store) -> None:
    receipt = Path(phantom_store.location) / phantom_store["liver_0"].record.receipt_key
    command = [sys.executable, "-c", _AT_ONCE, str(receipt)]
    # Half of them died.
    with ExitStack() as runs:
        started = [runs.enter_context(subprocess.Popen(command)) for _ in range(6)]
    assert [run.returncode for run in started] == [0] * len(started)
