"""A place that holds a dataset's files, and cases brought from it to this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, override

from ctspine_zarr import nifti
from ctspine_zarr.datasets.cases import CaseFile, Listing, SourceCase
from ctspine_zarr.datasets.dataset import Files
from ctspine_zarr.nifti import Header, Volume

type Which = Literal["image", "segmentation"]


class CaseVolumes(ABC):
    """The volumes of a case, which can be read on this machine.

    Attributes:
        case: as it was planned.
    """

    case: SourceCase

    @property
    def has_mask(self) -> bool:
        """Whether the case has a mask."""
        return self.case.segmentation is not None

    @abstractmethod
    def header(self, which: Which) -> Header:
        """The header of the volume; little more than it is read.

        Raises:
            CaseRefused: it is none that can be built from.
        """

    @abstractmethod
    def read(self, which: Which) -> Volume:
        """The volume, whole.

        Raises:
            CaseRefused: as `header`, or its voxels cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Fetched(CaseVolumes):
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

    @override
    def header(self, which: Which) -> Header:
        return nifti.read_header(self._path(which))

    @override
    def read(self, which: Which) -> Volume:
        return nifti.read(self._path(which))

    def _path(self, which: Which) -> Path:
        return self.paths[0 if which == "image" else 1]


class Supply[V: CaseVolumes](ABC):
    """A place from which the volumes of cases are taken, whatever they are made of."""

    ahead: ClassVar[int] = 0
    """Cases that are best fetched before they are needed."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the place, in messages."""

    @abstractmethod
    def fetch(self, case: SourceCase) -> V:
        """Make a case's volumes readable on this machine, where they are not yet.

        Raises:
            CaseRefused: they are not what the place has a record of.
            HubError: the place cannot be reached.
        """

    @abstractmethod
    def release(self, fetched: V) -> None:
        """Say that the volumes are not needed any more."""

    @property
    def pinned(self) -> str:
        """The location that names exactly these volumes; by default the name."""
        return self.name

    @property
    def folder(self) -> Path | None:
        """The local folder that holds the files; None where they are elsewhere."""
        return None

    @property
    def disk(self) -> Path | None:
        """The folder that files are brought to; None where they are on this machine."""
        return None

    def disk_bytes(self, cases: Iterable[SourceCase], workers: int) -> int:  # noqa: ARG002 - of other places
        """Most bytes that are brought here at once, with this many cases in flight."""
        return 0

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind that nobody asked to keep."""


class Source(Files, Supply[Fetched]):
    """A place that holds files, from which cases are fetched; whatever dataset they are of."""

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def local(self, file: CaseFile) -> Path | None:
        """Where a file lies on this machine; None where it is not there yet."""

    @property
    def asked(self) -> Collection[str] | None:
        """Ids of the cases that were to be brought here; None where the place is not a part of a dataset.

        Raises:
            SourceError: what the place says of that cannot be read.
        """
        return None

    def missing(self, chosen: Listing) -> Sequence[str]:  # noqa: ARG002 - of other sources
        """Names of files without which a build should not begin, for they may yet turn up."""
        return ()
