"""What the commands that build a store have in common: which cases, in what form, by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypedDict

import click

import ctspine_zarr as cz
from ctspine_zarr.cli.options import (
    Command,
    json_option,
    numbers,
    scheduler_option,
    storage_options,
    take_over_option,
    which_options,
    with_options,
)


class Building(TypedDict):
    """The options of a build, whatever it builds from; see `plan_build`."""

    split: tuple[str, ...]
    source_dataset: tuple[str, ...]
    case: tuple[str, ...]
    codec: str | None
    chunk: tuple[int, int, int] | None
    rebuild: bool
    workers: int | None
    plan_file: Path | None
    part: str | None
    scheduler: str | None
    take_over: bool
    storage_option: dict[str, Any]
    dry_run: bool


class Planned(TypedDict):
    """The arguments of a plan that follow from them."""

    selection: cz.Selection
    codec: str | None
    chunk: tuple[int, int, int] | None
    rebuild: bool
    workers: int | None
    storage_options: dict[str, Any]
    plan_file: Path | None
    part: cz.Part | None


def planned(building: Building) -> Planned:
    """The arguments of a plan.

    Raises:
        UnknownValue: there is no such part.
    """
    part = building["part"]
    return {
        "selection": cz.Selection(building["split"], building["source_dataset"], building["case"]),
        "codec": building["codec"],
        "chunk": building["chunk"],
        "rebuild": building["rebuild"],
        "workers": building["workers"],
        "storage_options": building["storage_option"],
        "plan_file": building["plan_file"],
        "part": None if part is None else cz.Part.parse(part),
    }


_FORM: Final = (
    click.option(
        "--codec",
        type=click.Choice(["portable", "compact"]),
        help="portable opens in every Zarr reader; compact is 17 % smaller, for Python only. "
        "[default: that of STORE, or portable]",
    ),
    click.option(
        "--chunk",
        metavar="Z,Y,X",
        callback=numbers(int, 3),
        help="Voxels of a chunk. [default: those of STORE, or 8,64,64]",
    ),
    click.option("--rebuild", is_flag=True, help="Build cases again that have another --codec or --chunk."),
    click.option(
        "--workers",
        type=click.IntRange(1),
        help="Cases built at once. [default: as many as cores and memory allow]",
    ),
)


def chosen_options(command: Command) -> Command:
    """A command with options that choose cases, and the form in which they are stored."""
    return with_options(command, *which_options(), *_FORM)


def building_options(command: Command) -> Command:
    """A command with options that say who builds, and how much of it."""
    return with_options(
        command,
        click.option(
            "--plan",
            "plan_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Keep the plan in this file, or go by the one that is there, whatever SOURCE has become.",
        ),
        click.option(
            "--part",
            metavar="I/N",
            help="Build one of N parts of about equal bytes, or slurm for that of a job array; "
            "then finalize.",
        ),
        scheduler_option,
        take_over_option,
        json_option,
        storage_options,
        click.option("--dry-run", is_flag=True, help="Print the plan and write nothing but --plan."),
    )
