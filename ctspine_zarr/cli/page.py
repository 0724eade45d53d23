"""The command that writes the page of a store that lies elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from ctspine_zarr.cli import complete, logs
from ctspine_zarr.cli.options import json_option


@click.command()
@click.argument("store")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), shell_complete=complete.folders)
@click.option(
    "--redirect",
    "redirects",
    metavar="ORIGIN",
    multiple=True,
    help="Where the server of STORE sends who asks for its files, such as https://files.example; of the Hub "
    "it is known.",
)
@click.option("--space", metavar="TITLE", help="Make FOLDER a static Space of the Hub, of this title.")
@json_option
@logs.logged
def page(store: str, folder: Path, *, redirects: tuple[str, ...], space: str | None) -> None:
    """Write into FOLDER a page that shows STORE, which lies elsewhere, in any browser.

    STORE is hf://datasets/USER/NAME[@REVISION], http(s)://HOST/PATH, or a path from FOLDER. Put FOLDER on any
    web server. A store that was published has such a page in itself.
    """
    from ctspine_zarr.format.names import printable
    from ctspine_zarr.viewer.static import write_page

    written = write_page(folder, store, redirects=redirects, space=space)
    place = store if "://" in store else str(folder / store)
    text = f"{written} shows {place}, once {folder} is on a web server"
    logs.answer(printable(text), {"location": place, "page": str(written)})
