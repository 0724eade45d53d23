"""What every kind of source says of its cases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ctspine_zarr.dataset import SOURCE_NAMES, SPLIT_NAMES
from ctspine_zarr.errors import require_case, require_known


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One `.nii.gz` of a case, wherever it lies.

    Attributes:
        path: below the source.
        bytes: its size.
        sha256: where the source has a record of it.
    """

    path: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SourceCase:
    """A case whose two files are there; whether they are any good is not yet known.

    Attributes:
        id: file name without `.nii.gz`.
        split, source: train, validation or test; one of the four source datasets.
        image, segmentation: the files.
        spreadsheet: rows of the dataset's spreadsheet for this patient, column -> value.
    """

    id: str
    split: str
    source: str
    image: CaseFile
    segmentation: CaseFile
    spreadsheet: tuple[Mapping[str, Any], ...] = ()

    @property
    def bytes(self) -> int:
        """Size of both files."""
        return self.image.bytes + self.segmentation.bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """A case whose files are on this machine: where they lie."""

    case: SourceCase
    image: Path
    segmentation: Path

    @property
    def id(self) -> str:
        """Of the case."""
        return self.case.id


@dataclass(frozen=True, slots=True)
class Refusal:
    """A case that cannot be built and why.

    Attributes:
        case: its id.
        reason: what was asked, what was seen and what is legal.
        split, source: as far as they are known.
    """

    case: str
    reason: str
    split: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a source holds: the cases to build, and the ones refused on sight."""

    cases: tuple[SourceCase, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Of all of them."""
        return frozenset([case.id for case in self.cases] + [refusal.case for refusal in self.refused])


class Source(ABC):
    """Where the dataset's files are."""

    ahead: ClassVar[int] = 0
    """Cases that are best fetched before they are needed."""

    @abstractmethod
    def listing(self) -> Listing:
        """All cases.

        Raises:
            SourceError: it is not laid out as the dataset.
        """

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


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases of a source a build is for: names in collections, or one name; empty means all.

    Raises:
        UnknownValue: a split or source that the dataset does not have.
    """

    splits: Collection[str] = ()
    sources: Collection[str] = ()
    cases: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("splits", "sources", "cases"):
            asked = getattr(self, name)
            object.__setattr__(self, name, (asked,) if isinstance(asked, str) else tuple(asked))
        require_known("split", self.splits, SPLIT_NAMES)
        require_known("source dataset", self.sources, SOURCE_NAMES)

    def __str__(self) -> str:
        asked = {"split": self.splits, "source": self.sources, "case": self.cases}
        return ", ".join(f"{what} {' or '.join(names)}" for what, names in asked.items() if names) or "all"

    def of(self, listing: Listing) -> Listing:
        """The part of a listing that is selected, refusals included.

        Raises:
            UnknownCase: a case asked for by id is neither listed nor refused.
        """
        for case in self.cases:
            require_case(case, listing.ids, "the source")
        return Listing(
            tuple(c for c in listing.cases if self._takes(c.id, c.split, c.source)),
            tuple(r for r in listing.refused if self._takes(r.case, r.split, r.source)),
        )

    def _takes(self, case: str, split: str | None, source: str | None) -> bool:
        # What is unknown of a refused case cannot exclude it: better one report too many.
        return (
            (not self.cases or case in self.cases)
            and (not self.splits or split is None or split in self.splits)
            and (not self.sources or source is None or source in self.sources)
        )
