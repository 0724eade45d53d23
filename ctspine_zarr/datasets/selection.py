"""A selection of a dataset's cases, by split, by source and by id."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ctspine_zarr.datasets.cases import Listing
from ctspine_zarr.errors import require_case, require_known
from ctspine_zarr.format.spec import Spec


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases that a build is for: names in collections, or one name; empty means all."""

    splits: Collection[str] = ()
    sources: Collection[str] = ()
    cases: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("splits", "sources", "cases"):
            asked = getattr(self, name)
            object.__setattr__(self, name, (asked,) if isinstance(asked, str) else tuple(asked))

    def __str__(self) -> str:
        asked = {"split": self.splits, "source": self.sources, "case": self.cases}
        return ", ".join(f"{what} {' or '.join(names)}" for what, names in asked.items() if names) or "all"

    def within(self, asked: Collection[str] | None, listing: Listing) -> Selection:
        """The selection without cases that a place was never meant to hold, and does not; named ones stay.

        Args:
            asked: ids of cases that were to be brought there; None where the place is no part of a dataset.
            listing: all cases of the dataset there.
        """
        if asked is None or self.cases:
            return self
        absent = {
            refusal.case for refusal in listing.refused if refusal.missing and refusal.case not in asked
        }
        return replace(self, cases=sorted(listing.ids - absent)) if absent < listing.ids else self

    def of(self, spec: Spec, listing: Listing) -> Listing:
        """The part of a dataset's listing that is selected, refusals included.

        Raises:
            UnknownValue: a split or source that the dataset does not have.
            UnknownCase: a case asked for by id is neither listed nor refused.
        """
        require_known("split", self.splits, spec.splits)
        require_known("source dataset", self.sources, spec.sources)
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
