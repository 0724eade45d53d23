"""The commands that bring a dataset's own files from where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs
from ctspine_zarr.cli.build import DATASETS
from ctspine_zarr.cli.options import Command, json_option, which_options, with_options
from ctspine_zarr.cli.talk import FAILED, INTERRUPTED, REFUSED, fail, heeding
from ctspine_zarr.errors import HubError, UnknownValue
from ctspine_zarr.format.names import printable

# Those of `datasets.raw` and `raw.listing`, which would take a while to import.
_KINDS: Final = ("image", "mask", "metadata", "other")
_USUAL: Final = _KINDS[:3]
_GO_ON: Final = "what came is kept: run the same command again to go on"


def _choice(command: Command) -> Command:
    """A command with options that choose cases."""
    return with_options(command, *which_options())


@click.group()
def raw() -> None:
    """Bring a dataset's own files, .nii.gz, from where they are."""


@raw.command()
@click.argument("repository", default="hub", metavar="[REPOSITORY]")
@_choice
@click.option("--revision", metavar="R", help="A branch, tag or commit. [default: the main branch]")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(_KINDS),
    multiple=True,
    help="Only these files; repeatable: metadata is what a build reads beside images and masks, other all "
    "else. [default: all but other]",
)
@click.option(
    "--dataset",
    type=click.Choice(DATASETS),
    help="What the repository holds. [default: what the layout of its files says]",
)
@click.option(
    "--split-file",
    type=click.Path(path_type=Path),
    help="The authors' split list. [default: metadata/data_split.txt of the repository]",
)
@click.option("--list", "is_list", is_flag=True, help="Print a table of the files; the default.")
@click.option("--urls", "is_urls", is_flag=True, help="Print a URL a line, for wget or aria2.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Bring the files to this folder, which is then a SOURCE of a build.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    help="Files downloaded, or compared, at once.",
)
@json_option
@logs.logged
def hub(
    repository: str,
    *,
    revision: str | None,
    split: tuple[str, ...],
    source_dataset: tuple[str, ...],
    case: tuple[str, ...],
    kinds: tuple[Any, ...],
    dataset: str | None,
    split_file: Path | None,
    is_list: bool,
    is_urls: bool,
    output: Path | None,
    workers: int,
) -> None:
    """List or download the .nii.gz of a dataset's REPOSITORY on the Hub, by default CTSpine1K's.

    REPOSITORY is USER/NAME or hf://datasets/USER/NAME[@REVISION][/FOLDER]. A revision is resolved once, to a
    commit that all URLs, and the document in the folder, have. Each file is compared with the Hub's size and
    sha256 before it has its name.

    Interrupt it at any time and run it again: whole files are compared, and not fetched again.
    """
    if is_list + is_urls + (output is not None) > 1:
        message = "--list, --urls and --output at once; legal: one of them"
        raise UnknownValue(message)
    listing = cz.list_raw(
        repository,
        cz.Selection(split, source_dataset, case),
        revision=revision,
        kinds=kinds or _USUAL,
        dataset=dataset,
        split_file=split_file,
    )
    refused = listing.refused
    if output is not None:
        refused = _download(listing, output, workers)
    elif is_urls:
        logs.answer("\n".join(file.url for file in listing.files) or None, lambda: _listed(listing))
    else:
        logs.answer(lambda: _table(listing), lambda: _listed(listing))
    _tell(refused)
    sys.exit(REFUSED if refused else 0)


def _download(listing: cz.RawListing, output: Path, workers: int) -> tuple[cz.Refusal, ...]:
    """Bring the files of a listing to a folder; the cases that are refused, where nothing else is wrong."""
    from ctspine_zarr.cli import documents
    from ctspine_zarr.cli.progress import follow_cases
    from ctspine_zarr.text import size

    logs.output(_where(listing))
    try:
        with follow_cases("downloading", is_quiet=logs.current().quiet, what="files") as followed:
            followed.begin(len(listing.files), listing.bytes)

            def tell(one: cz.FileDownloaded) -> None:
                followed.add(one.file.size, f"{one.how} {one.file.path}")
                if one.reason is not None:
                    logs.fault(f"ctspine-zarr: {one.reason}")

            result = cz.download_raw(listing, output, workers=workers, on_file=heeding(tell))
    except KeyboardInterrupt:
        fail(f"interrupted; {_GO_ON}", INTERRUPTED)
    except HubError as error:
        fail(f"{error}; {_GO_ON}", FAILED)
    for path in result.missing:
        logs.fault(f"ctspine-zarr: {path} of an earlier download is not there; ask for it again")
    whole = "whole" if result.is_whole else "not whole"
    text = (
        f"{output}: {len(result.files)} files at commit {result.commit}, {size(result.fetched_bytes)} "
        f"fetched; what was asked for is {whole}"
    )
    logs.answer(text, lambda: documents.raw_downloaded(listing, result))
    if result.failed or result.missing:
        _tell(result.refused)
        sys.exit(FAILED)
    return result.refused


def _where(listing: cz.RawListing) -> str:
    from ctspine_zarr.text import size

    revision = printable(listing.revision or "main")
    return (
        f"{listing.repository}, {revision}: commit {listing.commit}, {len(listing.files)} files, "
        f"{size(listing.bytes)}"
    )


def _listed(listing: cz.RawListing) -> dict[str, Any]:
    from ctspine_zarr.cli import documents

    return documents.raw_listed(listing)


def _table(listing: cz.RawListing) -> str:
    from ctspine_zarr.cli import tables
    from ctspine_zarr.text import size

    rows = [
        {
            "case": file.case or "",
            "split": file.split or "",
            "source": file.source or "",
            "kind": file.kind,
            "size": size(file.size),
            "path": file.path,
        }
        for file in listing.files
    ]
    return f"{_where(listing)}\n{tables.text(rows)}"


def _tell(refused: tuple[cz.Refusal, ...]) -> None:
    for refusal in refused:
        logs.refusal(f"refused {refusal.case}: {refusal.reason}")
