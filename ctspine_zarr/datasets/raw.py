"""A dataset's own files as its repository has them, and the document of a tree of them on a disk. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ctspine_zarr.errors import SourceError
from ctspine_zarr.format.encoding import Sha256
from ctspine_zarr.format.names import is_device, printable

type Kind = Literal["image", "mask", "metadata", "other"]

KINDS: Final = ("image", "mask", "metadata", "other")
"""Of raw files: volumes and masks of cases, what a build reads beside them, and all else."""

DOCUMENT: Final = "ctspine-zarr-raw.json"
"""The name of a tree's document."""

WORKPLACE: Final = ".ctspine-zarr-raw"
"""The folder of a tree for what is not whole yet."""

_LEGAL: Final = (
    "folders and a name with slashes between them, each of 1 to 200 bytes of printable characters, none of "
    '\\ : * ? " < > |, no dot or blank at its end, none of the names that Windows gives devices, such as NUL'
)
_MOST_PART: Final = 200
_MOST_PATH: Final = 1024
_FORBIDDEN: Final = frozenset('\\:*?"<>|')
_PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of a dataset's repository.

    Attributes:
        path: below the repository's folder, '/'-separated.
        kind: `image`, `mask`, `metadata` or `other`.
        case, split, source: of an image or a mask; None of others.
        size: bytes.
        sha256: where the Hub has a record of it, as of every large file.
        blob: git's id of others.
        url: of the file at the commit.
    """

    path: str
    kind: Kind
    case: str | None
    split: str | None
    source: str | None
    size: int
    sha256: str | None
    blob: str | None
    url: str


class KeptFile(Struct, frozen=True):
    """A file that a tree was to hold.

    Attributes:
        path: below the tree.
        size: bytes.
        sha256: as it was when it was last compared with the Hub's record; None of one that never came.
    """

    path: str
    size: Annotated[int, Meta(ge=0)]
    sha256: Sha256 | None


class KeptRefusal(Struct, frozen=True):
    """A case that was asked for and is not in the tree."""

    case: str
    reason: str


class TreeDocument(Struct, frozen=True, kw_only=True):
    """What a tree says of itself.

    Attributes:
        format: version of this document.
        repository: where it is from, without a revision.
        revision: that was asked for last; None for the main branch.
        commit: of every file.
        is_whole: whether all that was ever asked for is there; false from the begin of a download to its end.
        cases: ids of those that were asked for.
        refused: those of them that the repository does not have as a whole.
        files: all that were asked for.
    """

    format: Literal[1] = 1
    repository: str
    revision: str | None
    commit: str
    is_whole: bool
    cases: tuple[str, ...]
    refused: tuple[KeptRefusal, ...]
    files: tuple[KeptFile, ...]


def require_paths(paths: Iterable[str], place: str) -> None:
    """Do nothing where files of these paths can lie side by side below a folder, on any system.

    Args:
        paths: as a server lists them.
        place: in messages.

    Raises:
        SourceError: one leads elsewhere or is not legal, or two differ by case alone.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        _require_path(path, place)
        twin = seen.setdefault(_folded(path), path)
        if twin != path:
            message = (
                f"{place} lists {printable(path)} and {printable(twin)}; legal: paths that differ by more "
                "than case"
            )
            raise SourceError(message)
        folders |= {_folded(str(parent)): path for parent in PurePosixPath(path).parents[:-1]}
    for folded in seen.keys() & folders.keys():
        message = f"{place} lists {printable(seen[folded])} as a file and as a folder; legal: one of them"
        raise SourceError(message)


def _require_path(path: str, place: str) -> None:
    parts = path.split("/")
    is_own = _folded(parts[0]) in {_folded(DOCUMENT), _folded(WORKPLACE)} or path.endswith(_PARTIAL)
    if is_own or len(path.encode("utf-8", "replace")) > _MOST_PATH or not all(map(_is_part, parts)):
        message = f"{place} lists {printable(path[:_MOST_PATH])!r}; legal: {_LEGAL}"
        raise SourceError(message)


def _is_part(part: str) -> bool:
    return (
        0 < len(part.encode("utf-8", "replace")) <= _MOST_PART
        and part.isprintable()
        and part[-1] not in {".", " "}
        and not _FORBIDDEN & set(part)
        and not is_device(part)
    )


def _folded(path: str) -> str:
    """What paths have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", path).casefold()
