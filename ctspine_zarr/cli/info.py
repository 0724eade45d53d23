"""The command that says what a store holds."""

from __future__ import annotations

import json
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli.options import storage_options


@click.command()
@click.argument("store")
@click.argument("case", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@storage_options
def info(store: str, case: str | None, *, as_json: bool, storage_option: dict[str, Any]) -> None:
    """Say what STORE, or one CASE of it, holds."""
    from ctspine_zarr.cli import report

    opened = cz.open_store(store, storage_options=storage_option)
    document = report.store_json(opened) if case is None else report.case_json(opened[case])
    text = report.store_text if case is None else report.case_text
    click.echo(json.dumps(document, indent=1) if as_json else text(document))
