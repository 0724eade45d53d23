"""The commands that make a store: all of it, in parts, and to their end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, NoReturn, Unpack

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.building import Building, building_options, chosen_options, planned
from ctspine_zarr.cli.options import executor, json_option, storage_options, store_argument
from ctspine_zarr.cli.talk import FAILED, INTERRUPTED, REFUSED, fail, heeding
from ctspine_zarr.errors import HubError, StorageError

DATASETS: Final = ("ctspine1k", "verse", "nnunet")
"""Names of the datasets, which would take a while to import."""

_GO_ON: Final = "whole cases are kept: run the same command again to go on"


@click.command()
@click.argument("source", shell_complete=complete.folders)
@store_argument
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="What SOURCE is. [default: what the layout of its files says]",
)
@chosen_options
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
    "--metadata",
    "metadata_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Join this .csv, .tsv or .xlsx of a row a case or patient; repeatable.",
)
@click.option(
    "--metadata-key",
    metavar="COLUMN=case|patient",
    help="The column that tells which. [default: case or patient_id]",
)
@click.option(
    "--keep-downloads",
    is_flag=True,
    help="Leave what comes from the Hub in its cache; else each file is deleted once it is built.",
)
@building_options
@logs.logged
def build(
    source: str,
    store: str,
    *,
    dataset: str | None,
    split_file: Path | None,
    fold: int | None,
    licence: str | None,
    citation: str | None,
    metadata_files: tuple[Path, ...],
    metadata_key: str | None,
    keep_downloads: bool,
    **building: Unpack[Building],
) -> None:
    """Build STORE from SOURCE.

    SOURCE is a folder that holds CTSpine1K, VerSe or a raw dataset of nnU-Net, the same at
    hf://datasets/USER/NAME[@REVISION], or hub for CTSpine1K itself; of the Hub, a case is downloaded,
    checked, built and deleted at a time.
    STORE is a folder, or s3://, gs:// or az://BUCKET/PATH.

    Interrupt it at any time and run it again: cases that are whole are skipped.
    """
    plan = cz.plan_build(
        source,
        store,
        dataset=dataset,
        fold=fold,
        licence=licence,
        citation=citation,
        split_file=split_file,
        keep_downloads=keep_downloads,
        metadata=metadata_files,
        metadata_key=metadata_key,
        **planned(building),
    )
    carry_out(plan, store, building)


def carry_out(plan: cz.Plan, store: str, building: Building) -> NoReturn:
    """Show a plan, and carry it out unless it is only to be shown; the exit status says how it went."""
    from ctspine_zarr.cli import documents, report
    from ctspine_zarr.cli.progress import follow

    def described() -> str:
        return report.in_lines(cz.describe(plan))

    # As it is before anything is written: free disk is asked for.
    document = documents.planned(plan) if logs.current().is_json else {}
    if building["dry_run"]:
        logs.answer(described, documents.build(document, None))
        _end(plan.refused)
    logs.output(described)
    try:
        with (
            executor(building["scheduler"], plan.workers) as cluster,
            follow(plan, quiet=logs.current().quiet) as on_event,
        ):
            result = cz.build_store(
                plan, heeding(on_event), executor=cluster, take_over=building["take_over"]
            )
    except KeyboardInterrupt:
        fail(f"interrupted; {_GO_ON}", INTERRUPTED)
    except (StorageError, HubError) as error:
        fail(f"{error}; {_GO_ON}", FAILED)
    done = f"; part {plan.part} is done: finalize {store} once all are" if plan.part else ""
    for line in report.dropped(result):
        logs.refusal(line)
    for joined in result.metadata:
        logs.output(str(joined), final=True)
    logs.answer(report.built(result) + done, lambda: documents.build(document, result))
    _end(result.refused)


@click.command()
@store_argument
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The plan of the parts. [default: what they have left in STORE]",
)
@json_option
@storage_options
@logs.logged
def finalize(store: str, plan_file: Path | None, storage_option: dict[str, Any]) -> None:
    """Make STORE hold what the parts of its build have written, or say what is missing.

    Run it again at any time: what is whole stays as it is.
    """
    from ctspine_zarr.cli import documents

    result = cz.finalize(store, plan_file=plan_file, storage_options=storage_option)
    text = f"{store}: {len(result.whole)} cases are whole, {len(result.refused)} refused"
    logs.answer(text, documents.finalized(store, result))
    _end(result.refused)


def _end(refused: tuple[cz.Refusal, ...]) -> NoReturn:
    for refusal in refused:
        logs.refusal(f"refused {refusal.case}: {refusal.reason}")
    sys.exit(REFUSED if refused else 0)
