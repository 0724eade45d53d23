"""Without an optional library the rest works, and the message holds the pip line."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from trees import Tree

import ctspine_zarr as cz
from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.format.profiles import profile

READ_WITHOUT_PCODEC = """
import sys
sys.modules["pcodec"] = None
import ctspine_zarr as cz
from ctspine_zarr.errors import MissingDependency
case = cz.open_store(sys.argv[1])["liver_1"]
case.segmentation.compute()
try:
    case.slice(0)
except MissingDependency as error:
    print(error)
"""


def test_the_compact_codec_needs_pcodec(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.add()
    monkeypatch.setitem(sys.modules, "numcodecs.pcodec", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ctspine-zarr\[compact\]'"):
        cz.plan_build(tree.root, tmp_path / "s.zarr", codec="compact")
    assert profile("portable").name == "portable"


def test_a_compact_store_is_not_called_damaged_where_pcodec_is_missing(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", codec="compact"))
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHOUT_PCODEC, tmp_path / "s.zarr"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "codec 'compact' needs pcodec: pip install 'ctspine-zarr[compact]'" in done.stdout


def test_pictures_need_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "ctspine_zarr.preview", raising=False)
    with pytest.raises(MissingDependency, match=r"pip install 'ctspine-zarr\[preview\]'"):
        importlib.import_module("ctspine_zarr.preview")


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("torch", "torch", "torch"), ("hf", "datasets", "hf"), ("tf", "tensorflow", "tf")],
)
def test_frameworks_are_extras(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"ctspine_zarr.{module}", raising=False)
    with pytest.raises(MissingDependency, match=rf"pip install 'ctspine-zarr\[{extra}\]'"):
        importlib.import_module(f"ctspine_zarr.{module}")
