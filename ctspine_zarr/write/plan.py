"""The plan of a build, before any byte of it: what is to be there, and what is there already."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from ctspine_zarr.datasets.cases import Refusal
from ctspine_zarr.datasets.metadata import Joined, MetadataTable
from ctspine_zarr.errors import NoSpace
from ctspine_zarr.format.catalog import Entry
from ctspine_zarr.format.profiles import PROFILES, Profile
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look import markup
from ctspine_zarr.manifest.holdings import Holdings
from ctspine_zarr.sources.source import Supply
from ctspine_zarr.storage import Storage, free_bytes, share_disk
from ctspine_zarr.text import cases_table, size
from ctspine_zarr.write.document import Part, PlanDocument, PlannedCase
from ctspine_zarr.write.estimates import worker_memory

# Measured on real masks: bytes of an encoded mask per byte of its `.nii.gz`.
_MASK_RATIO: Final = 0.26
# The metadata objects of a case, its receipt, and its rows of the tables.
_METADATA_BYTES: Final = 110_000

SWITCH_BYTES: Final = 1 << 30
"""Bytes of cases that are encoded anew, after which their old ones go: each time lists the store."""


@dataclass(frozen=True, slots=True)
class PendingCase(PlannedCase):
    """A planned case that is not whole yet.

    Attributes:
        earlier: the record of the case of that id that the store has, which keeps its place until the
            build has ended.
    """

    earlier: Record | None = None


@dataclass(frozen=True)
class Plan:
    """A build before it starts.

    Attributes:
        document: what is to be there.
        source: where the files are.
        storage: where the store is, or will be.
        holdings: what is there already.
        workers: cases in flight at once.
        pending: cases to build, largest first, so that no large one is left for the end.
        whole: the selected cases that are built already.
        refused: selected cases that cannot be tried.
        part: of the document, where others build the rest.
        rebuild: whether cases of another codec or chunk are built again.
        metadata: tables that are joined to the cases once they are built.
    """

    document: PlanDocument
    source: Supply[Any]
    storage: Storage
    holdings: Holdings
    workers: int
    pending: tuple[PendingCase, ...]
    whole: tuple[Entry, ...]
    refused: tuple[Refusal, ...]
    part: Part | None = None
    rebuild: bool = False
    metadata: tuple[MetadataTable, ...] = ()

    @property
    def joined(self) -> tuple[Joined, ...]:
        """The tables beside the cases that the build is for, those that are refused left out.

        A row of a case that the source, or the store, has beside them is not unmatched.
        """
        own = {one.case.id: one.case.patient_id for one in self.document.cases}
        stored = {case: entry.record.patient_id for case, entry in self.holdings.entries.items()}
        every = dict.fromkeys(self.document.elsewhere, "") | stored | own
        found = []
        for table in self.metadata:
            every_row = table.joined(every)
            found.append(replace(table.joined(own), unmatched_rows=every_row.unmatched_rows))
        return tuple(found)

    def joining(self, tables: tuple[MetadataTable, ...]) -> Self:
        """The plan with tables of metadata.

        Raises:
            SourceError: none of the rows of one is of a case that there is.
        """
        found = replace(self, metadata=tables)
        for table, joined in zip(tables, found.joined, strict=True):
            # Of cases that are not selected nobody knows the patients.
            if table.by == "case" or not self.document.elsewhere:
                joined.require_some(table)
        return found

    @property
    def spec(self) -> Spec:
        """The dataset's description."""
        return self.document.dataset

    @property
    def profile(self) -> Profile:
        """How arrays are encoded."""
        return PROFILES[self.document.codec]

    @property
    def ids(self) -> tuple[str, ...]:
        """The cases that the build is for, refused ones not included."""
        return (*(p.case.id for p in self.pending), *(entry.record.id for entry in self.whole))

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """(split, source) -> cases, built ones included, refused ones not."""
        pending = ((p.case.split, p.case.source) for p in self.pending)
        return Counter([*pending, *((entry.record.split, entry.record.source) for entry in self.whole)])

    @property
    def read_bytes(self) -> int:
        """Bytes of `.nii.gz` still to be read."""
        return sum(planned.case.bytes for planned in self.pending)

    @property
    def store_bytes(self) -> int:
        """Estimated bytes still to be written, from ratios measured on real CT; more for images whose values
        are wider than what is on disk.
        """
        images = sum(p.case.image.bytes * p.widening for p in self.pending) * self.profile.image_ratio
        masks = sum(p.case.segmentation.bytes for p in self.pending if p.case.segmentation) * _MASK_RATIO
        return math.ceil(images + masks + _METADATA_BYTES * len(self.pending))

    @property
    def memory_bytes(self) -> int:
        """Upper bound of memory: for each worker what the largest case takes, which for int16 is two and a
        half times the inflated image, and 300 MB.
        """
        return self.workers * worker_memory(one.working_bytes for one in self.pending)

    @property
    def download_bytes(self) -> int:
        """Most bytes of `.nii.gz` that are here at once only to be built from; 0 for a local source."""
        return self.source.disk_bytes((p.case for p in self.pending), self.workers)

    @property
    def needed_bytes(self) -> int:
        """Estimated bytes that must be free for the store, and for downloads where they share its disk."""
        folder, store = self.source.disk, self.storage.path
        shared = folder is not None and store is not None and share_disk(folder, store)
        return self._new_bytes + (self.download_bytes if shared else 0)

    def _repr_html_(self) -> str:
        pending = [(p.case.id, p.case.split, p.case.source, size(p.case.bytes)) for p in self.pending]
        refused = markup.refusals((one.case, one.reason) for one in self.refused)
        table = markup.bounded(("to build", "split", "source", ".nii.gz"), pending)
        return markup.block(
            f"Plan: {self.storage.location}", [], [markup.lines(describe(self)), table, refused]
        )

    @property
    def _new_bytes(self) -> int:
        """Of what is there at once beside what was: of cases encoded anew, the old ones go now and then."""
        is_in_turn = self.rebuild and self.part is None and all(case.earlier for case in self.pending)
        return min(self.store_bytes, 2 * SWITCH_BYTES) if is_in_turn else self.store_bytes

    @property
    def free_bytes(self) -> int | None:
        """Bytes free where the store will be; None where nobody can say."""
        return self.storage.free_bytes()

    def require_space(self) -> None:
        """Refuse to begin what cannot end.

        Raises:
            NoSpace: fewer bytes are free than the estimate, for the store or for downloads.
        """
        folder = self.source.disk
        if folder is not None and free_bytes(folder) < self.download_bytes:
            message = (
                f"{folder}: {size(self.download_bytes)} are needed for downloads, "
                f"{size(free_bytes(folder))} are free; free some, or set HF_HOME to another disk"
            )
            raise NoSpace(message)
        needed, free = self.needed_bytes, self.free_bytes
        if free is not None and free < needed:
            message = (
                f"{self.storage.location}: about {size(needed)} are needed, {size(free)} are free; "
                "free some, choose another place, or build fewer cases with --split or --case"
            )
            raise NoSpace(message)


