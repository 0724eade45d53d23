"""The commands, in the order in which a store is made and used; each is imported when it is asked for.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 some cases were refused, the others are built;
4 damage was found, or is left, or `qc` found what --fail-on names, or `diff` a difference; 130 interrupted.
"""

from __future__ import annotations

import signal
from typing import Any, Final, override

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs
from ctspine_zarr.cli.lazy import Lazy, LazyGroup
from ctspine_zarr.cli.talk import EXITS, FAILED, INTERRUPTED, USAGE, fail, interrupt
from ctspine_zarr.errors import CtspineError, UnknownCase, UnknownValue

COMMANDS: Final = {
    "build": Lazy("build", "Build STORE from SOURCE."),
    "finalize": Lazy(
        "build", "Make STORE hold what the parts of its build have written, or say what is missing."
    ),
    "verify": Lazy("maintain", "Compare every byte and voxel of STORE, or of some CASEs, with its receipts."),
    "repair": Lazy(
        "maintain",
        "Mend what is damaged in STORE from SOURCE, which it was built from, or from another store.",
    ),
    "diff": Lazy("diff", "Compare two stores, A and B, wherever they are; no voxel is read."),
    "remove": Lazy("maintain", "Take CASEs out of STORE."),
    "info": Lazy("info", "Say what STORE, or each CASE of it, holds."),
    "cases": Lazy("cases", "List the cases of STORE that options choose, or all."),
    "qc": Lazy("qc", "Say what is odd about the cases of STORE: labels, grids, leaks; no voxel is read."),
    "preview": Lazy("preview", "Make a picture of a CASE of STORE, or contact sheets of many."),
    "export": Lazy("export", "Write CASEs of STORE, those that options choose, or all, as files."),
    "derive": Lazy("derive", "Derive STORE from PARENT, another store: resampled, cropped, relabelled."),
    "labels": Lazy("labels", "Write label sets, such as predictions, beside the masks of a store."),
    "score": Lazy("labels", "Score the label set NAME of STORE against its masks."),
    "metadata": Lazy("metadata", "Join FILEs, tables of a row a case or patient, to the cases of STORE."),
    "publish": Lazy("publish", "Bring STORE to TARGET, a bucket, a folder or the Hub."),
    "raw": Lazy("raw", "Bring a dataset's own files, .nii.gz, from where they are."),
    "nnunet": Lazy("nnunet", "Make a dataset of nnU-Net 2 of a store."),
    "view": Lazy("view", "Show STORE, or one CASE of it first, in a browser on this machine, until Ctrl-C."),
    "page": Lazy("page", "Write into FOLDER a page that shows STORE, which lies elsewhere, in any browser."),
    "serve": Lazy("serve", "Serve STORE over HTTP, with ranges, to browsers and notebooks, until Ctrl-C."),
}
"""Each command: its module, and the first sentence of its help."""


class _Commands(LazyGroup):
    """The commands, each error on purpose printed as one line."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        # A batch system's SIGTERM ends a run the same clean way as Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        with ctx.ensure_object(logs.Logs).begun():
            try:
                return super().invoke(ctx)
            except (UnknownCase, UnknownValue) as error:
                fail(str(error), USAGE)
            except CtspineError as error:
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


@click.group(
    cls=_Commands, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXITS
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell,
    help="Show the version, and that of the native kernel where it is installed.",
)
@logs.logged
def cli() -> None:
    """CTSpine1K, VerSe or a dataset of nnU-Net as one Zarr v3 store."""
