"""A place that holds a dataset's files, and cases brought from it to this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ctspine_zarr.datasets.cases import CaseFile, Listing, SourceCase
from ctspine_zarr.datasets.dataset import Files


@dataclass(frozen=True, slots=True)
class Fetched:
    """A case whose files are on this machine: where they lie; no `segmentation` where it has none."""

    case: SourceCase
    image: Path
    segmentation: Path | None

    @property
    def id(self) -> str:
        """Of the case."""
        return self.case.id

    @property
    def paths(self) -> tuple[Path, ...]:
        """The volume, then the mask where there is one."""
        return (self.image,) if self.segmentation is None else (self.image, self.segmentation)


class Source(Files, ABC):
    """A place that holds files, from which cases are fetched; whatever dataset they are of."""

    ahead: ClassVar[int] = 0
    """Cases that are best fetched before they are needed."""

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def fetch(self, case: SourceCase) -> Fetched:
        """Bring a case's files to this machine, where they are not there yet.

        Raises:
            CaseRefused: they are not what the source has a record of.
            HubError: the source cannot be reached.
        """

    @abstractmethod
    def release(self, fetched: Fetched) -> None:
        """Say that the files are not needed any more."""

    @abstractmethod
    def local(self, file: CaseFile) -> Path | None:
        """Where a file lies on this machine; None where it is not there yet."""

    @property
    def pinned(self) -> str:
        """The location that names exactly these files; by default the name."""
        return self.name

    @property
    def folder(self) -> Path | None:
        """The local folder that holds the files; None where they are elsewhere."""
        return None

    @property
    def disk(self) -> Path | None:
        """The folder that files are brought to; None where they are on this machine."""
        return None

    def disk_bytes(self, cases: Iterable[SourceCase], workers: int) -> int:  # noqa: ARG002 - of other sources
        """Most bytes that are brought here at once, with this many cases in flight."""
        return 0

    def missing(self, chosen: Listing) -> Sequence[str]:  # noqa: ARG002 - of other sources
        """Names of files without which a build should not begin, for they may yet turn up."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind that nobody asked to keep."""
