"""The command that writes cases of a store to files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import (
    executor,
    json_option,
    overwrite_option,
    scheduler_option,
    selection_options,
    storage_options,
    store_argument,
    workers_option,
)
from ctspine_zarr.cli.talk import FAILED, heeding
from ctspine_zarr.errors import UnknownValue

if TYPE_CHECKING:
    from ctspine_zarr.read.select import Criteria

# Of a case; of more, such as slices, their folder is named.
_MOST_NAMED: Final = 8


@click.command()
@store_argument
@click.argument("case", shell_complete=complete.cases, nargs=-1)
@click.option(
    "--all", "every", is_flag=True, help="Every case, which is what is meant where nothing is named."
)
@selection_options
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--layout",
    type=click.Choice(["source", "verse", "bids", "npz"]),
    default="source",
    show_default=True,
    help="Of the files: the dataset's own; rawdata and derivatives, with centroids, as in VerSe or in BIDS; "
    "or an axial slice a .npz file.",
)
@click.option(
    "--labels",
    metavar="MAP",
    help="What labels become: contiguous, regions, binary, verse, totalsegmentator, or a .json file.",
)
@click.option("--crop", type=click.Choice(["spine", "labels"]), help="Only a box around these.")
@click.option(
    "--margin", type=click.FloatRange(0), default=20.0, show_default=True, help="Around the box, in mm."
)
@overwrite_option
@workers_option
@scheduler_option
@json_option
@storage_options
@logs.logged
def export(  # noqa: PLR0917 - the options of one command
    store: str,
    case: tuple[str, ...],
    output: Path,
    layout: str,
    labels: str | None,
    crop: Any,
    margin: float,
    workers: int,
    *,
    every: bool,
    criteria: Criteria,
    overwrite: bool,
    scheduler: str | None,
    storage_option: dict[str, Any],
) -> None:
    """Write CASEs of STORE, those that options choose, or all, as files.

    They are .nii.gz equal to their source once inflated, or in the layout of other programs.
    """
    from ctspine_zarr.cli import documents

    chosen = _chosen(store, case, criteria, storage_option, every=every)
    with executor(scheduler, workers) as cluster:
        result = cz.export_cases(
            store,
            output,
            chosen,
            layout=layout,
            label_set=criteria.get("labels"),
            labels=labels,
            crop=crop,
            margin_mm=margin,
            overwrite=overwrite,
            workers=workers,
            executor=cluster,
            on_case=heeding(_show),
            storage_options=storage_option,
        )
    logs.answer(None, documents.exported(store, output, result))
    sys.exit(FAILED if result.failed else 0)


def _chosen(
    store: str, named: tuple[str, ...], criteria: Criteria, options: dict[str, Any], *, every: bool
) -> tuple[str, ...] | None:
    """Ids of the cases that are asked for in one of three ways; None for all.

    Raises:
        UnknownValue: in several of them; or no case is chosen.
    """
    # A label set says of all cases with what labels they are written.
    is_filtered = bool(criteria.keys() - {"labels"})
    if every + bool(named) + is_filtered > 1:
        message = "cases by name, by options and by --all at once; legal: one of these"
        raise UnknownValue(message)
    if not is_filtered:
        return named or None
    chosen = tuple(cz.open_store(store, storage_options=options).select(**criteria))
    if not chosen:
        message = f"no case of {store} is chosen by these options; legal: one or more"
        raise UnknownValue(message)
    return chosen


def _show(found: cz.CaseExported) -> None:
    if found.reason is not None:
        logs.fault(f"ctspine-zarr: {found.reason}")
        return
    if found.name != found.case:
        logs.progress(f"{found.case} is named {found.name}, where letters and digits alone are legal")
    paths = list(map(str, found.paths))
    if len(paths) > _MOST_NAMED:
        paths = [f"{found.paths[0].parent} ({len(paths)} files)"]
    logs.output("\n".join(paths))
