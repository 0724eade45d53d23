"""What the documents beside a published store speak of. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from ctspine_zarr.format.catalog import Root
from ctspine_zarr.format.findings import worst
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.publishing.papers.licences import Licence
from ctspine_zarr.publishing.papers.place import Place

CARD: Final = "README.md"


@dataclass(frozen=True, slots=True)
class Span:
    """The least, the median and the greatest of some numbers."""

    least: float
    median: float
    greatest: float

    def text(self, digits: int = 3) -> str:
        """`0.5 to 5, half of them at most 0.8`, or the one number that all have."""
        least, median, greatest = (f"{one:.{digits}g}" for one in (self.least, self.median, self.greatest))
        if least == greatest:
            return least
        return f"{least} to {greatest}, half of them at most {median}"


@dataclass(frozen=True)
class Publication:
    """A store at the place where it is published.

    Attributes:
        place: where it will be.
        root: of the store; its first build has ended.
        records: by case id, at least one, in the catalog's order.
        columns: key of a table -> column -> its kind, as `tables.parquet` has them.
    """

    place: Place
    root: Root
    records: Mapping[str, Record]
    columns: Mapping[str, Mapping[str, str]]

    @property
    def spec(self) -> Spec:
        """Of the dataset."""
        return self.root.dataset

    @property
    def licence(self) -> Licence:
        """Of the dataset."""
        return Licence.of(self.spec.licence)

    @property
    def written(self) -> str:
        """The day of the store's state, in ISO 8601; empty where the root has none."""
        return self.root.provenance.written[:10]

    @property
    def example(self) -> Record:
        """The first case."""
        return next(iter(self.records.values()))

    @property
    def masks(self) -> int:
        """Cases that have one."""
        return sum(record.has_mask for record in self.records.values())

    @property
    def patients(self) -> int:
        """As far as the dataset tells them apart."""
        return len({record.patient_id for record in self.records.values()})

    @property
    def stored_bytes(self) -> int:
        """Of the shards."""
        return sum(record.stored_bytes for record in self.records.values())

    @property
    def source_bytes(self) -> int:
        """Of the files that the store was made from."""
        return sum(record.source_bytes for record in self.records.values())

    @property
    def of_source(self) -> Counter[str]:
        """Source -> cases, of the sources that there are cases of, in the spec's order."""
        counts = Counter(record.source for record in self.records.values())
        return Counter({source: counts[source] for source in self.spec.sources if counts[source]})

    @property
    def of_split(self) -> Counter[str]:
        """Split -> cases, in the same way."""
        counts = Counter(record.split for record in self.records.values())
        return Counter({split: counts[split] for split in self.spec.splits if counts[split]})

    @property
    def of_label(self) -> Counter[str]:
        """Label -> cases that have it, in the spec's order."""
        counts = Counter(one.name for record in self.records.values() for one in record.labels)
        return Counter({name: counts[name] for name in self.spec.labels.values() if counts[name]})

    @property
    def of_finding(self) -> Counter[str]:
        """Code of a finding -> cases that have it, the most frequent first."""
        codes = ({one.code for one in record.findings} for record in self.records.values())
        return Counter(dict(Counter(code for found in codes for code in sorted(found)).most_common()))

    @property
    def of_severity(self) -> Counter[str]:
        """Worst severity of its findings -> cases; of cases without one, `none`."""
        return Counter(worst(record.findings) or "none" for record in self.records.values())

    @cached_property
    def slices(self) -> Span:
        """Axial slices of a case."""
        return _span([record.shape[0] for record in self.records.values()])

    @cached_property
    def spacing(self) -> tuple[Span, Span, Span]:
        """Mm between voxels, (z, y, x)."""
        z, y, x = zip(*(record.spacing for record in self.records.values()), strict=True)
        return _span(z), _span(y), _span(x)

    @property
    def hu(self) -> tuple[float, float]:
        """The least and the greatest HU of any voxel."""
        found = [record.intensity for record in self.records.values()]
        return min(one.min for one in found), max(one.max for one in found)


def _span(numbers: list[float] | tuple[float, ...] | list[int]) -> Span:
    return Span(min(numbers), statistics.median_low(numbers), max(numbers))
