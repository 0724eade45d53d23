"""The list of digests that `sha256sum -c` takes. Pure.

Whoever makes or mends a list by hand says by it that the files are as they want them, not that they are ours.
So a list of ours ends with the sha256 of all before its last line, and one that does not tells nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from ctspine_zarr.digest import sha256

KEY: Final = "manifest-sha256.txt"
"""Of the list, below a published store."""

MOST_BYTES: Final = 2**30
"""Of a list that is read: ten million lines."""

_FIRST: Final = "# sha256 of every object of this store and of what goes along with it, but for this list:"
_HOW: Final = "# in a copy of it, `sha256sum -c manifest-sha256.txt` compares them all."
_EARLIER: Final = "# earlier: "
_SEAL: Final = "# list: "
# Names have neither a backslash nor a line break, so that none is written as GNU's tools escape those.
_LINE: Final = re.compile(rb"(?:# earlier: )?([0-9a-f]{64})  (\S+)")


def manifest(digests: Mapping[str, str], earlier: Iterable[tuple[str, str]] = ()) -> bytes:
    """The list, in order of the keys; its last line, a comment, seals it.

    Args:
        digests: key below the store -> sha256.
        earlier: key and sha256 of what is about to be replaced, as comments: so that a run that goes on
            from an interrupted one knows what it wrote.
    """
    lines = [f"{digest}  {key}" for key, digest in sorted(digests.items())]
    before = [f"{_EARLIER}{digest}  {key}" for key, digest in sorted(earlier)]
    body = "\n".join([_FIRST, _HOW, *before, *lines, ""]).encode()
    return body + _seal(body)


def is_ours(data: bytes) -> bool:
    """Whether a list is as `manifest` made it: its first line is ours, its last one the seal of the rest."""
    # Of whatever it is, a seal is as long.
    body = data[: -len(_seal(b""))]
    return data.startswith(f"{_FIRST}\n".encode()) and data == body + _seal(body)


def listed(data: bytes) -> Mapping[str, set[str]]:
    """Key -> each sha256 that a list has, or had, of it; nothing of a list that is not ours.

    What is no line of one is passed over.
    """
    found = defaultdict[str, set[str]](set)
    if not is_ours(data):
        return found
    for line in data.splitlines():
        if (parts := _LINE.fullmatch(line)) is not None:
            found[parts[2].decode(errors="replace")].add(parts[1].decode())
    return found


def _seal(body: bytes) -> bytes:
    """The last line of a list."""
    return f"{_SEAL}{sha256(body)}\n".encode()
