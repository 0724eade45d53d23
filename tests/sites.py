"""Sites in a browser: a folder on a web server of the tests, with a store and the page that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Viewed
from numpy.typing import NDArray
from servers import App, Watched, folder, served

import ctspine_zarr as cz

BUNDLE = files("ctspine_zarr.viewer").joinpath("page", "zarrita.js")
NEEDS_BUNDLE = pytest.mark.skipif(not BUNDLE.is_file(), reason="needs zarrita, bundled by make page")

CASE = "1.3.6.1.4.1.9328.50.4.0001"
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
SHARD = "/c/0/0/0"


@dataclass
class Site:
    """A folder on a web server, a store and a page in it.

    Attributes:
        root, server, url: of the folder.
        pages: of browsers that show it.
    """

    root: Path
    server: Watched
    url: str
    pages: list[Any] = field(default_factory=list, kw_only=True)

    @property
    def shards(self) -> list[Any]:
        return [one for one in self.server.requests if one.path.endswith(SHARD)]


@dataclass
class View(Viewed):
    """The page of a site in a browser."""

    site: Site

    def __post_init__(self) -> None:
        self.site.pages.append(self.page)

    def open(self, fragment: str = "", url: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{url or self.site.url}/index.html{fragment}")
        self.until("viewer.record || !document.querySelector('#message').hidden")

    def told(self) -> str:
        """The error that the page shows."""
        self.until("!document.querySelector('#message').hidden")
        text: str = self.page.locator("#message").inner_text()
        return text

    def box(self, case: str, array: str, start: list[int], stop: list[int], dtype: str) -> NDArray[Any]:
        script = "viewer.source.box(...argument, new AbortController().signal)"
        found = self.array(script, [case, array, start, stop], dtype)
        return found.reshape([b - a for a, b in zip(start, stop, strict=True)])

    def pane(self, plane: str, what: str, dtype: str = "u1") -> NDArray[Any]:
        pane = f"viewer.panes.find(p => p.plane === '{plane}' && p.side === 0)"
        shape = self(f"(p => [p.shown.height, p.shown.width])({pane})")
        return self.array(f"{pane}.{what}", dtype=dtype).reshape(*shape, -1)


def on_the_web(root: Path, app: App | None = None) -> Iterator[Site]:
    """A folder on a web server until the next step; pages that show it are closed before the server is."""
    server = Watched(app or folder(root))
    with served(server) as url:
        site = Site(root, server, url)
        yield site
        # A page that is still reading would log that nobody answers.
        for page in site.pages:
            if not page.is_closed():
                page.close()


def greys(slice_: NDArray[Any], window: tuple[float, float]) -> NDArray[Any]:
    """A slice as the page's documentation says it is drawn, superior, anterior and right first."""
    low, high = window
    found = np.floor(np.clip((slice_[::-1, ::-1].astype(float) - low) / (high - low), 0, 1) * 255 + 0.5)
    return found.astype(np.uint8)


def checked_planes(view: View, case: cz.Case, at: tuple[int, int, int]) -> None:
    view.go(*at)
    for plane, (axis, _, _) in PLANES.items():
        expected = case.slice(at[axis], plane)  # type: ignore[arg-type]
        grey = greys(expected["image"], (-450, 1050))
        assert np.array_equal(view.pane(plane, "pixels.data")[..., 0], grey)
        shown = view.pane(plane, "shown.masks[0].voxels")[..., 0]
        assert np.array_equal(shown, expected["segmentation"][::-1, ::-1])
