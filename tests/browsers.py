"""The viewer's page in a headless Chromium; what uses it is skipped where there is none."""

from __future__ import annotations

import base64
import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")

SHOWN = (
    "(p.shown && p.shown.key === viewer.record.id + ' ' + viewer.state.at[p.axis] + ' ' "
    "+ viewer.overlaysOf(p.side).map(o => o.name))"
)
"""Whether a pane `p` shows what it should."""


@dataclass
class Viewed:
    """A page of the viewer.

    Attributes:
        page: of the browser.
        requests: addresses that the page asked for.
        faults: errors of its scripts.
    """

    page: Any
    requests: list[str] = field(default_factory=list, kw_only=True)
    faults: list[str] = field(default_factory=list, kw_only=True)

    def __call__(self, script: str, argument: Any = None) -> Any:
        """The value of an expression of JavaScript; `viewer` is the page's App."""
        return self.page.evaluate(script, argument)

    def until(self, condition: str) -> None:
        """Once a condition holds; an error with the page's message where it does not in two minutes."""
        self(
            f"""new Promise((done, fail) => {{
            const holds = () => {{ try {{ return {condition}; }} catch {{ return false; }} }};
            const look = () => holds() ? done() : requestAnimationFrame(look);
            look();
            setTimeout(() => fail(new Error(document.querySelector("#message").innerText)), 120000);
        }})"""
        )

    def settled(self) -> None:
        """Once every plane shows what it should."""
        self.until(f"viewer.panes.every(p => (p.side && !viewer.isBeside) || {SHOWN}) && !viewer.isDrawing")

    def go(self, *at: int) -> None:
        self("at => viewer.goTo(at)", list(at))
        self.settled()

    def array(self, script: str, argument: Any = None, dtype: str = "u1") -> NDArray[Any]:
        """The bytes of a typed array, or of the one that is promised."""
        coded = self(
            f"""async argument => {{
            const array = await ({script});
            const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
            let text = "";
            for (let at = 0; at < bytes.length; at += 32768)
                text += String.fromCharCode(...bytes.subarray(at, at + 32768));
            return btoa(text);
        }}""",
            argument,
        )
        return np.frombuffer(base64.b64decode(coded), dtype)


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser, headless, begun with these arguments."""
    with playwright.sync_playwright() as started:
        # Without the sandbox, which root cannot have.
        one = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield one
        one.close()


@contextlib.contextmanager
def watched[Where, V: Viewed](
    browser: Any, kind: Callable[[Any, Where], V]
) -> Iterator[tuple[Callable[[Where], V], list[V]]]:
    """What makes new pages of a kind, and those that it made: at the end none of them has made an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    views: list[V] = []

    def new(where: Where) -> V:
        view = kind(context.new_page(), where)
        view.page.on("request", lambda request: view.requests.append(request.url))
        view.page.on("pageerror", lambda error: view.faults.append(str(error)))
        views.append(view)
        return view

    yield new, views
    context.close()
    faults = [(view.page.url, fault) for view in views for fault in view.faults]
    assert faults == [], faults
