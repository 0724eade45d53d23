"""A local folder as a source: only what a dataset may call its own is looked at."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import override

from ctspine_zarr import nifti
from ctspine_zarr.datasets import GLOBS
from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.datasets.dataset import MAX_DOCUMENT_BYTES
from ctspine_zarr.datasets.raw import DOCUMENT, TreeDocument
from ctspine_zarr.errors import CaseRefused, Malformed, SourceError
from ctspine_zarr.format.encoding import parse
from ctspine_zarr.format.names import printable
from ctspine_zarr.nifti.opening import open_source_file
from ctspine_zarr.sources.source import Fetched, Source


@dataclass(frozen=True)
class FolderSource(Source):
    """A folder on this machine.

    Links are followed. What is no regular file, such as a FIFO, is listed, and refused when it is
    described or read: at once, whatever it is.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    @override
    def name(self) -> str:
        return os.path.normpath(self.root.absolute())

    @property
    @override
    def folder(self) -> Path:
        return self.root

    @cached_property
    def paths(self) -> Sequence[str]:
        """Of all that matches a pattern of any dataset; nothing else is looked at.

        Raises:
            SourceError: a folder cannot be listed.
        """
        patterns = [tuple(pattern.split("/")) for pattern in GLOBS]
        return sorted(_matching(self.root, "", patterns))

    @override
    def read(self, path: str) -> bytes | None:
        try:
            return read_document(self.root / path)
        except FileNotFoundError:
            return None
        except CaseRefused as error:
            message = f"{self.root}/{path}: {error}"
            raise SourceError(message) from error
        except OSError as error:
            message = f"{self.root}/{path}: {error.strerror}"
            raise SourceError(message) from error

    @property
    @override
    def asked(self) -> Collection[str] | None:
        """Of a tree that `download_raw` has brought here."""
        document = read_tree(self.root)
        return None if document is None else document.cases

    @override
    def describe(self, path: str) -> CaseFile:
        size, ending = nifti.size_and_ending(self.root / path)
        return CaseFile(path, size, ending=ending)

    @override
    def fetch(self, case: SourceCase) -> Fetched:
        mask = case.segmentation
        return Fetched(case, self.root / case.image.path, None if mask is None else self.root / mask.path)

    @override
    def release(self, fetched: Fetched) -> None:
        """The files are the user's."""

    @override
    def close(self) -> None:
        """Nothing was brought here."""

    @override
    def local(self, file: CaseFile) -> Path:
        return self.root / file.path


def read_document(path: Path) -> bytes:
    """The bytes of a small regular file.

    Raises:
        CaseRefused: it is something else, or larger than `MAX_DOCUMENT_BYTES`.
        OSError: it cannot be read.
    """
    with open_source_file(path) as file:
        data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        message = f"more than {MAX_DOCUMENT_BYTES} bytes; legal: a document of at most that"
        raise CaseRefused(message)
    return data


def read_tree(root: Path) -> TreeDocument | None:
    """What a folder says of itself as a tree of raw files; None where it says nothing.

    Raises:
        SourceError: it cannot be read, or is no such document.
    """
    path = root / DOCUMENT
    try:
        return parse(read_document(path), TreeDocument)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, CaseRefused, Malformed) as error:
        message = f"{path} is no document of a download: {error}; legal: one, or none"
        raise SourceError(message) from error


def read_split_list(path: Path) -> str:
    """The text of a split list that a user names.

    Raises:
        SourceError: it cannot be read, or is no text.
    """
    try:
        return read_document(path).decode()
    except (OSError, CaseRefused, UnicodeDecodeError) as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else str(error)
        message = f"no split list at {path} ({reason}); give one with --split-file FILE"
        raise SourceError(message) from error


def _matching(folder: Path, above: str, patterns: Collection[tuple[str, ...]]) -> Iterator[str]:
    """Paths below a folder that match a pattern, one part of it a level."""
    for name in _names(folder):
        below = {parts[1:] for parts in patterns if fnmatchcase(name, parts[0])}
        if () in below:
            yield f"{above}{name}"
        if below - {()}:
            yield from _matching(folder / name, f"{above}{name}/", below - {()})


def _names(folder: Path) -> list[str]:
    """What lies in a folder; nothing where it is none."""
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        # A path with a zero byte is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"cannot list {printable(str(folder))}: {reason}"
        raise SourceError(message) from error
