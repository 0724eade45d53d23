"""The commands, in the order in which a store is made and used.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built;
4 verification found damage; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import report
from ctspine_zarr.cli.progress import follow
from ctspine_zarr.errors import HubError, StorageError, UnknownCase, UnknownValue
from ctspine_zarr.format.names import printable

if TYPE_CHECKING:
    from distributed import Client

FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
DAMAGED: Final = 4
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
            signal.signal(number, _interrupt)
        try:
            return super().invoke(ctx)
        except (UnknownCase, UnknownValue) as error:
            _fail(str(error), USAGE)
        except cz.CtspineError as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)


_interrupted: Final = threading.Event()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - as signal calls it
    _interrupted.set()
    raise KeyboardInterrupt


def _heeding[T](listener: Callable[[T], None]) -> Callable[[T], None]:
    """A listener that also ends the run it listens to, once that was asked for.

    Python drops a KeyboardInterrupt that happens to be raised in a destructor; the flag stays.
    """

    def heed(event: T) -> None:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        listener(event)

    return heed


def _fail(message: str, status: int) -> NoReturn:
    _say(f"ctspine-zarr: {message}")
    sys.exit(status)


def _say(text: str) -> None:
    """One line to standard error, whatever a store has put into it."""
    click.echo(printable(text), err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=report.EXITS)
@click.version_option(package_name="ctspine-zarr")
def cli() -> None:
    """CTSpine1K, VerSe or a dataset of nnU-Net as one Zarr v3 store."""


def _parse_options(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str | bool]:
    """KEY=VALUE as a dictionary; true and false are what they say."""
    options: dict[str, str | bool] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key or not equals:
            message = f"{text!r} is not of the form KEY=VALUE"
            raise click.BadParameter(message, ctx, parameter)
        options[key] = {"true": True, "false": False}.get(value.lower(), value)
    return options


def _options(name: str, of: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        name,
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_options,
        help=f"Option of {of}, such as anonymous=true, endpoint=URL, region=NAME; repeatable.",
    )


_storage_options = _options("--storage-option", "the bucket or server where STORE is")


_scheduler = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on a Dask cluster: tcp://HOST:PORT of its scheduler, or local for one of --workers processes.",
)


@contextlib.contextmanager
def _executor(scheduler: str | None, workers: int) -> Iterator[Client | None]:
    """The client of a cluster that is asked for, while it is needed."""
    if scheduler is None:
        yield None
        return
    from ctspine_zarr.concurrency.cluster import connected  # noqa: PLC0415 - dask takes a while

    with connected(scheduler, workers) as client:
        yield client


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
    help="portable, the default, opens in every Zarr reader; compact is 7 % smaller, for Python only.",
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
@_scheduler
@click.option(
    "--take-over",
    is_flag=True,
    help="End another build into STORE, and its parts, which is dead or unwanted.",
)
@_storage_options
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing else than --plan.")
def build(  # noqa: PLR0917 - the options of one command
    source: str,
    store: str,
    dataset: str | None,
    split: tuple[str, ...],
    source_dataset: tuple[str, ...],
    case: tuple[str, ...],
    codec: str | None,
    workers: int | None,
    split_file: Path | None,
    *,
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
        workers=workers,
        split_file=split_file,
        storage_options=storage_option,
        keep_downloads=keep_downloads,
        plan_file=plan_file,
        part=None if part is None else cz.Part.parse(part),
    )
    click.echo(report.in_lines(cz.describe(plan)))
    if dry_run:
        _end_build(plan.refused)
    try:
        with _executor(scheduler, plan.workers) as executor, follow(plan) as on_event:
            result = cz.build_store(plan, _heeding(on_event), executor=executor, take_over=take_over)
    except KeyboardInterrupt:
        _fail(f"interrupted; {_GO_ON}", INTERRUPTED)
    except (StorageError, HubError) as error:
        _fail(f"{error}; {_GO_ON}", FAILED)
    click.echo(report.built(result))
    if part is not None:
        click.echo(f"part {plan.part} is done; once all are: ctspine-zarr finalize {store}")
    _end_build(result.refused)


@cli.command()
@click.argument("store")
@_storage_options
def finalize(store: str, storage_option: dict[str, Any]) -> None:
    """Make STORE hold what the parts of its build have written, or say what is missing.

    Run it again at any time: what is whole stays as it is.
    """
    result = cz.finalize(store, storage_options=storage_option)
    click.echo(f"{store}: {len(result.whole)} cases are whole, {len(result.refused)} refused")
    _end_build(result.refused)


def _end_build(refused: tuple[cz.Refusal, ...]) -> NoReturn:
    for refusal in refused:
        _say(f"refused {refusal.case}: {refusal.reason}")
    sys.exit(REFUSED if refused else 0)


@cli.command()
@click.argument("store")
@click.argument("case", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@_storage_options
def info(store: str, case: str | None, *, as_json: bool, storage_option: dict[str, Any]) -> None:
    """Say what STORE, or one CASE of it, holds."""
    opened = cz.open_store(store, storage_options=storage_option)
    document = report.store_json(opened) if case is None else report.case_json(opened[case])
    text = report.store_text if case is None else report.case_text
    click.echo(json.dumps(document, indent=1) if as_json else text(document))


@cli.command()
@click.argument("store")
@click.argument("case", nargs=-1)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@_scheduler
@click.option(
    "--digest", metavar="HEX", help="The store's digest, as info gave it once: proves the root as well."
)
@_storage_options
def verify(
    store: str,
    case: tuple[str, ...],
    workers: int,
    *,
    scheduler: str | None,
    digest: str | None,
    storage_option: dict[str, Any],
) -> None:
    """Compare every byte and voxel of STORE, or of some CASEs, with its receipts."""

    def show(found: cz.CaseReport) -> None:
        for problem in found.problems:
            _say(f"damaged {found.case}: {problem}")

    with _executor(scheduler, workers) as executor:
        result = cz.verify(
            store,
            cases=case,
            digest=digest,
            workers=workers,
            executor=executor,
            on_case=_heeding(show),
            storage_options=storage_option,
        )
    for problem in result.problems:
        _say(f"damaged: {problem}")
    for entry in result.refused:
        _say(f"refused when built: {entry.case}: {entry.reason}")
    damaged = sum(bool(found.problems) for found in result.cases)
    masks = sum(not found.has_mask for found in result.cases)
    without = f"; {masks} have no mask" if masks else ""
    click.echo(f"{len(result.cases) - damaged} of {len(result.cases)} cases are whole{without}")
    sys.exit(0 if result.is_whole else DAMAGED)


@cli.command()
@click.argument("store")
@click.argument("case", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@_storage_options
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
            _say(f"ctspine-zarr: {error}")
            failed = True
    sys.exit(FAILED if failed else 0)


@cli.command()
@click.argument("store")
@click.argument("target")
@_storage_options
@_options("--target-option", "TARGET")
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
        on_case=_heeding(show),
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
