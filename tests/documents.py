"""The pages of the documentation, taken apart: blocks of code, commands, links.

A fence of `python` is run, block after block of a page in one namespace; a word after it names a library
that it needs, `no-run` what can be compiled alone. A fence of `sh` has commands, all of them of known
programs; `sh run` are run, in their place among the Python, and `sh run=4` must end with status 4.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
# Made by a build of the site, or by a notebook.
MADE = ("_build", "api", ".ipynb_checkpoints", "_templates")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(
        str(path.relative_to(REPOSITORY))
        for path in sorted(DOCS.rglob("*.md"))
        if not any(part in MADE for part in path.relative_to(DOCS).parts)
    ),
]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))

# What begins a command where no fence says that it is one.
PROGRAMS = ("ctspine-zarr ", "make ", "python ", "pip ", "scripts/", "bash ", "git ", "export ")
_FENCE = re.compile(r"^(```+|:::+)\s*(.*)$")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page, line: where its first line stands, from 1.
        language: `python`, `sh`, what else a fence says, or `indented`.
        words: that follow it.
        text: with all line ends.
    """

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def status(self) -> int | None:
        """What commands that are run must end with; None where they are not run."""
        for word in self.words:
            if word == "run" or word.startswith("run="):
                return int(word.partition("=")[2] or 0)
        return None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, as a shell splits them; what is indented need not be one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language != "sh":
            lines = [line for line in lines if line.startswith(PROGRAMS)]
        parts = (part for line in lines for part in re.split(r"\s&&\s", _uncommented(line)))
        return [shlex.split(part) for part in parts if part.strip()]


def _uncommented(line: str) -> str:
    """A line without its comment, and without a file that its output goes to."""
    return re.sub(r"\s>\s\S+$", "", re.sub(r"(^|\s)#.*$", "", line).rstrip())


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text()


def blocks(page: str) -> list[Block]:
    """All blocks of code of a page, in order."""
    return list(_blocks(page, text_of(page).splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        first = number + 1
        if fence:
            number = first
            while number < len(lines) and lines[number].strip() != fence[1]:
                number += 1
            language, *words = fence[2].split() or [""]
            yield Block(page, first + 1, language, tuple(words), _joined(lines[first:number]))
        elif lines[number].startswith("    ") and (not number or not lines[number - 1].strip()):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            text = _joined([line[4:] for line in lines[first - 1 : number]])
            yield Block(page, first, "indented", (), text)
            number -= 1
        number += 1


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def prose(page: str) -> str:
    """A page without its blocks of code."""
    lines = text_of(page).splitlines()
    for block in blocks(page):
        count = block.text.count("\n")
        lines[block.line - 1 : block.line - 1 + count] = [""] * count
    return _joined(lines)


def inline(page: str) -> list[str]:
    """What a page has in backquotes, each in one line."""
    return [re.sub(r"\s+", " ", found[1]) for found in re.findall(r"(`+)(.+?)\1", prose(page), re.DOTALL)]


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")
        for heading in headings(page)
    }
