"""The command that joins tables of clinical metadata to the cases of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs
from ctspine_zarr.cli.options import storage_options, take_over_option
from ctspine_zarr.errors import UnknownValue


@click.command()
@click.argument("store")
@click.argument("file", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--key",
    metavar="COLUMN=case|patient",
    help="The column that tells which case, or patient, a row is of. [default: case or patient_id]",
)
@click.option("--remove", metavar="NAME", help="Take the table of that name out instead.")
@take_over_option
@storage_options
@logs.logged
def metadata(
    store: str,
    file: tuple[Path, ...],
    *,
    key: str | None,
    remove: str | None,
    take_over: bool,
    storage_option: dict[str, Any],
) -> None:
    """Join each FILE, a .csv, .tsv or .xlsx of one row a case or patient, to the cases of STORE.

    A table replaces that of a file of the same name. No voxel is read or written. The Path.csv of CTSpine1K's
    authors is known by its form: position, thickness and kernel of each series.
    """
    if bool(file) == (remove is not None):
        message = "FILEs and --remove, or neither; legal: one of them"
        raise UnknownValue(message)
    if remove is not None:
        cases = cz.remove_metadata(store, remove, take_over=take_over, storage_options=storage_option)
        logs.output(f"removed {remove} of {len(cases)} cases", final=True)
        return
    for found in cz.add_metadata(store, file, key=key, take_over=take_over, storage_options=storage_option):
        logs.output(f"{found}; {len(found.changed)} cases changed", final=True)
