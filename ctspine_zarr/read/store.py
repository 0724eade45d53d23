"""A store, or a selection from it: its cases, and what root and catalog say of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, Unpack, overload

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.errors import UnknownValue, require_case, require_known
from ctspine_zarr.format.catalog import Entry, Root
from ctspine_zarr.format.label_map import AnyMap, Ignored, LabelMap
from ctspine_zarr.format.label_sets import label_sets, with_mask
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.folds import (
    Group,
    Leak,
    Ties,
    alike,
    by_shares,
    by_split,
    groups_of,
    leaking,
    leaks_of,
    validations,
)
from ctspine_zarr.read.ids import CaseIds, ids_of
from ctspine_zarr.read.label_maps import label_map_of
from ctspine_zarr.read.select import Criteria, select
from ctspine_zarr.read.shown import ShownStore
from ctspine_zarr.storage import Storage, all_at_once
from ctspine_zarr.tables.records import case_table, label_table, metadata_table
from ctspine_zarr.tables.series import series_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray


class Store(ShownStore):
    """The cases of a store, or of a selection from it: a mapping of case id to `Case`.

    Everything but voxels and a case's attributes is known from root and catalog; no method here
    reads more, but where it says so.

    Attributes:
        storage: where the store is.
        root: the store's root: the dataset, counts, refused cases, provenance.
        entries: case id -> line of the catalog.
        reading: threads and caches.
        label_set: name of the label set that cases have in place of their masks; None for the masks.
    """

    def __init__(
        self,
        storage: Storage,
        root: Root,
        entries: Mapping[str, Entry],
        reading: Reading,
        label_set: str | None = None,
    ) -> None:
        self.storage = storage
        self.root = root
        self.entries = entries
        self.reading = reading
        self.label_set = label_set
        self._cases: dict[str, Case] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # Caches are left out of a pickle: reading again is faster than sending.
        return type(self), (self.storage, self.root, self.entries, self.reading, self.label_set)

    def __repr__(self) -> str:
        more = ", partial" * self.is_partial + f", labels {self.label_set!r}" * (self.label_set is not None)
        return f"<Store {self.location}: {self.spec.name}, {len(self)} cases{more}>"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __contains__(self, case: object) -> bool:
        return isinstance(case, str) and case in self.entries

    @overload
    # A text is an iterable of texts as well.
    def __getitem__(self, case: str) -> Case: ...  # type: ignore[overload-overlap]

    @overload
    def __getitem__(self, case: CaseIds) -> Self: ...

    def __getitem__(self, case: CaseIds) -> Case | Self:
        """A case by id, or several as `select(cases=...)` gives them, a store of their own.

        Raises:
            UnknownCase: no such case here; the message names the nearest ones.
            UnknownValue: several, as for `select`.
        """
        if not isinstance(case, str) and isinstance(case, Iterable):
            return self.select(cases=case)
        require_case(case, self.entries.keys(), self.location)
        # One Case an id: what it has read of its shards' indices is not read again.
        if case not in self._cases:
            self._cases[case] = Case(self.storage, self.entries[case], self._masks, self.reading)
        return self._cases[case]

    @property
    def location(self) -> str:
        """Where the store is."""
        return self.storage.location

    @property
    def spec(self) -> Spec:
        """The dataset's description: labels and their names, regions, splits, licence, citation."""
        return self.root.dataset

    @property
    def is_partial(self) -> bool:
        """Whether the first build has not ended: the cases are those that were whole when it was opened."""
        return self.root.is_partial

    @property
    def digest(self) -> str:
        """The seal of the root, 64 hex digits: who keeps it can prove every byte of the store by `verify`."""
        return self.root.seal

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """Case id -> what is known of it."""
        return {case: entry.record for case, entry in self.entries.items()}

    @property
    def label_sets(self) -> dict[str, int]:
        """Name -> cases here that have that label set beside their labels, in order of name."""
        return label_sets(self.records.values())

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row a case, indexed by case id.

        Columns: split, source, patient_id; slices, rows, columns (voxels along z, y, x);
        spacing_z, spacing_y, spacing_x (mm); orientation (of the source image's axes); hu_min,
        hu_max (HU, over every voxel), hu_mean, hu_std (without padding), hu_padding (its value, or
        None); has_mask; labels (names, in order of value), label_voxels; transitional (kind or
        None); findings (codes), severity (of the gravest, or None); spreadsheet (rows of the dataset's
        spreadsheet); study_date, study, series_number, series, position, thickness_mm, kernel (of the series
        that the case was made from, as `series` has them; missing where several may be it); dtype, codec,
        stored_bytes, source_bytes, path.
        """
        return case_table(self.records.values())

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row a series that a case may have been made from, or one of a case of which none is known.

        In the order of cases, and of their lines in the list of series. Several rows of a case are those
        among which nothing decides. What is not known is missing.

        Columns: case, split, source, patient_id; study_date (ISO text, de-identified by the archive),
        study_id, study (description), study_uid_end (its last five characters); series_number, series,
        series_uid_end; position (prone, supine), thickness_mm, kernel, as far as the description says them;
        collection (the name that the source has where it was published), licence and citation (what it
        states itself, or `unknown`), licence_note, doi, url; text (the line as it stands).
        """
        return series_table(self.records.values(), self.spec)

    @cached_property
    def vertebrae(self) -> pd.DataFrame:
        """One row a label of a case, such as a vertebra, in order of case and value.

        Of a selection by `labels` they are the labels of that set.

        Columns: case, split, source, patient_id; label (value), level (name, in order from the head
        down, then the labels that are no levels), region (the first of the spec's that has the label,
        or none); voxels, cm3 (by the affine's determinant); hu_mean, hu_std, hu_p00_5, hu_p05, hu_p50,
        hu_p95, hu_p99_5 (HU); start_z to stop_x (the bounding box in voxels, half open); centroid_z,
        centroid_y, centroid_x (in voxels) and right_mm, anterior_mm, superior_mm (the same in RAS+ mm,
        exact); pieces; is_cut (whether the box reaches the volume's edge); findings (codes of the
        case's that name the label).
        """
        return label_table(self.records.values(), self.spec)

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """One row a case, indexed by case id: the columns of every table that was joined (`add_metadata`).

        A column that several tables have is named `FILE:COLUMN`, and so is one named `case`. What a case
        lacks is missing: integers with gaps are `Int64`, flags with gaps `boolean`, so that
        `select(cases=store.metadata.age > 60)` leaves it out. Rows of the dataset's own spreadsheet stand in
        `cases`.

        Raises:
            DamagedStore: more columns, or cells, than any store that was written has.
        """
        return metadata_table(self.records.values())

    def select(self, **criteria: Unpack[Criteria]) -> Self:
        """The cases that fit every criterion, as a store of their own, in this one's order; may be empty.

        With `labels` its cases have those of that label set in place of their masks, wherever labels are
        read, counted or sampled; cases without the set are not in it.

        Raises:
            UnknownCase: `cases` with one that is not here; the message names the nearest ones.
            UnknownValue: a split, source, label or label set that does not exist; `cases` with one twice,
                or a boolean Series that does not say True or False exactly once of each case here; what is
                missing in one of dtype `boolean` is no True.
        """
        asked, cases = criteria.pop("labels", None), criteria.get("cases")
        store = self if asked is None or asked == self.label_set else self._with_labels(asked)
        if store is not self and cases is not None:
            # What is no case here is an error; what has no such labels is left out.
            named = ids_of(cases, self.records.keys(), self.location)
            criteria["cases"] = [case for case in store if case in named]
        chosen = select(store.records, self.spec, criteria, self.location)
        ids = {record.id for record in chosen}
        entries = {case: entry for case, entry in store.entries.items() if case in ids}
        return type(self)(self.storage, self.root, entries, self.reading, store.label_set)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Ids of the cases that belong together, each case in one group, in this store's order.

        Those of one patient belong together, those whose images are equal voxel by voxel, and those that
        others of these connect. Of images that may be equal by the catalog, the receipts are read, all
        at once; usually there are none.

        Raises:
            DamagedStore: such a receipt is missing or altered.
        """
        return tuple(groups_of(self.records, self._ties))

    def folds(
        self, count: int | None = None, *, seed: int = 0, by: Literal["patient", "split"] = "patient"
    ) -> list[Fold]:
        """Folds for cross-validation: each case here is in the validation of one, in the train of all others.

        A group of `groups` is never on both sides. Sizes differ by no more cases than the largest group
        has, and each source is spread over all folds. The same cases and seed give the same folds.
        Cases that are not here are not looked at: of the whole store, `leaks` tells.

        Args:
            count: folds, 2 or more; none is given for "split".
            seed: of the draw.
            by: "patient" deals groups; "split" gives one fold, the dataset's own train and validation,
                without the cases of train in whose group one of another split is.

        Raises:
            UnknownValue: a count below 2, or above that of groups; by split, no case of train or of
                validation; a `by` or `seed` that is not legal.
            DamagedStore: as for `groups`.
        """
        require_known("by", [by], ("patient", "split"))
        if by == "split":
            return self._fold_of_splits(count)
        held_out = validations(self.records, self.groups, count, seed)
        return [Fold(self._of(self.entries.keys() - cases), self._of(cases)) for cases in held_out]

    def resplit(self, shares: Mapping[str, float], *, seed: int = 0) -> dict[str, Store]:
        """Name -> its share of the cases here, each of which has one name, as a store; may be empty.

        A group of `groups` is never divided. Sizes differ from the shares by no more cases than the
        largest group has, and each source is spread likewise. The same cases, shares and seed give the
        same stores.

        Args:
            shares: by name, such as `{"train": 0.7, "validation": 0.15, "test": 0.15}`.
            seed: of the draw.

        Raises:
            UnknownValue: shares that are not above 0 or do not sum to 1; a `seed` that is not legal.
            DamagedStore: as for `groups`.
        """
        dealt = by_shares(self.records, self.groups, shares, seed)
        return {name: self._of(cases) for name, cases in dealt.items()}

    @property
    def leaking(self) -> list[Group]:
        """The groups of `groups` that lie in several splits.

        Raises:
            DamagedStore: as for `groups`.
        """
        return leaking(self.records, self.groups)

    def leaks(self) -> pd.DataFrame:
        """One row a case of every group of `groups` that lies in several splits, indexed by case id.

        Columns: split, source, patient_id; group (number, from 0), group by group; why (by what others
        belong to the case: patient, image, or both: "patient, image").

        Raises:
            DamagedStore: as for `groups`.
        """
        import pandas as pd

        rows = leaks_of(self.records, self.groups, self._ties)
        return pd.DataFrame.from_records(rows, columns=list(Leak._fields), index="case")

    def label_map(self, asked: AnyMap | Path, *, ignore: Ignored = ()) -> LabelMap:
        """A map of the dataset's labels to another numbering.

        Args:
            asked: `contiguous`, `regions`, `binary`, `verse`, `totalsegmentator`, a dictionary of labels or
                regions to values, or the path of a JSON file with one; see `LabelMap.of`.
            ignore: labels that become the highest value, `ignore`; or `rest`, those without a value.

        Raises:
            UnknownValue: a name, label or value that is not legal, or a label without a value.
        """
        return label_map_of(asked, self.spec, ignore)

    def to_datatree(self, **criteria: Unpack[Criteria]) -> xarray.DataTree:
        """`/split/source/case` -> `Case.to_xarray()`, lazily, for the cases that fit.

        Raises: as `select` does.
        """
        import xarray

        chosen = self.select(**criteria)
        nodes = {f"{one.record.split}/{one.record.source}/{one.id}": one for one in chosen.values()}
        return xarray.DataTree.from_dict({path: case.to_xarray() for path, case in nodes.items()})

    @cached_property
    def _ties(self) -> Ties:
        may_be_equal = alike(self.records)
        digests = all_at_once(self._image_digest, may_be_equal)
        return Ties.of(self.records, dict(zip(may_be_equal, digests, strict=True)))

    def _image_digest(self, case: str) -> str:
        # Of a Case of its own, which is let go: many receipts with their counts of HU fill the memory.
        return Case(self.storage, self.entries[case], self.spec, self.reading).receipt.voxels.image

    def _fold_of_splits(self, count: int | None) -> list[Fold]:
        if count not in (None, 1):
            message = f"{count!r} folds by split; legal: 1, as the dataset has one"
            raise UnknownValue(message)
        train, validation = by_split(self.records, self.groups)
        return [Fold(self._of(train), self._of(validation))]

    @cached_property
    def _masks(self) -> Spec:
        """The dataset's description, whose mask is the label group that masks are read from."""
        return self.spec if self.label_set is None else with_mask(self.spec, self.label_set)

    def _with_labels(self, name: str) -> Self:
        require_known("label set", [name], self.label_sets)
        entries = {
            case: entry.with_labels(name) for case, entry in self.entries.items() if name in entry.record.sets
        }
        return type(self)(self.storage, self.root, entries, self.reading, name)

    def _of(self, cases: Collection[str]) -> Self:
        entries = {case: entry for case, entry in self.entries.items() if case in cases}
        return type(self)(self.storage, self.root, entries, self.reading, self.label_set)


@dataclass(frozen=True)
class Fold:
    """A division of cases in two, none of which belongs to one of the other side.

    Attributes:
        train: the cases to learn from.
        validation: the cases to check it by.
    """

    train: Store
    validation: Store
