"""The help of every command, written into docs/commands.md, after its last heading.

    python scripts/write_commands.py [--check]

With --check nothing is written; the status is 1 where the page would change.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ctspine_zarr.cli.main import cli

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
MARKER = "<!-- What follows is written by scripts/write_commands.py. -->\n"
WIDTH = 100


def main() -> None:
    before = PAGE.read_text()
    by_hand, marker, _ = before.partition(MARKER)
    context = cli.make_context("ctspine-zarr", [], resilient_parsing=True, terminal_width=WIDTH)
    after = by_hand + MARKER + "".join(sections(context))
    if not marker:
        sys.exit(f"{PAGE}: no line {MARKER!r}")
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PAGE} is out of date: python scripts/write_commands.py" if after != before else 0)
    PAGE.write_text(after)


def sections(context: click.Context) -> Iterator[str]:
    """A section for the command of a context, then one for each command below it."""
    path, command = context.command_path, context.command
    yield f"\n### {path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from sections(found.make_context(name, [], context, resilient_parsing=True))


if __name__ == "__main__":
    main()
