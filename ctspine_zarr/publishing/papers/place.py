"""The place of a published store, and the addresses of what lies there. Pure."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

_HUB: Final = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?", re.DOTALL)
_PAGES: Final = "https://huggingface.co/datasets"
_MAIN: Final = "main"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is published.

    Attributes:
        location: what opens it; of a folder on a disk its name alone, which says nothing of the disk.
        repository: USER/NAME on the Hub; empty elsewhere.
        revision: the branch that is published to, on the Hub.
        folder: below the repository's top.
    """

    location: str
    repository: str = ""
    revision: str = _MAIN
    folder: str = ""

    @classmethod
    def of(cls, location: str) -> Place:
        """The place at a location."""
        if "://" not in location:
            return cls(PurePath(location).name or location)
        found = _HUB.fullmatch(location)
        if found is None:
            return cls(location)
        revision = urllib.parse.unquote(found[2]) if found[2] else _MAIN
        return cls(location, found[1], revision, found[3] or "")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder on a disk."""
        return "://" not in self.location

    @property
    def is_top(self) -> bool:
        """Whether the card there is that of a whole repository on the Hub."""
        return bool(self.repository) and not self.folder

    @property
    def url(self) -> str:
        """Of a page about it, or of itself; empty of a folder on a disk."""
        if self.repository:
            branch = "" if self.revision == _MAIN and not self.folder else self._at("tree")
            return f"{_PAGES}/{self.repository}{branch}"
        return "" if self.is_folder else self.location

    def file_url(self, key: str) -> str:
        """Of a file there: on the Hub an address that is complete, elsewhere one relative to the store."""
        return f"{_PAGES}/{self.repository}{self._at('resolve')}/{key}" if self.repository else key

    def _at(self, verb: str) -> str:
        folder = f"/{urllib.parse.quote(self.folder)}" if self.folder else ""
        return f"/{verb}/{urllib.parse.quote(self.revision, safe='')}{folder}"
