"""What every kind of source says of its cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctspine_zarr.dataset import SOURCE_NAMES, SPLIT_NAMES
from ctspine_zarr.errors import require_case, require_known


@dataclass(frozen=True, slots=True)
class SourceCase:
    """A case whose two files are there; whether they are any good is not yet known.

    Attributes:
        id: file name without `.nii.gz`.
        split, source: train, validation or test; one of the four source datasets.
        image, segmentation: the `.nii.gz` files.
        image_bytes, segmentation_bytes: their sizes.
        spreadsheet: rows of the dataset's spreadsheet for this patient, column -> value.
    """

    id: str
    split: str
    source: str
    image: Path
    segmentation: Path
    image_bytes: int
    segmentation_bytes: int
    spreadsheet: tuple[Mapping[str, Any], ...] = ()

    @property
    def bytes(self) -> int:
        """Size of both files."""
        return self.image_bytes + self.segmentation_bytes


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
