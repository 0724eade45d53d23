"""The commands that add label sets to a store, take them out, and score them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, storage_options, store_argument, take_over_option
from ctspine_zarr.cli.talk import REFUSED


@click.group()
def labels() -> None:
    """Write label sets, such as predictions, beside the masks of a store."""


@labels.command()
@store_argument
@click.argument("name", shell_complete=complete.label_sets)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--labels",
    "label_map",
    metavar="MAP",
    help="What a model numbered its labels by, such as contiguous: they are taken back.",
)
@click.option("--replace", is_flag=True, help="Replace other labels that a case has in the set.")
@take_over_option
@json_option
@storage_options
@logs.logged
def add(
    store: str,
    name: str,
    folder: Path,
    *,
    label_map: str | None,
    replace: bool,
    take_over: bool,
    storage_option: dict[str, Any],
) -> None:
    """Write the NIfTI files of DIR, CASE.nii.gz or CASE_seg.nii.gz, as the label set NAME of STORE.

    A file of no case is an error before anything is written. Interrupt it at any time and run it again: what
    is there is kept.
    """
    from ctspine_zarr.cli import documents, report
    from ctspine_zarr.label_sets.files import labels_in

    cases = cz.open_store(store, storage_options=storage_option).keys()
    result = cz.add_labels(
        store,
        name,
        labels_in(folder, cases),
        label_map=label_map,
        replace=replace,
        take_over=take_over,
        storage_options=storage_option,
    )
    for refusal in result.refused:
        logs.refusal(f"refused {refusal.case}: {refusal.reason}")
    logs.answer(report.labels_added(result), documents.labels_added(store, result))
    sys.exit(REFUSED if result.refused else 0)


@labels.command()
@store_argument
@click.argument("name", shell_complete=complete.label_sets)
@take_over_option
@json_option
@storage_options
@logs.logged
def remove(store: str, name: str, *, take_over: bool, storage_option: dict[str, Any]) -> None:
    """Take the label set NAME out of STORE."""
    cases = cz.remove_labels(store, name, take_over=take_over, storage_options=storage_option)
    document = {"location": store, "name": name, "cases": list(cases)}
    logs.answer(f"removed {name} of {len(cases)} cases", document)


@click.command()
@store_argument
@click.argument("name", shell_complete=complete.label_sets)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a row for each case and label to this file.",
)
@json_option
@storage_options
@logs.logged
def score(store: str, name: str, csv_file: Path | None, *, storage_option: dict[str, Any]) -> None:
    """Score the label set NAME of STORE against its masks.

    Dice, and identification as VerSe has it.
    """
    from ctspine_zarr.cli import documents, report
    from ctspine_zarr.outputs import whole_file

    scores = cz.score_store(cz.open_store(store, storage_options=storage_option), name)
    if csv_file is not None:
        with whole_file(csv_file) as file:
            file.write(scores.to_csv(index=False).encode())
    summary = cz.score_summary(scores)
    logs.answer(report.scored(summary), documents.scored(store, name, summary))
