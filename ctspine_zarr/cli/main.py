"""The commands, in the order in which a store is made and used.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built;
4 damage was found, or is left; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import signal
from typing import Any

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import build, derive, export, labels, logs, maintain, nnunet, report
from ctspine_zarr.cli.options import executor, options, scheduler_option, storage_options, workers_option
from ctspine_zarr.cli.talk import FAILED, INTERRUPTED, USAGE, fail, heeding, interrupt
from ctspine_zarr.errors import UnknownCase, UnknownValue


class _Commands(click.Group):
    """Commands in the order of definition, each error on purpose printed as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        # A batch system's SIGTERM ends a run the same clean way as Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        with ctx.ensure_object(logs.Logs).begun():
            try:
                return super().invoke(ctx)
            except (UnknownCase, UnknownValue) as error:
                fail(str(error), USAGE)
            except cz.CtspineError as error:
                fail(str(error), FAILED)
            except KeyboardInterrupt:
                fail("interrupted", INTERRUPTED)


def _tell(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - as click calls it
    if asked:
        kernel = cz.kernel_version()
        click.echo(
            f"ctspine-zarr {cz.__version__}, {f'native kernel {kernel}' if kernel else 'no native kernel'}"
        )
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=report.EXITS)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell, help="Say it, and end."
)
@logs.logged
def cli() -> None:
    """CTSpine1K, VerSe or a dataset of nnU-Net as one Zarr v3 store."""


for command in (build.build, build.finalize, maintain.verify, maintain.repair, maintain.remove):
    cli.add_command(command)


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


cli.add_command(export.export)
cli.add_command(derive.derive)
cli.add_command(labels.labels)
cli.add_command(labels.score)


@cli.command()
@click.argument("store")
@click.argument("target")
@storage_options
@options("--target-option", "TARGET")
@click.option("--private", is_flag=True, help="A repository on the Hub that is made is private.")
@workers_option
@scheduler_option
@logs.logged
def publish(
    store: str,
    target: str,
    storage_option: dict[str, Any],
    target_option: dict[str, Any],
    workers: int,
    *,
    private: bool,
    scheduler: str | None,
) -> None:
    """Bring STORE to TARGET: s3://, gs:// or az://BUCKET/PATH, a folder, or hf://datasets/USER/NAME.

    Every object is compared with its receipt there. Interrupt it at any time and run it again: what is
    whole there is kept. To the Hub goes one process alone.
    """

    def show(found: cz.CasePublished) -> None:
        logs.progress(report.case_published(found))

    with executor(scheduler, workers) as cluster:
        result = cz.publish(
            store,
            target,
            storage_options=storage_option,
            target_options=target_option,
            private=private,
            workers=workers,
            executor=cluster,
            on_case=heeding(show),
        )
    logs.output(report.published(result), final=True)


cli.add_command(nnunet.nnunet)


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
