"""The commands that make a dataset of nnU-Net of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import logs
from ctspine_zarr.cli.options import storage_options
from ctspine_zarr.cli.talk import heeding
from ctspine_zarr.nnunet.raw import write_raw

_REST: Final = "rest"


@click.group()
def nnunet() -> None:
    """Make a dataset of nnU-Net 2 of a store."""


@nnunet.command()
@click.argument("store")
@click.argument("folder", metavar="NNUNET_RAW", type=click.Path(file_okay=False, path_type=Path))
@click.option("--id", "number", type=click.IntRange(1, 999), required=True, help="Number of the dataset.")
@click.option("--name", help="Of the dataset; by default that of the store's.")
@click.option(
    "--labels",
    "label_map",
    metavar="MAP",
    default="contiguous",
    show_default=True,
    help="A map of labels by its name, or a JSON file of one.",
)
@click.option("--ignore", metavar="NAME,...", default="", help="Labels to ignore, or rest.")
@click.option("--folds", type=click.IntRange(2), help="Folds; by default the store's train and validation.")
@click.option("--nifti", is_flag=True, help="Write NIfTI files instead of pointers to the store.")
@storage_options
@logs.logged
def raw(
    store: str,
    folder: Path,
    number: int,
    label_map: str,
    ignore: str,
    *,
    name: str | None,
    folds: int | None,
    nifti: bool,
    storage_option: dict[str, Any],
) -> None:
    """Write the raw dataset of STORE below NNUNET_RAW: by pointers, without a voxel, or by NIfTI.

    Interrupt it at any time and run it again: what is whole is kept.
    """
    opened = cz.open_store(store, storage_options=storage_option)
    ignored = _REST if ignore == _REST else [one for one in ignore.split(",") if one]
    place = write_raw(
        opened,
        folder,
        id=number,
        name=name,
        label_map=opened.label_map(label_map, ignore=ignored),
        folds=folds,
        nifti=nifti,
        on_case=heeding(logs.progress),
    )
    logs.output(str(place), final=True)
