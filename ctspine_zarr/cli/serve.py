"""The command that serves a store."""

from __future__ import annotations

import click

from ctspine_zarr.cli import logs
from ctspine_zarr.cli.options import json_option, store_argument
from ctspine_zarr.cli.talk import serving


@click.command()
@store_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any that is free."
)
@json_option
@logs.logged
def serve(store: str, host: str, port: int) -> None:
    """Serve STORE over HTTP, with ranges, to browsers and notebooks, until Ctrl-C."""
    # starlette and uvicorn are optional.
    from ctspine_zarr.publishing.serve import serve as run

    with serving(store) as tell:
        run(store, host=host, port=port, on_ready=tell)