def describe(plan: Plan) -> list[str]:
    """The plan in lines for a person: cases by split and source, bytes, memory, disk."""
    counts, spec = plan.counts, plan.spec
    by_split = {split: {s: counts.get((split, s), 0) for s in spec.sources} for split in spec.splits}
    free = plan.free_bytes
    short = "" if free is None or free >= plan.needed_bytes else ": too little"
    return [
        f"dataset      {spec.name}, licence {spec.licence}",
        *cases_table({split: row for split, row in by_split.items() if any(row.values())}),
        f"whole        {len(plan.whole)} of {sum(counts.values())} are built already",
        f"refused      {len(plan.refused)}",
        f"to read      {size(plan.read_bytes)} of .nii.gz in {len(plan.pending)} cases",
        *_downloads(plan),
        f"to write     about {size(plan.store_bytes)} with codec {plan.profile.name}",
        f"free disk    {'unknown' if free is None else size(free)} at {plan.storage.location}{short}",
        f"memory       at most {size(plan.memory_bytes)} with {plan.workers} workers",
        *_series(plan),
        *(f"metadata     {joined}" for joined in plan.joined),
    ]


def _series(plan: Plan) -> list[str]:
    cases = [one.case for one in plan.document.cases]
    lines = [line for case in cases for line in case.series]
    if not lines:
        return []
    has_lines = sum(bool(case.series) for case in cases)
    other = sum(line.study_date is None or line.series_number is None for line in lines)
    told = f"; {other} in another form, kept as text" if other else ""
    return [f"series       {len(lines)} lines of {has_lines} of {len(cases)} cases{told}"]


def _downloads(plan: Plan) -> list[str]:
    if plan.source.disk is None:
        return []
    return [f"downloads    at most {size(plan.download_bytes)} at a time at {plan.source.disk}"]
