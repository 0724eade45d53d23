"""The command that compares two stores."""

from __future__ import annotations

import sys
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, options
from ctspine_zarr.cli.talk import DIFFERENT


@click.command()
@click.argument("store", metavar="A", shell_complete=complete.folders)
@click.argument("other", metavar="B", shell_complete=complete.folders)
@click.option(
    "--case",
    multiple=True,
    metavar="ID",
    shell_complete=complete.cases,
    help="Only this case; repeatable.",
)
@json_option
@options("--a-option", "A")
@options("--b-option", "B")
@logs.logged
def diff(
    store: str,
    other: str,
    *,
    case: tuple[str, ...],
    a_option: dict[str, Any],
    b_option: dict[str, Any],
) -> None:
    """Compare two stores, A and B, wherever they are; no voxel is read.

    Root and catalog are read of each, and the receipts of the cases that differ, which have the digests of
    their voxels. Exit status 0 where nothing differs, 4 where something does. Whether a store holds what
    its documents say, verify proves.
    """
    from ctspine_zarr.cli import documents, report

    result = cz.diff(store, other, cases=case, a_options=a_option, b_options=b_option)
    logs.answer(lambda: report.different(result), lambda: documents.different(result))
    sys.exit(0 if result.is_equal else DIFFERENT)
