"""The command that shows a store in a browser."""

from __future__ import annotations

from typing import Any

import click

from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option, storage_options, store_argument
from ctspine_zarr.cli.talk import serving
from ctspine_zarr.errors import UnknownValue


@click.command()
@store_argument
@click.argument("case", required=False, shell_complete=complete.cases)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 for any that is free."
)
@click.option("--no-browser", is_flag=True, help="Say the address alone; open no browser.")
@click.option(
    "--neuroglancer",
    is_flag=True,
    help="Serve a local STORE to pages of any origin instead, and say the address of CASE in neuroglancer, "
    "a public page; no browser is opened.",
)
@json_option
@storage_options
@logs.logged
def view(
    store: str,
    case: str | None,
    *,
    port: int,
    no_browser: bool,
    neuroglancer: bool,
    storage_option: dict[str, Any],
) -> None:
    """Show STORE, or one CASE of it first, in a browser on this machine, until Ctrl-C."""
    # starlette and uvicorn are optional.
    from ctspine_zarr.viewer import view as viewer

    with serving(store) as tell:
        if not neuroglancer:
            viewer.view(
                store,
                case,
                port=port,
                browser=not no_browser,
                storage_options=storage_option,
                on_ready=tell,
            )
        elif case is None or storage_option:
            message = "--neuroglancer needs a CASE; legal: one of a local STORE, without --storage-option"
            raise UnknownValue(message)
        else:
            viewer.view_in_neuroglancer(store, case, port=port, on_ready=tell)
