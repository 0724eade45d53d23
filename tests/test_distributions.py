"""Whether what is to be published is whole: `scripts/check_distributions.py` tells what is not."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from documents import REPOSITORY

NAME = "ctspine_zarr-1.0"


def _script() -> Any:
    spec = importlib.util.spec_from_file_location(
        "check_distributions", REPOSITORY / "scripts" / "check_distributions.py"
    )
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


check = _script()


def write_sources(folder: Path, names: Iterable[str]) -> None:
    with tarfile.open(folder / f"{NAME}.tar.gz", "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"{NAME}/{name}"), io.BytesIO())


def write_wheel(folder: Path, names: Iterable[str], description: str = "# x\n") -> None:
    with zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl", "w") as archive:
        for name in sorted(names):
            archive.writestr(zipfile.ZipInfo(name), b"")
        metadata = zipfile.ZipInfo(f"{NAME}.dist-info/METADATA")
        archive.writestr(metadata, f"Metadata-Version: 2.4\nName: x\n\n{description}")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of whole distributions, and one with the same wheel."""
    dist, direct = tmp_path / "dist", tmp_path / "direct"
    for folder in (dist, direct):
        folder.mkdir()
        write_wheel(folder, package())
    write_sources(dist, check.known_files())
    return dist, direct


def package() -> set[str]:
    return {name for name in check.known_files() if name.startswith("ctspine_zarr/")}


def test_whole_distributions_have_no_faults(places: tuple[Path, Path]) -> None:
    assert check.faults(*places) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda dist: write_sources(dist, check.known_files() - {"ctspine_zarr/py.typed"}),
            "tar.gz lacks ctspine_zarr/py.typed",
        ),
        (
            lambda dist: write_wheel(dist, package() - {"ctspine_zarr/py.typed"}),
            "lacks ctspine_zarr/py.typed",
        ),
        (
            lambda dist: write_wheel(dist, package() | {"tests/x.py"}),
            "has tests/x.py, which is not of the package",
        ),
        (
            lambda dist: write_wheel(dist, package(), "[a](docs/a.md)"),
            "links to docs/a.md, which is not there",
        ),
        (lambda dist: write_wheel(dist, package(), "other"), "differs from that of the repository"),
    ],
)
def test_what_is_not_whole_is_told(
    places: tuple[Path, Path], spoil: Callable[[Path], None], told: str
) -> None:
    spoil(places[0])
    assert any(told in line for line in check.faults(*places))


def test_the_description_of_an_index_has_no_link_that_leads_nowhere() -> None:
    text = "[a](https://example.org) [b](#below) [c](docs/c.md) ![d](d.png)"
    assert check.LINK.findall(text) == ["docs/c.md", "d.png"]
