"""Texts of a dataset's as Markdown, YAML and Python show them, whatever is in them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

from ctspine_zarr.format.names import printable

# What Markdown would read as more than text; underscores within words, as of URLs, it does not.
_MARKS: Final = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])|\A[#+=-]")


def plain(text: str) -> str:
    """A text as one line of Markdown that shows it."""
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", one_line(text))


def quoted(text: str) -> str:
    """A text as JSON, YAML and Python write it, on one line."""
    return json.dumps(printable(text), ensure_ascii=False)


def one_line(text: str) -> str:
    """A text on one line, blanks drawn together, without anything that cannot be printed."""
    return printable(" ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
