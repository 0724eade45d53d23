"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


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
