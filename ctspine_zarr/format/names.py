"""Legal names: of cases, splits, sources and mask groups, which become names of folders and URLs. Pure.

One rule holds for all of them, so that a store can be moved between file systems, buckets and
browsers: it is what Linux, macOS, Windows, the Zarr v3 specification and URLs have in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

LEGAL: Final = (
    "1 to 128 of the characters A-Z a-z 0-9 . _ -, the first a letter or digit, the last no dot, "
    "no name that Windows or Zarr reserves"
)
"""The rule, as error messages have it."""

_FORM: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?")
# Devices keep their names with any ending: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICES: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
# Of Zarr's and of ours, at the places where names stand; the receipt of a case `zarr` would be a `zarr.json`.
_RESERVED: Final = frozenset({"zarr.json", "zarr", "receipts", "builds"})


def is_legal_name(name: object) -> bool:
    """Whether a name fits the rule that `LEGAL` states."""
    return (
        isinstance(name, str)
        and _FORM.fullmatch(name) is not None
        and not is_device(name)
        and name.lower() not in _RESERVED
    )


def is_device(name: str) -> bool:
    """Whether Windows takes a name for a device's."""
    return _DEVICES.fullmatch(name) is not None


def require_legal(what: str, names: Iterable[str]) -> None:
    """Do nothing where every name is legal, and no two differ by case alone.

    Raises:
        ValueError: one is not, or two do; the message says which.
    """
    names = list(names)
    for name in names:
        if not is_legal_name(name):
            message = f"{what} {name!r}; legal: {LEGAL}"
            raise ValueError(message)
    for name, others in colliding(names).items():
        message = f"{what} {name!r} beside {others[0]!r}; legal: names that differ by more than case"
        raise ValueError(message)


def colliding(names: Iterable[str]) -> dict[str, list[str]]:
    """Each name that is another's but for upper and lower case -> the others."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        alike[name.lower()].add(name)
    return {
        name: sorted(group - {name}) for group in alike.values() if len(group) > 1 for name in sorted(group)
    }


def printable(text: str) -> str:
    """A text that can be shown on one line: what is not printable, such as line breaks and marks of writing
    direction, is written as an escape.
    """
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
