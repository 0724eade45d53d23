"""Options that several commands have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from distributed import Client


def _parse_options(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str | bool]:
    """KEY=VALUE as a dictionary; true and false are what they say."""
    found: dict[str, str | bool] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key or not equals:
            message = f"{text!r} is not of the form KEY=VALUE"
            raise click.BadParameter(message, ctx, parameter)
        found[key] = {"true": True, "false": False}.get(value.lower(), value)
    return found


def options(name: str, of: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A repeatable option KEY=VALUE.

    Args:
        name: of it.
        of: what it is for.
    """
    return click.option(
        name,
        multiple=True,
        metavar="KEY=VALUE",
        callback=_parse_options,
        help=f"Option of {of}, such as anonymous=true, endpoint=URL, region=NAME; repeatable.",
    )


storage_options = options("--storage-option", "the bucket or server where STORE is")
"""Of a command that has a store."""

workers_option = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes."
)
"""Of a command that works on cases side by side where that is asked for."""

scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on a Dask cluster: tcp://HOST:PORT of its scheduler, or local for one of --workers processes.",
)
"""Of a command that may run elsewhere."""

take_over_option = click.option(
    "--take-over",
    is_flag=True,
    help="End whoever writes something else to STORE, and parts of another plan that wait there.",
)
"""Of a command that writes to a store."""


@contextlib.contextmanager
def executor(scheduler: str | None, workers: int) -> Iterator[Client | None]:
    """The client of the cluster that is asked for, while it is needed; None for none."""
    if scheduler is None:
        yield None
        return
    from ctspine_zarr.concurrency.cluster import connected

    with connected(scheduler, workers) as client:
        yield client
