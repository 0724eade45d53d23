"""The command, run in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from ctspine_zarr.cli.main import cli


def run(*arguments: object) -> Result:
    """What comes of some words after `ctspine-zarr`."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])
