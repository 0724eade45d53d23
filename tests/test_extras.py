"""Without an optional library the rest works, and the message holds the pip line."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trees import Tree

import ctspine_zarr as cz
from ctspine_zarr.errors import MissingDependency

READ = """
import sys
import ctspine_zarr as cz
case = cz.open_store(sys.argv[1])["liver_1"]
print(cz.open_store(sys.argv[1]).cases.stored_bytes.sum(), case.image.compute().sum())
"""


def test_a_compact_store_needs_no_kernel(tree: Tree, tmp_path: Path) -> None:
    tree.add()
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", codec="compact"))
    seen = {
        subprocess.run(
            [sys.executable, "-c", READ, tmp_path / "s.zarr"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "CTSPINE_ZARR_NATIVE": switch},
        ).stdout
        for switch in ("0", "1")
    }
    assert len(seen) == 1


def test_plots_need_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("matplotlib.axes", "matplotlib.figure", "ctspine_zarr.look.plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingDependency, match=r"pip install 'ctspine-zarr\[plot\]'"):
        importlib.import_module("ctspine_zarr.look.plots")


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("torch", "torch", "torch"),
        ("hf", "datasets", "hf"),
        ("tf", "tensorflow", "tf"),
        ("monai", "monai", "monai"),
        ("torchio", "torchio", "torchio"),
        ("nnunet.reader", "nnunetv2", "nnunet"),
        ("nnunet.preprocess", "nnunetv2", "nnunet"),
        ("nnunet.trainer", "nnunetv2", "nnunet"),
    ],
)
def test_frameworks_are_extras(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"ctspine_zarr.{module}", raising=False)
    with pytest.raises(MissingDependency, match=rf"pip install 'ctspine-zarr\[{extra}\]'"):
        importlib.import_module(f"ctspine_zarr.{module}")
