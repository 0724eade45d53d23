"""The command that serves a store."""

from __future__ import annotations

import contextlib

import click

from ctspine_zarr.cli import logs
from ctspine_zarr.cli.options import json_option, store_argument


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

    def tell(url: str) -> None:
        logs.answer(f"{store} is at {url}; Ctrl-C ends", {"location": store, "url": url}, in_a_line=True)

    with contextlib.suppress(KeyboardInterrupt):
        run(store, host=host, port=port, on_ready=tell)
