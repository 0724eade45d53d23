"""Options that several commands have."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from ctspine_zarr.cli import complete, logs

if TYPE_CHECKING:
    from distributed import Client

type Command = Callable[..., Any]
type Option = Callable[[Command], Command]
"""What gives a command an option."""
type Parse[T] = Callable[[click.Context, click.Parameter, str | None], tuple[T, ...] | None]
"""What gives an option its value, as click calls it."""


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


def numbers[T: (int, float)](kind: type[T], *counts: int) -> Parse[T]:
    """What parses numbers with commas between them, for an option whose metavar says how many.

    Args:
        kind: of numbers.
        counts: how many are legal.
    """

    def parse(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[T, ...] | None:
        if text is None:
            return None
        try:
            found = tuple(kind(number) for number in text.split(","))
        except ValueError:
            found = ()
        if len(found) not in counts:
            message = f"{text!r} is not of the form {parameter.metavar}"
            raise click.BadParameter(message, ctx, parameter)
        return found

    return parse


def with_options(command: Command, *options: Option) -> Command:
    """A command with options, in the order in which its help lists them."""
    for option in reversed(options):
        command = option(command)
    return command


def options(name: str, of: str) -> Option:
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


store_argument = click.argument("store", shell_complete=complete.folders)
"""Of a command that has a store."""


def _print_document(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - as click calls it
    if asked:
        ctx.ensure_object(logs.Logs).print_document()


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_print_document,
    help="Print one JSON document instead of text.",
)
"""Of every command: what it has done goes to `logs.answer`, which prints the one or the other."""

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

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that are there.")
"""Of a command that writes files."""

take_over_option = click.option(
    "--take-over",
    is_flag=True,
    help="End whoever writes something else to STORE, and parts of another plan that wait there.",
)
"""Of a command that writes to a store."""


def _several(name: str, into: str, metavar: str, words: complete.Completion, what: str) -> Option:
    """A repeatable option that names what cases have, completed from the store before it."""
    return click.option(
        name,
        into,
        multiple=True,
        metavar=metavar,
        shell_complete=words,
        help=f"Only {what}; repeatable.",
    )


def which_options(
    case: str = "case", split: str = "split", source: str = "source_dataset"
) -> tuple[Option, Option, Option]:
    """The options --case, --split and --source-dataset, each with the name of its argument."""
    return (
        _several("--case", case, "ID", complete.cases, "this case"),
        _several("--split", split, "NAME", complete.splits, "this split, such as train"),
        _several("--source-dataset", source, "NAME", complete.sources, "cases of this source"),
    )


_SELECTION: Final = (
    *which_options("only_cases", "only_split", "only_source"),
    click.option(
        "--min-slices",
        "only_min_slices",
        type=click.IntRange(0),
        help="Only cases of as many axial slices, or more.",
    ),
    click.option(
        "--max-slices",
        "only_max_slices",
        type=click.IntRange(0),
        help="Only cases of as many axial slices, or fewer.",
    ),
    _several("--has-label", "only_has_label", "LABEL", complete.labels, "cases with this label, such as L6"),
    click.option(
        "--without-finding",
        "only_without_finding",
        multiple=True,
        metavar="CODE",
        shell_complete=complete.findings,
        help="Only cases without this finding, such as missing_level; repeatable.",
    ),
    click.option(
        "--quality",
        "only_quality",
        type=click.Choice(["clean", "usable"]),
        help="Only cases whose findings are no warnings and no errors, or no errors.",
    ),
    click.option(
        "--has-mask/--no-mask",
        "only_has_mask",
        default=None,
        help="Only cases that have a mask, or have none.",
    ),
    click.option(
        "--transitional/--not-transitional",
        "only_transitional",
        default=None,
        help="Only cases of which the dataset says that a vertebra is transitional, or does not.",
    ),
    click.option(
        "--label-set",
        "only_labels",
        metavar="NAME",
        shell_complete=complete.label_sets,
        help="Only cases that have this label set, which stands in place of their masks.",
    ),
)


def selection_options(command: Command) -> Command:
    """A command with options that choose cases of a store, as `Store.select` does.

    It gets one argument for all of them, `criteria`, which has what was asked for alone: it is empty
    where nothing was.
    """

    @functools.wraps(command)
    def choose(*arguments: Any, **given: Any) -> Any:
        # Under names of their own, for a command has a CASE, or a map of --labels, of its own.
        asked = {name: given.pop(f"only_{name}") for name in _CRITERIA}
        criteria = {name: _criterion(name, value) for name, value in asked.items() if value not in (None, ())}
        return command(*arguments, criteria=criteria, **given)

    return with_options(choose, *_SELECTION)


_CRITERIA: Final = (
    *("cases", "split", "source", "min_slices", "max_slices"),
    *("has_label", "without_finding", "quality", "has_mask", "transitional", "labels"),
)


def _criterion(name: str, value: Any) -> Any:
    """A value of an option as `Store.select` takes it: a case once, a label by its name or number."""
    if name == "cases":
        return list(dict.fromkeys(value))
    if name == "has_label":
        return [int(label) if label.isdecimal() else label for label in value]
    return value


@contextlib.contextmanager
def executor(scheduler: str | None, workers: int) -> Iterator[Client | None]:
    """The client of the cluster that is asked for, while it is needed; None for none."""
    if scheduler is None:
        yield None
        return
    from ctspine_zarr.concurrency.cluster import connected

    with connected(scheduler, workers) as client:
        yield client
