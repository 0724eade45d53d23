"""The commands, in the order in which a store is made and used.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built;
4 damage was found, or is left; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import maintain, report
from ctspine_zarr.cli.options import options, storage_options
from ctspine_zarr.cli.progress import follow
from ctspine_zarr.cli.talk import heeding, interrupt, say
from ctspine_zarr.errors import HubError, StorageError, UnknownCase, UnknownValue

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
DAMAGED: Final = maintain.DAMAGED
INTERRUPTED: Final = 130

DATASETS: Final = ("ctspine1k", "verse", "nnunet")
"""Names of the datasets, which would take a while to import."""

_GO_ON: Final = "whole cases are kept: run the same command again to go on"


class _Commands(click.Group):
    """Commands in the order of definition, each error on purpose printed as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        # A batch system's SIGTERM ends a run the same clean way as Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        try:
            return super().invoke(ctx)
        except (UnknownCase, UnknownValue) as error:
            _fail(str(error), USAGE)
        except cz.CtspineError as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)


def _fail(message: str, status: int) -> NoReturn:
    say(f"ctspine-zarr: {message}")
    sys.exit(status)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=report.EXITS)
@click.version_option(package_name="ctspine-zarr")
def cli() -> None:
    """CTSpine1K, VerSe or a dataset of nnU-Net as one Zarr v3 store."""


@cli.command()
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
    default="portable",
    show_default=True,
    help="portable opens in every Zarr reader; compact is 7 % smaller, for Python only.",
)
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
@storage_options
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
def build(  # noqa: PLR0917 - the options of one command
    source: str,
    store: str,
    dataset: str | None,
    split: tuple[str, ...],
    source_dataset: tuple[str, ...],
    case: tuple[str, ...],
    codec: str,
    workers: int | None,
    split_file: Path | None,
    *,
    fold: int | None,
    licence: str | None,
    citation: str | None,
    keep_downloads: bool,
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
        workers=workers,
        split_file=split_file,
        storage_options=storage_option,
        keep_downloads=keep_downloads,
    )
    click.echo(report.in_lines(cz.describe(plan)))
    if dry_run:
        _end_build(plan.refused)
    try:
        with follow(plan) as on_event:
            result = cz.build_store(plan, heeding(on_event))
    except KeyboardInterrupt:
        _fail(f"interrupted; {_GO_ON}", INTERRUPTED)
    except (StorageError, HubError) as error:
        _fail(f"{error}; {_GO_ON}", FAILED)
    click.echo(report.built(result))
    _end_build(result.refused)


def _end_build(refused: tuple[cz.Refusal, ...]) -> NoReturn:
    for refusal in refused:
        say(f"refused {refusal.case}: {refusal.reason}")
    sys.exit(REFUSED if refused else 0)


@cli.command()
@click.argument("store")
@click.argument("case", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@storage_options
def info(store: str, case: str | None, *, as_json: bool, storage_option: dict[str, Any]) -> None:
    """Say what STORE, or one CASE of it, holds."""
    opened = cz.open_store(store, storage_options=storage_option)
    document = report.store_json(opened) if case is None else report.case_json(opened[case])
    text = report.store_text if case is None else report.case_text
    click.echo(json.dumps(document, indent=1) if as_json else text(document))


cli.add_command(maintain.verify)
cli.add_command(maintain.repair)


@cli.command()
@click.argument("store")
@click.argument("case", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@storage_options
def export(
    store: str, case: tuple[str, ...], output: Path, *, overwrite: bool, storage_option: dict[str, Any]
) -> None:
    """Write CASEs of STORE as .nii.gz, equal to their source once inflated."""
    opened = cz.open_store(store, storage_options=storage_option)
    failed = False
    for chosen in [opened[name] for name in case]:
        try:
            click.echo("\n".join(map(str, cz.export(chosen, output, overwrite=overwrite))))
        except cz.CtspineError as error:
            say(f"ctspine-zarr: {error}")
            failed = True
    sys.exit(FAILED if failed else 0)


@cli.command()
@click.argument("store")
@click.argument("target")
@storage_options
@options("--target-option", "TARGET")
@click.option("--private", is_flag=True, help="A repository on the Hub that is made is private.")
def publish(
    store: str, target: str, storage_option: dict[str, Any], target_option: dict[str, Any], *, private: bool
) -> None:
    """Bring STORE to TARGET: s3://, gs:// or az://BUCKET/PATH, a folder, or hf://datasets/USER/NAME.

    Every object is compared with its receipt there. Interrupt it at any time and run it again: what is
    whole there is kept.
    """

    def show(found: cz.CasePublished) -> None:
        click.echo(report.case_published(found), err=True)

    result = cz.publish(
        store,
        target,
        storage_options=storage_option,
        target_options=target_option,
        private=private,
        on_case=heeding(show),
    )
    click.echo(report.published(result))


@cli.command()
@click.argument("store")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any that is free."
)
def serve(store: str, host: str, port: int) -> None:
    """Serve STORE over HTTP, with ranges, to browsers and notebooks, until Ctrl-C."""
    # starlette and uvicorn are optional.
    from ctspine_zarr.publishing.serve import serve as run  # noqa: PLC0415

    with contextlib.suppress(KeyboardInterrupt):
        run(store, host=host, port=port, on_ready=lambda url: click.echo(f"{store} is at {url}; Ctrl-C ends"))
