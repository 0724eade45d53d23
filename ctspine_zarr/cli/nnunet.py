"""The commands that make a dataset of nnU-Net of a store."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, Final, Literal

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, storage_options, store_argument, workers_option
from ctspine_zarr.cli.talk import heeding

_REST: Final = "rest"


@click.group()
def nnunet() -> None:
    """Make a dataset of nnU-Net 2 of a store."""


@nnunet.command()
@store_argument
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
@click.option(
    "--label-set",
    metavar="NAME",
    shell_complete=complete.label_sets,
    help="Train on these labels in place of the masks.",
)
@click.option("--nifti", is_flag=True, help="Write NIfTI files instead of pointers to the store.")
@json_option
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
    label_set: str | None,
    nifti: bool,
    storage_option: dict[str, Any],
) -> None:
    """Write the raw dataset of STORE below NNUNET_RAW: by pointers, without a voxel, or by NIfTI.

    Interrupt it at any time and run it again: what is whole is kept.
    """
    from ctspine_zarr.nnunet.raw import write_raw

    opened = cz.open_store(store, storage_options=storage_option).select(labels=label_set)
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
    logs.answer(str(place), {"folder": str(place)})


@nnunet.command()
@click.argument("raw_folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument(
    "preprocessed", metavar="NNUNET_PREPROCESSED", type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--configuration", default="3d_fullres", show_default=True, help="Of nnU-Net's plan.")
@click.option("--direct", is_flag=True, help="Write no voxels: CTSpineTrainer reads them from the store.")
@click.option("--plan-only", is_flag=True, help="Make fingerprint and plan, and no case.")
@click.option("--part", metavar="I/N", default="1/1", help="One of N parts, once there is a plan.")
@click.option(
    "--fingerprint",
    type=click.Choice(["nnunet", "catalog"]),
    default="nnunet",
    show_default=True,
    help="By nnU-Net, which reads every voxel, or from what the build counted.",
)
@workers_option
@json_option
@logs.logged
def preprocess(
    raw_folder: Path,
    preprocessed: Path,
    workers: int,
    *,
    configuration: str,
    direct: bool,
    plan_only: bool,
    part: str,
    fingerprint: Literal["nnunet", "catalog"],
) -> None:
    """Preprocess RAW_FOLDER, of pointers or NIfTI, below NNUNET_PREPROCESSED by nnU-Net's own code.

    Interrupt it at any time and run it again: cases that are whole are kept. --workers are the processes
    that make the fingerprint; cases are shared out by --part.
    """
    from ctspine_zarr.nnunet.planning import plan
    from ctspine_zarr.nnunet.preprocess import preprocess as run

    asked = cz.Part.parse(part)
    # nnU-Net tells of its plan on standard output, which is the command's own.
    with contextlib.redirect_stdout(sys.stderr):
        if plan_only:
            place = plan(raw_folder, preprocessed, fingerprint=fingerprint, workers=workers)
        else:
            place = run(
                raw_folder,
                preprocessed,
                configuration=configuration,
                part=(asked.number, asked.count),
                direct=direct,
                fingerprint=fingerprint,
                workers=workers,
                on_case=heeding(logs.progress),
            )
    logs.answer(str(place), {"folder": str(place)})


@nnunet.command()
@json_option
@logs.logged
def trainers() -> None:
    """Say the folder for nnUNet_extTrainer, in which nnU-Net finds CTSpineTrainer."""
    import ctspine_zarr.nnunet

    place = str(Path(ctspine_zarr.nnunet.__file__).parent / "external")
    logs.answer(place, {"folder": place})
