"""The command that shows a store in a browser."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from ctspine_zarr.cli.options import storage_options


@click.command()
@click.argument("store")
@click.argument("case", required=False)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 for any that is free."
)
@click.option("--no-browser", is_flag=True, help="Say the address alone.")
@storage_options
def view(
    store: str, case: str | None, *, port: int, no_browser: bool, storage_option: dict[str, Any]
) -> None:
    """Show STORE, or one CASE of it first, in a browser on this machine, until Ctrl-C."""
    # starlette and uvicorn are optional.
    from ctspine_zarr.viewer.view import view as run

    with contextlib.suppress(KeyboardInterrupt):
        run(
            store,
            case,
            port=port,
            browser=not no_browser,
            storage_options=storage_option,
            on_ready=lambda url: click.echo(f"{store} is at {url}; Ctrl-C ends"),
        )
