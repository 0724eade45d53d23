"""Files on the Hub as the Hub records and lists them, and those on this machine that are to go there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from ctspine_zarr.digest import sha256
from ctspine_zarr.locks import STRUCTURES


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the Hub records it.

    Attributes:
        size: in bytes.
        sha256: of large files, and of those that are binary; None of others.
        blob: git's id of the others; None where no usable one is told, by which no bytes are known.
    """

    size: int
    sha256: str | None
    blob: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether bytes can be compared with the record."""
        return self.sha256 is not None or self.blob is not None

    def is_of(self, data: bytes) -> bool:
        """Whether the record is that of these bytes."""
        if self.sha256 is not None:
            return (self.size, self.sha256) == (len(data), sha256(data))
        return (self.size, self.blob) == (len(data), git_blob(data))

    def holds(self, size: int, digest: str, read: Callable[[], bytes | None]) -> bool:
        """Whether the record is that of a file of this size and sha256; a small one's bytes are asked for."""
        if self.size != size or self.sha256 is not None:
            return (self.size, self.sha256) == (size, digest)
        data = read()
        return data is not None and sha256(data) == digest and self.is_of(data)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine that is to be sent, if it has this sha256 still."""

    path: Path
    sha256: str


class Sink(Protocol):
    """What takes the bytes of a file in order."""

    @property
    def size(self) -> int:
        """Bytes that it has."""

    def take(self, part: bytes | memoryview) -> None:
        """Add some."""


class _Large(msgspec.Struct):
    """What a listing says of a file that is not in git itself."""

    oid: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Entry(msgspec.Struct):
    """A line of a listing: a file, or a folder."""

    type: str
    path: str
    oid: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{40,64})?\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    lfs: _Large | None = None


class _Info(msgspec.Struct):
    """What the Hub says of a repository at a revision."""

    sha: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{40,64}\Z")]


def commit_of(page: bytes) -> str:
    """The commit of a revision, of what the Hub's API says of it.

    Raises:
        json.JSONDecodeError: it is no JSON.
        msgspec.ValidationError: it says something else.
    """
    with STRUCTURES:
        return msgspec.convert(json.loads(page), _Info).sha


def files_of(page: bytes) -> list[tuple[str, RemoteFile]]:
    """Path and file for each file of a page of a listing.

    Raises:
        json.JSONDecodeError, msgspec.ValidationError: as `commit_of`.
    """
    with STRUCTURES:
        entries = msgspec.convert(json.loads(page), list[_Entry])
    return [
        (entry.path, RemoteFile(entry.size, entry.lfs.oid if entry.lfs else None, entry.oid or None))
        for entry in entries
        if entry.type == "file"
    ]


def size_of(data: bytes | LocalFile) -> int:
    """Bytes that are to be sent."""
    return len(data) if isinstance(data, bytes) else data.path.stat().st_size


def git_blob(data: bytes) -> str:
    """Git's own id of a file, the Hub's only record of small ones."""
    found = git_hash(len(data))
    found.update(data)
    return found.hexdigest()


def git_hash(size: int) -> hashlib._Hash:
    """The hash of which git's id of a file comes once its bytes were taken in, of which there are so many."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
