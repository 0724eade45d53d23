"""Commands that are imported when they are asked for, so that help waits for none but its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, override

import click
from click.shell_completion import CompletionItem


class Lazy(NamedTuple):
    """Where a command is, and what a list of commands says of it.

    Attributes:
        module: of `ctspine_zarr.cli`; it holds the command by its name.
        help: the first sentence of the command's own help.
    """

    module: str
    help: str


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, in the order of their table, each imported when it is first taken.

    Args:
        table: name -> where it is.
    """

    def __init__(self, table: Mapping[str, Lazy]) -> None:
        self._known: Final[dict[str, Lazy | click.Command]] = dict(table)

    def __getitem__(self, name: str) -> click.Command:
        found = self._known[name]
        if isinstance(found, click.Command):
            return found
        command: click.Command = getattr(importlib.import_module(f"ctspine_zarr.cli.{found.module}"), name)
        self._known[name] = command
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class LazyGroup(click.Group):
    """A group that lists and completes its commands from their table, in its order.

    Args:
        table: name -> where it is.
        options: of a group, as click has them.
    """

    def __init__(self, *, table: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(commands=LazyCommands(table), **options)
        self._table: Final = table

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._table.items()])

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=lazy.help)
            for name, lazy in self._table.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)
