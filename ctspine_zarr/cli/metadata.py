"""The command that joins tables of clinical metadata to the cases of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, storage_options, store_argument, take_over_option
from ctspine_zarr.errors import UnknownValue


@click.command()
@store_argument
@click.argument("file", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--key",
    metavar="COLUMN=case|patient",
    help="The column that tells which case, or patient, a row is of. [default: case or patient_id]",
)
@click.option(
    "--remove",
    metavar="NAME",
    shell_complete=complete.metadata,
    help="Take the table of that name out instead.",
)
@take_over_option
@json_option
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
    """Join FILEs, tables of a row a case or patient, to the cases of STORE.

    A table is a .csv, .tsv or .xlsx, and replaces that of a file of the same name. No voxel is read or
    written. The Path.csv of CTSpine1K's authors is known by its form: it says which series each case was made
    from.
    """
    from ctspine_zarr.cli import documents

    if bool(file) == (remove is not None):
        message = "FILEs and --remove, or neither; legal: one of them"
        raise UnknownValue(message)
    if remove is not None:
        if key is not None:
            message = f"--key {key!r} with --remove; legal: with FILEs"
            raise UnknownValue(message)
        removed = cz.remove_metadata(store, remove, take_over=take_over, storage_options=storage_option)
        text = f"removed {remove} of {len(removed.changed)} cases"
        logs.answer(text, documents.metadata_added(store, [removed]))
        return
    found = cz.add_metadata(store, file, key=key, take_over=take_over, storage_options=storage_option)
    lines = [f"{one}; {len(one.changed)} cases changed" for one in found]
    logs.answer("\n".join(lines), documents.metadata_added(store, found))
