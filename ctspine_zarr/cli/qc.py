"""The command that tells what is odd about the cases of a store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli.options import storage_options
from ctspine_zarr.cli.talk import DAMAGED

if TYPE_CHECKING:
    from ctspine_zarr.read.select import Criteria

_SEVERITIES = ("info", "warning", "error")


@click.command()
@click.argument("store")
@click.option("--split", multiple=True, metavar="NAME", help="Only this split, such as train; repeatable.")
@click.option("--source-dataset", multiple=True, metavar="NAME", help="Only of this source; repeatable.")
@click.option("--case", multiple=True, metavar="ID", help="Only this case; repeatable.")
@click.option(
    "--severity",
    type=click.Choice(_SEVERITIES),
    default="info",
    show_default=True,
    help="The least that is told.",
)
@click.option("--labels", metavar="SET", help="Of this label set, in place of the masks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page of HTML, which needs nothing else.",
)
@click.option(
    "--fail-on",
    type=click.Choice(_SEVERITIES),
    help="End with status 4 where there is a finding that weighs as much, or more.",
)
@storage_options
def qc(
    store: str,
    split: tuple[str, ...],
    source_dataset: tuple[str, ...],
    case: tuple[str, ...],
    severity: str,
    *,
    labels: str | None,
    as_json: bool,
    html: Path | None,
    fail_on: str | None,
    storage_option: dict[str, Any],
) -> None:
    """Say what is odd about the cases of STORE: labels, grids, leaks; no voxel is read.

    Findings are no damage, and the exit status is 0 unless --fail-on is given.
    """
    opened = cz.open_store(store, storage_options=storage_option)
    criteria: Criteria = {
        "split": split or None,
        "source": source_dataset or None,
        "cases": case or None,
        "labels": labels,
    }
    report = cz.quality_report(opened, severity=severity, **criteria)
    if html is not None:
        report.save(html)
    click.echo(json.dumps(report.json(), indent=1) if as_json else report.text())
    if fail_on is not None and report.holds(fail_on):
        sys.exit(DAMAGED)
