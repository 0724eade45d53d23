"""The command that lists the cases of a store, or their labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs
from ctspine_zarr.cli.options import (
    json_option,
    overwrite_option,
    selection_options,
    storage_options,
    store_argument,
)
from ctspine_zarr.errors import UnknownValue

if TYPE_CHECKING:
    from ctspine_zarr.read.select import Criteria


@click.command()
@store_argument
@selection_options
@click.option("--vertebrae", is_flag=True, help="A row for each label of a case, such as a vertebra.")
@click.option("--series", is_flag=True, help="A row for each series that a case may have been made from.")
@click.option("--metadata", is_flag=True, help="With the columns of metadata that was joined.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: lists are joined by spaces.")
@click.option(
    "--parquet",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a Parquet file.",
)
@overwrite_option
@json_option
@storage_options
@logs.logged
def cases(
    store: str,
    *,
    criteria: Criteria,
    vertebrae: bool,
    series: bool,
    metadata: bool,
    as_csv: bool,
    parquet: Path | None,
    overwrite: bool,
    storage_option: dict[str, Any],
) -> None:
    """List the cases of STORE that options choose, or all.

    As a table to read, or as other programs read it: with --json a list, an object a row.
    """
    from ctspine_zarr.cli import tables

    if as_csv and (logs.current().is_json or parquet is not None):
        message = "--csv and --json or --parquet at once; legal: one of them"
        raise UnknownValue(message)
    if overwrite and parquet is None:
        message = "--overwrite without a file; legal: with --parquet"
        raise UnknownValue(message)
    if vertebrae and series:
        message = "--vertebrae and --series at once; legal: one of them"
        raise UnknownValue(message)
    chosen = cz.open_store(store, storage_options=storage_option).select(**criteria)
    table = chosen.series if series else chosen.vertebrae if vertebrae else chosen.cases.reset_index()
    added = list[str]()
    if metadata:
        table, added = tables.with_metadata(table, chosen.metadata)
    if as_csv:
        logs.exact(tables.shown_csv(table))
    elif parquet is not None:
        cz.write_parquet(table, parquet, overwrite=overwrite)
        logs.answer(f"{len(table)} rows in {parquet}", {"path": str(parquet), "rows": len(table)})
    else:
        shown = tables.series_of if series else tables.labels_of if vertebrae else tables.cases_of
        logs.answer(lambda: tables.text(shown(table, added)), lambda: tables.rows_of(table))
