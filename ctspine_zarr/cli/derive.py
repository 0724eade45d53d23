"""The command that derives a store from another."""

from __future__ import annotations

from typing import Any, Unpack

import click

import ctspine_zarr as cz
from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.build import carry_out
from ctspine_zarr.cli.building import Building, building_options, chosen_options, planned
from ctspine_zarr.cli.options import numbers, options, store_argument


@click.command()
@click.argument("parent", shell_complete=complete.folders)
@store_argument
@click.option(
    "--spacing",
    metavar="MM|Z,Y,X",
    callback=numbers(float, 1, 3),
    help="Of all cases, in mm. [default: each case's own]",
)
@click.option("--crop", type=click.Choice(["spine", "labels"]), help="Only a box around these.")
@click.option(
    "--margin", type=click.FloatRange(0), default=20.0, show_default=True, help="Around the box, in mm."
)
@click.option(
    "--labels",
    metavar="MAP",
    help="What labels become: contiguous, regions, binary, verse, totalsegmentator, or a .json file.",
)
@click.option("--ignore", multiple=True, metavar="LABEL", help="To be passed over in training; repeatable.")
@click.option("--window", metavar="LO,HI", callback=numbers(float, 2), help="HU; values beyond are cut off.")
@click.option(
    "--mask-by",
    type=click.Choice(["nearest", "majority"]),
    default="nearest",
    show_default=True,
    help="Of a coarser spacing: the label of the nearest voxel, or that of most of them.",
)
@click.option(
    "--dtype",
    type=click.Choice(["int16", "float32"]),
    default="int16",
    show_default=True,
    help="Of the image, which is rounded for int16.",
)
@chosen_options
@building_options
@options("--parent-option", "the bucket or server where PARENT is")
@logs.logged
def derive(
    parent: str,
    store: str,
    *,
    spacing: tuple[float, ...] | None,
    crop: Any,
    margin: float,
    labels: str | None,
    ignore: tuple[str, ...],
    window: Any,
    mask_by: Any,
    dtype: Any,
    parent_option: dict[str, Any],
    **building: Unpack[Building],
) -> None:
    """Derive STORE from PARENT, another store: resampled, cropped, relabelled.

    STORE is a store as any other; its root names PARENT's digest, and all that is asked for here. Images
    are filtered so that a coarser spacing does not alias.

    Interrupt it at any time and run it again: cases that are whole are skipped.
    """
    plan = cz.plan_derive(
        parent,
        store,
        spacing=spacing[0] if spacing is not None and len(spacing) == 1 else spacing,
        crop=crop,
        margin_mm=margin,
        label_map=labels,
        ignore=ignore,
        window=window,
        mask_by=mask_by,
        dtype=dtype,
        parent_options=parent_option,
        **planned(building),
    )
    carry_out(plan, store, building)
