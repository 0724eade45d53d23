from __future__ import annotations

from pathlib import Path

import pytest
from trees import Tree

import ctspine_zarr as cz
from ctspine_zarr.phantom import write_phantom

SHARED = Path(__file__).parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: minutes, or gigabytes; run by CI, not by make test")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}, which is not on this machine")
    return path


@pytest.fixture(scope="session")
def mini() -> Path:
    """Real CT volumes in the dataset's layout."""
    return _shared("ctspine1k-mini")


@pytest.fixture(scope="session")
def facts() -> Path:
    """The authors' split list and series list."""
    return _shared("ctspine1k-facts")


@pytest.fixture(scope="session")
def mini_store(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    location = tmp_path_factory.mktemp("mini") / "spine.zarr"
    cz.build_store(cz.plan_build(mini, location, workers=1))
    return cz.open_store(location)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic dataset, 96 voxels wide."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), rows=96)


@pytest.fixture(scope="session")
def phantom_store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> cz.Store:
    """A store of the phantom; tests must not alter it."""
    location = tmp_path_factory.mktemp("store") / "spine.zarr"
    cz.build_store(cz.plan_build(phantom, location, workers=1))
    return cz.open_store(location)


@pytest.fixture
def case(phantom_store: cz.Store) -> cz.Case:
    """One case of the phantom's store: 45 x 96 x 96 voxels, 12 chunks."""
    return phantom_store["1.3.6.1.4.1.9328.50.4.0001"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "source")
