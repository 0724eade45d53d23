"""The command that says what a store holds."""

from __future__ import annotations

from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, storage_options, store_argument


@click.command()
@store_argument
@click.argument("case", shell_complete=complete.cases, nargs=-1)
@json_option
@storage_options
@logs.logged
def info(store: str, case: tuple[str, ...], *, storage_option: dict[str, Any]) -> None:
    """Say what STORE, or each CASE of it, holds."""
    from ctspine_zarr.cli import documents, report

    opened = cz.open_store(store, storage_options=storage_option)
    if not case:
        document = documents.store(opened)
        logs.answer(lambda: report.store_text(document), document)
        return
    found = [documents.case(opened[one]) for one in case]
    logs.answer(lambda: "\n\n".join(map(report.case_text, found)), found if len(found) > 1 else found[0])
