"""The commands that prove, mend and change a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import (
    executor,
    json_option,
    options,
    scheduler_option,
    storage_options,
    store_argument,
    take_over_option,
    workers_option,
)
from ctspine_zarr.cli.talk import DAMAGED, heeding

_SPLIT_FILE: Final = click.option(
    "--split-file", type=click.Path(path_type=Path), help="The source's split list, as the build had it."
)
_FOLD: Final = click.option("--fold", type=click.IntRange(0), help="The source's fold, as the build had it.")


@click.command()
@store_argument
@click.argument("case", shell_complete=complete.cases, nargs=-1)
@workers_option
@click.option(
    "--digest", metavar="HEX", help="The store's digest, as info gave it once: proves the root as well."
)
@click.option(
    "--quick",
    is_flag=True,
    help="Sizes and documents only, in seconds: finds what is lost, cut, longer or added, and altered "
    "documents, but not bytes altered within a shard.",
)
@click.option(
    "--by-record/--download",
    default=None,
    help="Of a store on the Hub: compare with the Hub's own record of each file's sha256, as is done by "
    "default, or download and decode it all.",
)
@click.option(
    "--source",
    metavar="SRC",
    help="Compare each case with its files as well: a folder, hf://datasets/USER/NAME[@REVISION], or hub.",
)
@_SPLIT_FILE
@_FOLD
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that notes each whole case; run again with it, those are not read again.",
)
@json_option
@scheduler_option
@storage_options
@logs.logged
def verify(  # noqa: PLR0917 - the options of one command
    store: str,
    case: tuple[str, ...],
    workers: int,
    digest: str | None,
    source: str | None,
    split_file: Path | None,
    *,
    quick: bool,
    by_record: bool | None,
    fold: int | None,
    journal: Path | None,
    scheduler: str | None,
    storage_option: dict[str, Any],
) -> None:
    """Compare every byte and voxel of STORE, or of some CASEs, with its receipts.

    A store on the Hub is compared with the Hub's own record of each file, and what it downloads are
    documents alone: catalog, receipts and the like. --download reads every byte there too.
    """
    from ctspine_zarr.cli import documents, report
    from ctspine_zarr.cli.progress import follow_cases

    is_quiet = logs.current().quiet
    with executor(scheduler, workers) as cluster, follow_cases("verifying", is_quiet=is_quiet) as shown:
        result = cz.verify(
            store,
            cases=case,
            digest=digest,
            quick=quick,
            by_record=by_record,
            source=source,
            split_file=split_file,
            fold=fold,
            journal=journal,
            workers=workers,
            executor=cluster,
            on_begin=shown.begin,
            on_case=heeding(lambda found: shown.add(found.bytes, report.case_verified(found))),
            storage_options=storage_option,
        )
    for line in report.problems(result):
        logs.fault(line)
    logs.answer(report.verified(result), documents.verified(store, result))
    sys.exit(0 if result.is_whole else DAMAGED)


@click.command()
@store_argument
@click.argument("source", required=False, shell_complete=complete.folders)
@click.option(
    "--from",
    "other",
    metavar="OTHER_STORE",
    shell_complete=complete.folders,
    help="Another store of the same cases, wherever it is, as where it was published: what is damaged is "
    "fetched, and no more.",
)
@workers_option
@click.option(
    "--digest",
    metavar="HEX",
    help="The store's digest, as info gave it once: a root of another is left, OTHER_STORE's too.",
)
@_SPLIT_FILE
@_FOLD
@click.option("--licence", help="Of a dataset that states none, as the build had it.")
@click.option("--citation", help="Of a dataset that states none, as the build had it.")
@take_over_option
@json_option
@storage_options
@options("--from-option", "OTHER_STORE")
@logs.logged
def repair(
    store: str,
    source: str | None,
    other: str | None,
    workers: int,
    split_file: Path | None,
    *,
    digest: str | None,
    fold: int | None,
    licence: str | None,
    citation: str | None,
    take_over: bool,
    storage_option: dict[str, Any],
    from_option: dict[str, Any],
) -> None:
    """Mend what is damaged in STORE from SOURCE, which it was built from, or from another store.

    The store is verified first, and what was mended afterwards; it is then byte for byte what it was. A
    store that is whole is not written to. Interrupt it at any time and run it again.
    """
    from ctspine_zarr.cli import documents, report
    from ctspine_zarr.cli.progress import follow_cases

    with follow_cases("verifying", is_quiet=logs.current().quiet) as shown:
        result = cz.repair(
            store,
            source,
            other=other,
            digest=digest,
            split_file=split_file,
            fold=fold,
            licence=licence,
            citation=citation,
            workers=workers,
            take_over=take_over,
            on_begin=shown.begin,
            on_case=heeding(lambda found: shown.add(found.bytes, report.case_verified(found))),
            on_mended=heeding(lambda mended: shown.note(report.mended(mended))),
            storage_options=storage_option,
            other_options=from_option,
        )
    for left in result.left:
        logs.fault(f"left{'' if left.case is None else f' {left.case}'}: {left.reason}")
    logs.answer(report.repaired(result), documents.repaired(store, result))
    sys.exit(0 if result.is_whole else DAMAGED)


@click.command()
@store_argument
@click.argument("case", shell_complete=complete.cases, nargs=-1, required=True)
@take_over_option
@json_option
@storage_options
@logs.logged
def remove(store: str, case: tuple[str, ...], *, take_over: bool, storage_option: dict[str, Any]) -> None:
    """Take CASEs out of STORE. A build from a source that has them brings them back."""
    gone = cz.remove(store, case, take_over=take_over, storage_options=storage_option)
    logs.answer(f"removed {', '.join(gone)}", {"location": store, "removed": list(gone)})
