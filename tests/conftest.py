from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The Hub's client reads these when it is imported. Xet has servers of its own.
_home = tempfile.TemporaryDirectory()
os.environ |= {"HF_HOME": _home.name, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import boto3  # noqa: E402
import pytest  # noqa: E402
from fakehub import FakeHub  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402
from servers import Watched, s3, served  # noqa: E402
from trees import Tree  # noqa: E402

import ctspine_zarr as cz  # noqa: E402
from ctspine_zarr import kernel as native  # noqa: E402
from ctspine_zarr.datasets.phantom import write_phantom  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"
BUCKET = "bucket"

# How long a machine takes is no property of the code: one that pauses fails no test.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", PATIENT)
settings.load_profile("patient")
# For what was shown at length already, as with other versions of libraries.
settings.register_profile("brief", PATIENT, max_examples=20)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: minutes, or gigabytes; run by CI, not by make test")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}, which is not on this machine")
    return path


@pytest.fixture(scope="module", params=["kernel", "python"] if native.kernel else ["python"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of the engines that there are: with the native kernel, and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(native, "kernel", None)
        yield request.param


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


@pytest.fixture(scope="session")
def published(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's store published to a folder; tests must not alter it."""
    target = tmp_path_factory.mktemp("published") / "spine.zarr"
    cz.publish(phantom_store.location, target)
    return target


@pytest.fixture
def case(phantom_store: cz.Store) -> cz.Case:
    """One case of the phantom's store: 45 x 96 x 96 voxels, 12 chunks."""
    return phantom_store["1.3.6.1.4.1.9328.50.4.0001"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "source")


@dataclass(frozen=True)
class Bucket:
    """A bucket on loopback.

    Attributes:
        server: what it was asked.
        options: to reach it.
        environment: the same for a process.
    """

    server: Watched
    options: dict[str, Any]
    environment: dict[str, str]

    def new(self) -> str:
        """The location of a folder that nobody has used."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex}/spine.zarr"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Bucket]:
    server = Watched(s3())
    with served(server) as url:
        keys = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
        session = boto3.Session("key", "secret", region_name="us-east-1")
        session.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        environment = {f"AWS_{name.upper()}": value for name, value in keys.items()}
        yield Bucket(server, keys | {"endpoint": url}, environment | {"AWS_ENDPOINT_URL": url})


@pytest.fixture
def bucket(s3_server: Bucket) -> Iterator[Bucket]:
    """Asked nothing yet, and without faults."""
    s3_server.server.requests.clear()
    yield s3_server
    s3_server.server.heal()


@dataclass(frozen=True)
class Hub:
    """A Hub on loopback.

    Attributes:
        hub: its repositories.
        server: what it was asked.
        options: to reach it.
        waits: seconds that its client would have waited.
    """

    hub: FakeHub
    server: Watched
    options: dict[str, Any]
    waits: list[float]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    fake = FakeHub()
    server = Watched(fake.app)
    with served(server) as url:
        yield Hub(fake, server, {"endpoint": url}, waits)
