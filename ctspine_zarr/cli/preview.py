"""The command that makes pictures of a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import (
    json_option,
    numbers,
    overwrite_option,
    selection_options,
    storage_options,
    store_argument,
)
from ctspine_zarr.cli.talk import DAMAGED, fail
from ctspine_zarr.errors import DamagedStore, StoreUpdated, UnknownValue

if TYPE_CHECKING:
    from ctspine_zarr.read.select import Criteria


@click.command()
@store_argument
@click.argument("case", shell_complete=complete.cases, required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The picture, FILE.png; of several contact sheets each has its number, as in all-1.png.",
)
@click.option("--all", "is_all", is_flag=True, help="Contact sheets of all cases, 200 on each.")
@selection_options
@click.option(
    "--window",
    metavar="LO,HI",
    callback=numbers(float, 2),
    help="HU that become black and white; by default those for bone.",
)
@click.option(
    "--height",
    type=click.IntRange(160, 8192),
    help="Of a case's picture, in pixels. [default: 720]",
)
@click.option("--columns", type=click.IntRange(1, 50), help="Cases beside each other on a contact sheet.")
@overwrite_option
@json_option
@storage_options
@logs.logged
def preview(  # noqa: PLR0917 - the options of one command
    store: str,
    case: str | None,
    output: Path,
    window: tuple[float, float] | None,
    height: int | None,
    columns: int | None,
    *,
    is_all: bool,
    criteria: Criteria,
    overwrite: bool,
    storage_option: dict[str, Any],
) -> None:
    """Make a picture of a CASE of STORE, or contact sheets of many.

    A picture has three planes along the spine, labels outlined and named; a contact sheet each case from the
    side, its labels in colour, and a mark where it has warnings; options choose which cases are on it.
    """
    from ctspine_zarr.cli import documents

    is_sheet = is_all or (case is None and bool(criteria))
    if is_sheet == (case is not None):
        message = (
            "a CASE and contact sheets of many, or neither; legal: a CASE, --all, or options that choose"
        )
        raise UnknownValue(message)
    if (height if is_sheet else columns) is not None:
        message = "--height is of a CASE's picture, --columns of contact sheets; legal: each with its own"
        raise UnknownValue(message)
    given = {"height": height, "window": window}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    damaged: dict[str, str] = {}

    def note(found: str, error: DamagedStore) -> None:
        damaged[found] = str(error)
        logs.fault(f"damaged {found}: {error}")

    try:
        paths = cz.preview(
            store,
            output,
            case,
            columns=columns,
            overwrite=overwrite,
            on_damaged=note,
            storage_options=storage_option,
            **asked,
            **criteria,
        )
    except StoreUpdated:
        raise
    except DamagedStore as error:
        fail(str(error), DAMAGED)
    logs.answer("\n".join(map(str, paths)), documents.previewed(store, paths, damaged))
    sys.exit(DAMAGED if damaged else 0)
