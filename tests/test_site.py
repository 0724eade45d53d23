"""The built site: every link and anchor leads somewhere, and no page loads anything from elsewhere.

`make docs` builds it and runs this; without it there is nothing to look at.
"""

from __future__ import annotations

import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = Path(os.environ.get("CTSPINE_SITE", ""))
pytestmark = pytest.mark.skipif(
    "CTSPINE_SITE" not in os.environ, reason="needs the site: make docs, which runs this"
)

# What a browser fetches by itself; a link is followed by a person.
LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src",),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "use": ("href",),
}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch"}


class Page(HTMLParser):
    """A page's anchors, links, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        self.loads += [given[name] for name in LOADS.get(tag, ()) if name in given]
        self.loads += re.findall(r"url\(([^)]*)\)", given.get("style", ""))


@cache
def page(path: Path) -> Page:
    return Page(path)


PATHS = sorted(SITE.rglob("*.html")) if "CTSPINE_SITE" in os.environ else []


def is_elsewhere(target: str) -> bool:
    """Whether a target names a host; what is in the page itself, as `data:`, is not fetched."""
    return bool(urlsplit(target).netloc)


def test_the_site_has_every_kind_of_page() -> None:
    names = {str(path.relative_to(SITE)) for path in PATHS}
    assert names >= {
        "index.html",
        "api.html",
        "api/ctspine_zarr.Store.html",
        "notebooks/explore.html",
        "tutorials/analyst.html",
        "troubleshooting.html",
    }


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SITE)))
def test_a_page_loads_nothing_from_elsewhere(path: Path) -> None:
    loads = page(path).loads
    assert loads
    assert [target for target in loads if is_elsewhere(target)] == []


def test_no_style_or_script_loads_anything_from_elsewhere() -> None:
    styles = [*SITE.rglob("*.css")]
    assert styles
    for path in styles:
        text = path.read_text()
        assert not re.search(r"(@import\s+|url\(\s*)[\"']?(https?:)?//", text), path
    for path in SITE.rglob("*.js"):
        text = path.read_text()
        assert not re.search(r"(import\(?|fetch\(|importScripts\(|\.src\s*=)\s*[\"'](https?:)?//", text), path


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SITE)))
def test_every_link_and_anchor_leads_somewhere(path: Path) -> None:
    for target in page(path).links:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            assert parts.scheme in {"https", "http", "mailto"}, target
            continue
        found = path.parent / unquote(parts.path) if parts.path else path
        assert found.is_file(), target
        if parts.fragment and found.suffix == ".html":
            assert unquote(parts.fragment) in page(found.resolve()).ids | {"top"}, target


@pytest.mark.parametrize("name", ["explore", "bone_density", "train", "clusters"])
def test_a_notebook_is_shown_with_its_outputs(name: str) -> None:
    text = (SITE / "notebooks" / f"{name}.html").read_text()
    assert "cell_output" in text
    assert "Traceback" not in text
    if name != "clusters":
        assert re.search(r'<img[^>]+src="[^"]*\.png"', text)


def test_no_page_says_where_it_was_built() -> None:
    home = str(Path(__file__).parents[1])
    assert [path for path in PATHS if home in path.read_text()] == []
