"""The commands that make a store: all of it, in parts, and to their end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs, report
from ctspine_zarr.cli.options import executor, scheduler_option, storage_options, take_over_option
from ctspine_zarr.cli.progress import follow
from ctspine_zarr.cli.talk import FAILED, INTERRUPTED, REFUSED, fail, heeding
from ctspine_zarr.errors import HubError, StorageError

DATASETS: Final = ("ctspine1k", "verse", "nnunet")
"""Names of the datasets, which would take a while to import."""

_GO_ON: Final = "whole cases are kept: run the same command again to go on"


def _parse_chunk(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, int, int] | None:
    """Three sizes with commas between them."""
    if text is None:
        return None
    try:
        z, y, x = (int(size) for size in text.split(","))
    except ValueError as error:
        message = f"{text!r} is not of the form Z,Y,X"
        raise click.BadParameter(message, ctx, parameter) from error
    return z, y, x


@click.command()
@click.argument("source")
@click.argument("store")
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="What SOURCE is. [default: what the layout of its files says]",
)
@click.option("--split", multiple=True, metavar="NAME", help="Only this split, such as train; repeatable.")
@click.option(
    "--source-dataset", multiple=True, metavar="NAME", help="Only cases of this source; repeatable."
)
@click.option("--case", multiple=True, metavar="ID", help="Only this case; repeatable.")
@click.option(
    "--codec",
    type=click.Choice(["portable", "compact"]),
    help="portable opens in every Zarr reader; compact is 17 % smaller, for Python only. "
    "[default: that of STORE, or portable]",
)
@click.option(
    "--chunk",
    metavar="Z,Y,X",
    callback=_parse_chunk,
    help="Voxels of a chunk. [default: those of STORE, or 16,64,64]",
)
@click.option("--rebuild", is_flag=True, help="Build cases again that have another --codec or --chunk.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Cases built at once. [default: as many as cores and memory allow]",
)
@click.option(
    "--split-file",
    type=click.Path(path_type=Path),
    help="The authors' split list. [default: SOURCE/metadata/data_split.txt]",
)
@click.option(
    "--fold",
    type=click.IntRange(0),
    help="Of an nnU-Net dataset's splits_final.json: its validation cases become the split validation.",
)
@click.option("--licence", help="Of a dataset that states none.")
@click.option("--citation", help="Of a dataset that states none.")
@click.option(
    "--keep-downloads",
    is_flag=True,
    help="Leave what comes from the Hub in its cache; else each file is deleted once it is built.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the plan in this file, or go by the one that is there, whatever SOURCE has become.",
)
@click.option(
    "--part",
    metavar="I/N",
    help="Build one of N parts of about equal bytes, or slurm for that of a job array; then finalize.",
)
@scheduler_option
@take_over_option
@storage_options
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing but --plan.")
@logs.logged
def build(  # noqa: PLR0917 - the options of one command
    source: str,
    store: str,
    dataset: str | None,
    split: tuple[str, ...],
    source_dataset: tuple[str, ...],
    case: tuple[str, ...],
    codec: str | None,
    chunk: tuple[int, int, int] | None,
    workers: int | None,
    split_file: Path | None,
    *,
    rebuild: bool,
    fold: int | None,
    licence: str | None,
    citation: str | None,
    keep_downloads: bool,
    plan_file: Path | None,
    part: str | None,
    scheduler: str | None,
    take_over: bool,
    storage_option: dict[str, Any],
    dry_run: bool,
) -> None:
    """Build STORE from SOURCE.

    SOURCE is a folder that holds CTSpine1K, VerSe or a raw dataset of nnU-Net, the same at
    hf://datasets/USER/NAME[@REVISION], or hub for CTSpine1K itself; of the Hub, a case is downloaded,
    checked, built and deleted at a time.
    STORE is a folder, or s3://, gs:// or az://BUCKET/PATH.

    Interrupt it at any time and run it again: cases that are whole are skipped.
    """
    selection = cz.Selection(splits=split, sources=source_dataset, cases=case)
    plan = cz.plan_build(
        source,
        store,
        selection=selection,
        dataset=dataset,
        fold=fold,
        licence=licence,
        citation=citation,
        codec=codec,
        chunk=chunk,
        rebuild=rebuild,
        workers=workers,
        split_file=split_file,
        storage_options=storage_option,
        keep_downloads=keep_downloads,
        plan_file=plan_file,
        part=None if part is None else cz.Part.parse(part),
    )
    logs.output(report.in_lines(cz.describe(plan)), final=dry_run)
    if dry_run:
        _end(plan.refused)
    try:
        with (
            executor(scheduler, plan.workers) as cluster,
            follow(plan, quiet=logs.current().quiet) as on_event,
        ):
            result = cz.build_store(plan, heeding(on_event), executor=cluster, take_over=take_over)
    except KeyboardInterrupt:
        fail(f"interrupted; {_GO_ON}", INTERRUPTED)
    except (StorageError, HubError) as error:
        fail(f"{error}; {_GO_ON}", FAILED)
    done = f"; part {plan.part} is done: finalize {store} once all are" if plan.part else ""
    logs.output(report.built(result) + done, final=True)
    _end(result.refused)


@click.command()
@click.argument("store")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The plan of the parts. [default: what they have left in STORE]",
)
@storage_options
@logs.logged
def finalize(store: str, plan_file: Path | None, storage_option: dict[str, Any]) -> None:
    """Make STORE hold what the parts of its build have written, or say what is missing.

    Run it again at any time: what is whole stays as it is.
    """
    result = cz.finalize(store, plan_file=plan_file, storage_options=storage_option)
    logs.output(f"{store}: {len(result.whole)} cases are whole, {len(result.refused)} refused", final=True)
    _end(result.refused)


def _end(refused: tuple[cz.Refusal, ...]) -> NoReturn:
    for refusal in refused:
        logs.refusal(f"refused {refusal.case}: {refusal.reason}")
    sys.exit(REFUSED if refused else 0)
