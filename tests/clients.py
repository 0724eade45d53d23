"""What others' programs read of a store that was published as someone/spine, each in a process of its own.

`python clients.py NAME FILE` writes what the function of that name returns to a file. They have the Hub's own
addresses and no options of a test's: where those lead is the environment's to say.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

NAME: Final = "someone/spine"
HF: Final = f"hf://datasets/{NAME}"
HTTPS: Final = f"https://huggingface.co/datasets/{NAME}/resolve/main"

type Rows = list[dict[Any, Any]]


# -- huggingface_hub


def snapshot() -> dict[str, str]:
    """Path -> SHA-256 of each file."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(NAME, repo_type="dataset"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def file_system() -> tuple[list[str], bytes, bytes]:
    """The names at the root; its metadata, through the file system and as a download."""
    from huggingface_hub import HfFileSystem, hf_hub_download

    files, root = HfFileSystem(), f"datasets/{NAME}"
    names = sorted(str(path).removeprefix(f"{root}/") for path in files.ls(root, detail=False))
    downloaded = Path(hf_hub_download(NAME, "zarr.json", repo_type="dataset"))
    return names, bytes(files.cat_file(f"{root}/zarr.json")), downloaded.read_bytes()


# -- datasets


def _rows(dataset: Any) -> Rows:
    """The rows of a dataset, its pictures as arrays."""
    import numpy as np
    from PIL import Image

    def plain(value: object) -> object:
        return np.asarray(value) if isinstance(value, Image.Image) else value

    return [{key: plain(value) for key, value in row.items()} for row in dataset]


def datasets_of(name: str, *, streaming: bool) -> tuple[dict[str, str], Rows]:
    """The kind of each column of a configuration, and its rows."""
    from datasets import load_dataset

    splits = load_dataset(NAME, name, streaming=streaming)
    [found] = splits.values()
    return {column: type(kind).__name__ for column, kind in found.features.items()}, _rows(found)


def datasets_cases() -> tuple[dict[str, str], Rows]:
    return datasets_of("cases", streaming=False)


def datasets_vertebrae() -> tuple[dict[str, str], Rows]:
    return datasets_of("vertebrae", streaming=False)


def datasets_stream() -> tuple[dict[str, str], Rows]:
    return datasets_of("cases", streaming=True)


def datasets_names() -> list[str]:
    from datasets import get_dataset_config_names

    return list(get_dataset_config_names(NAME))


# -- DuckDB


def _duckdb() -> Any:
    """DuckDB with what reads the net, which its users install from there, and here a wheel has.

    Certificates it takes from the system, whatever the environment says.
    """
    import duckdb
    import duckdb_extension_httpfs as extension

    [file] = Path(extension.__file__).parent.rglob("httpfs.duckdb_extension")
    duckdb.sql(f"INSTALL '{file}'")
    duckdb.sql("LOAD httpfs")
    duckdb.sql(f"SET ca_cert_file = '{os.environ['SSL_CERT_FILE']}'")
    return duckdb


def _selected(query: str) -> Rows:
    found = _duckdb().sql(query)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def duckdb_https() -> Rows:
    return _selected(f"FROM '{HTTPS}/cases.parquet'")


def duckdb_hf() -> Rows:
    return _selected(f"FROM '{HF}/vertebrae.parquet'")


def duckdb_join() -> Rows:
    """Labels and their volume, by source, of both tables together."""
    tables = f"'{HF}/vertebrae.parquet' v JOIN '{HF}/cases.parquet' c USING (\"case\")"
    columns = "c.source, count(*) AS count, sum(v.cm3) AS cm3"
    return _selected(f"FROM {tables} SELECT {columns} GROUP BY ALL ORDER BY ALL")


# -- polars and pandas


def polars_hf() -> Rows:
    import polars as pl

    return list(pl.scan_parquet(f"{HF}/cases.parquet").collect().to_dicts())


def polars_https() -> Rows:
    import polars as pl

    return list(pl.scan_parquet(f"{HTTPS}/vertebrae.parquet").collect().to_dicts())


def polars_columns() -> Rows:
    """Two columns of the cases with a mask."""
    import polars as pl

    table = pl.scan_parquet(f"{HF}/cases.parquet").filter(pl.col("has_mask")).select("case", "slices")
    return list(table.collect().to_dicts())


def pandas_hf() -> Rows:
    import pandas as pd

    return list(pd.read_parquet(f"{HF}/cases.parquet").to_dict("records"))


# -- Zarr


def zarr_hf() -> Any:
    """An axial slice of the image of the case that the environment names."""
    import zarr

    return zarr.open_array(f"{HF}/{os.environ['CASE_PATH']}/image", mode="r")[12]


def xarray_https() -> dict[str, Any]:
    """The same and that of the mask, from the case's groups over HTTP."""
    import xarray

    options = {"client_kwargs": {"trust_env": True}}
    case = f"{HTTPS}/{os.environ['CASE_PATH']}"
    found = {}
    for name, group in (("image", case), ("segmentation", f"{case}/labels/vertebrae")):
        with xarray.open_dataset(group, engine="zarr", chunks=None, storage_options=options) as opened:
            found[name] = opened[name][12].to_numpy()
    return found


def ours() -> tuple[Rows, Any]:
    """The table of cases and a slice, by this package, from where it is told to users to be."""
    import ctspine_zarr as cz

    store = cz.open_store(HF)
    case = next(case for case in store.values() if case.record.path == os.environ["CASE_PATH"])
    return list(store.cases.reset_index().to_dict("records")), case.slice(12)["image"]


# -- Croissant


def croissant() -> tuple[list[str], list[str], dict[str, Rows]]:
    """Errors, warnings, and the rows of each record set."""
    import mlcroissant

    found = mlcroissant.Dataset(jsonld=f"{HTTPS}/croissant.json")
    issues = found.metadata.ctx.issues
    sets = [one.uuid for one in found.metadata.record_sets]
    rows = {name: [dict(row) for row in found.records(record_set=name)] for name in sets}
    return sorted(issues.errors), sorted(issues.warnings), rows


# -- the card


def card() -> list[str]:
    """The libraries that the programs of the card import first, after each of these was run."""
    from huggingface_hub import DatasetCard

    _duckdb()
    text = DatasetCard.load(NAME).text
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(compile(block, "the card", "exec"), {})  # noqa: S102 - our own
    return [block.split()[1] for block in blocks]


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(pickle.dumps(globals()[sys.argv[1]]()))
