"""The command that tells what is odd about the cases of a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

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
from ctspine_zarr.cli.talk import DAMAGED
from ctspine_zarr.errors import UnknownValue

_SEVERITIES: Final = ("info", "warning", "error")


@click.command()
@store_argument
@click.option(
    "--severity",
    type=click.Choice(_SEVERITIES),
    default="info",
    show_default=True,
    help="The least that is told.",
)
@json_option
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page of HTML too, which needs nothing else.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    help="End with status 4 where there is a finding that weighs as much, or more.",
)
@overwrite_option
@selection_options
@storage_options
@logs.logged
def qc(
    store: str,
    *,
    severity: str,
    html: Path | None,
    fail_on: str | None,
    overwrite: bool,
    criteria: dict[str, Any],
    storage_option: dict[str, Any],
) -> None:
    """Say what is odd about the cases of STORE: labels, grids, leaks; no voxel is read.

    Findings are no damage, and the exit status is 0 unless --fail-on is given, or a receipt is damaged.
    """
    if overwrite and html is None:
        message = "--overwrite without a file; legal: with --html"
        raise UnknownValue(message)
    opened = cz.open_store(store, storage_options=storage_option)
    report = cz.quality_report(opened, severity=severity, **criteria)
    if html is not None:
        report.save(html, overwrite=overwrite)
    for case, problem in report.damaged.items():
        logs.fault(f"damaged {case}: {problem}")
    logs.answer(report.text, report.json)
    is_found = fail_on is not None and report.holds(fail_on)
    sys.exit(DAMAGED if report.damaged or is_found else 0)
