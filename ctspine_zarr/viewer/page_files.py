"""The files of the viewer's page, as they lie in the package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files


def page_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of each file; zarrita is among them where it was bundled."""
    for file in files("ctspine_zarr.viewer").joinpath("page").iterdir():
        if file.is_file():
            yield file.name, file.read_bytes()
