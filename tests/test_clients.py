"""A published store, read by the programs that people have, unchanged, at the Hub's own addresses.

Each runs in a process of its own on an internet that has nothing but the Hub (`tests/internet.py`), so that
it talks as it does on the real one: its own HTTP, TLS, redirects and caches.
"""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

LIBRARIES = ("aiohttp", "datasets", "duckdb_extension_httpfs", "mlcroissant", "polars", "trustme")
for library in LIBRARIES:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}, which make test-clients installs", allow_module_level=True)

import clients  # noqa: E402 - after what it needs is known to be there
from fakehub import FakeHub  # noqa: E402
from internet import Internet, internet  # noqa: E402
from PIL import Image  # noqa: E402
from pyarrow import parquet  # noqa: E402
from servers import Watched, served  # noqa: E402

import ctspine_zarr as cz  # noqa: E402

CASE = "1.3.6.1.4.1.9328.50.4.0001"
# What `datasets` does without: a count of downloads, and what the Hub has made of a dataset by itself.
SPARED = {"s3.amazonaws.com:443", "datasets-server.huggingface.co:443"}
# The Hub's client's own, as it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@dataclass(frozen=True)
class Published:
    """A store on the Hub.

    Attributes:
        store: which it is of.
        files: path -> bytes, there.
        server: the Hub, as the programs reach it.
        net: the internet that they are on.
        home: whose programs they are.
    """

    store: cz.Store
    files: Mapping[str, bytes]
    server: Watched
    net: Internet
    home: Path

    def __call__[T](self, program: Callable[[], T]) -> T:
        """What a function of `clients.py` returns there."""
        self.server.requests.clear()
        self.net.missed.clear()
        answer = self.home / f"{program.__name__}.pickle"
        environment = self.net.environment(self.home) | {"CASE_PATH": self.store[CASE].record.path}
        command = [sys.executable, clients.__file__, program.__name__, str(answer)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        found: T = pickle.loads(answer.read_bytes())  # noqa: S301 - our own
        return found


@pytest.fixture(scope="module")
def published(phantom_store: cz.Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    hub, folder = FakeHub(), tmp_path_factory.mktemp("internet")
    server = Watched(hub.app)
    with served(hub.app) as url:
        cz.publish(phantom_store.location, clients.HF, target_options={"endpoint": url})
    with internet(server, folder) as net:
        yield Published(phantom_store, hub.repos[clients.NAME].files, server, net, folder)


def plain(value: object) -> object:
    """What all libraries agree to call a value; Croissant has texts as bytes."""
    if isinstance(value, tuple | list | np.ndarray):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if value is None or value is pd.NA or value != value else value  # noqa: PLR0124 - NaN


def rows(table: pd.DataFrame) -> clients.Rows:
    """The rows of a table of a store, each value as all libraries have it."""
    flat = table.reset_index() if table.index.name else table
    return [{key: plain(value) for key, value in row.items()} for row in flat.to_dict("records")]


def without_pictures(found: clients.Rows) -> clients.Rows:
    """The same of rows that a program has read, without the pictures, which no table in memory has."""
    kept = [{key: plain(value) for key, value in row.items() if key != "thumbnail"} for row in found]
    for row in kept:
        if isinstance(text := row.get("spreadsheet"), str):
            row["spreadsheet"] = json.loads(text)
    return kept


def thumbnails(published: Published) -> list[Any]:
    """The pictures of the table, as Arrow has them."""
    table = parquet.read_table(io.BytesIO(published.files["cases.parquet"]))
    return [np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in table["thumbnail"].to_pylist()]


# -- huggingface_hub


def test_a_snapshot_is_every_file_that_was_published(published: Published) -> None:
    found = published(clients.snapshot)
    assert found == {path: sha256(data).hexdigest() for path, data in published.files.items()}
    store = Path(published.store.location)
    for path in (path for path in store.rglob("*") if path.is_file()):
        assert found[path.relative_to(store).as_posix()] == sha256(path.read_bytes()).hexdigest()


def test_the_file_system_of_the_hub_has_its_files(published: Published) -> None:
    root = (Path(published.store.location) / "zarr.json").read_bytes()
    names, *found = published(clients.file_system)
    assert names == sorted({path.partition("/")[0] for path in published.files})
    assert found == [root, root]


# -- datasets


@pytest.mark.parametrize("program", [clients.datasets_cases, clients.datasets_stream])
def test_datasets_has_the_case_table_with_pictures(published: Published, program: Any) -> None:
    kinds, found = published(program)
    assert without_pictures(found) == rows(published.store.cases)
    assert kinds["thumbnail"] == "Image"
    assert set(published.net.missed) <= SPARED
    assert all(map(np.array_equal, [row["thumbnail"] for row in found], thumbnails(published)))


def test_datasets_has_the_table_of_labels(published: Published) -> None:
    _, found = published(clients.datasets_vertebrae)
    assert without_pictures(found) == rows(published.store.vertebrae)


def test_datasets_is_told_of_both_tables(published: Published) -> None:
    assert published(clients.datasets_names) == ["cases", "vertebrae"]


# -- DuckDB, polars and pandas


@pytest.mark.parametrize(
    "program", [clients.duckdb_https, clients.polars_hf, clients.pandas_hf], ids=lambda one: one.__name__
)
def test_the_case_table_is_that_of_the_store(published: Published, program: Any) -> None:
    assert without_pictures(published(program)) == rows(published.store.cases)
    assert published.net.missed == []


@pytest.mark.parametrize("program", [clients.duckdb_hf, clients.polars_https], ids=lambda one: one.__name__)
def test_the_table_of_labels_is_that_of_the_store(published: Published, program: Any) -> None:
    assert without_pictures(published(program)) == rows(published.store.vertebrae)
    assert published.net.missed == []


def test_duckdb_joins_both_tables_where_they_lie(published: Published) -> None:
    sources = published.store.vertebrae.groupby("source", observed=True)
    expected = sources.cm3.agg(["size", "sum"]).sort_index()
    found = published(clients.duckdb_join)
    assert [(row["source"], row["count"]) for row in found] == list(expected["size"].astype(int).items())
    assert np.allclose([row["cm3"] for row in found], expected["sum"])


def test_a_column_is_read_without_the_pictures(published: Published) -> None:
    found = published(clients.polars_columns)
    cases = published.store.cases
    assert [(row["case"], row["slices"]) for row in found] == list(cases[cases.has_mask].slices.items())
    # All that is asked for is ranges: nobody downloads the table.
    asked = [one for one in published.server.requests if one.path.startswith("/cdn/") and one.method == "GET"]
    assert asked
    assert all(one.status == 206 for one in asked)


# -- Zarr


def test_zarr_and_xarray_have_the_voxels(published: Published) -> None:
    expected = published.store[CASE].slice(12)
    assert np.array_equal(published(clients.zarr_hf), expected["image"])
    found = published(clients.xarray_https)
    assert all(np.array_equal(found[name], expected[name]) for name in ("image", "segmentation"))


def test_this_package_has_them_at_the_address_that_users_are_told(published: Published) -> None:
    found, image = published(clients.ours)
    assert without_pictures(found) == rows(published.store.cases)
    assert np.array_equal(image, published.store[CASE].slice(12)["image"])
    assert published.net.missed == []


# -- the papers


def test_croissant_is_valid_and_its_records_are_the_tables(published: Published) -> None:
    errors, warnings, found = published(clients.croissant)
    assert (errors, warnings) == ([], [])

    def told(name: str) -> clients.Rows:
        return without_pictures(
            [{key.removeprefix(f"{name}/"): row[key] for key in row} for row in found[name]]
        )

    assert told("cases") == rows(published.store.cases)
    assert told("vertebrae") == rows(published.store.vertebrae)
    assert [np.asarray(row["cases/thumbnail"]).shape for row in found["cases"]] == [
        picture.shape for picture in thumbnails(published)
    ]
    assert published.net.missed == []


def test_the_programs_of_the_card_run_as_they_stand(published: Published) -> None:
    assert published(clients.card)[:2] == ["ctspine_zarr", "zarr"]
