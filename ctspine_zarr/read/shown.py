"""What a store has to look at: contact sheets, plots, and how notebooks show it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

from ctspine_zarr.errors import DamagedStore, UnknownValue, integer
from ctspine_zarr.format.catalog import Root
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.markup import of_store
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.planes import sagittal
from ctspine_zarr.scaling import require_window

if TYPE_CHECKING:
    from ctspine_zarr.look.canvas import Picture
    from ctspine_zarr.look.plots import Plot


PAGE: Final = 200
"""Cases of one contact sheet."""


class ShownStore(Mapping[str, Case]):
    """The cases of a store, as people look at them: a mapping of case id to `Case`.

    Attributes:
        root: the store's root.
        label_set: name of the label set that cases have in place of their masks; None for the masks.
    """

    root: Root
    label_set: str | None

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """The dataset's description."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where the store is."""

    @property
    @abstractmethod
    def records(self) -> Mapping[str, Record]:
        """Case id -> what is known of it."""

    @property
    @abstractmethod
    def is_partial(self) -> bool:
        """Whether the first build has not ended."""

    @property
    def pages(self) -> int:
        """Contact sheets that the cases need: one for every 200."""
        return max(1, math.ceil(len(self) / PAGE))

    def preview(
        self,
        page: int = 1,
        *,
        columns: int | None = None,
        window: tuple[float, float] = WINDOW,
        on_damaged: Callable[[str, DamagedStore], None] | None = None,
    ) -> Picture:
        """A contact sheet: of each case the sagittal plane along its spine, with its labels in colour.

        Below each stand its id, split, source and number of labels; a triangle says how many findings it
        has that are warnings or errors. One case is read after another, and only its small picture is kept.

        Args:
            page: of `pages`, from 1: the first has the first 200 cases, and so on.
            columns: cases beside each other, 1 to 50; by default so that the sheet is a little wider
                than tall.
            window: HU that become black and white.
            on_damaged: called with the id of each case that cannot be read, and why; its tile says
                `damaged`.

        Raises:
            UnknownValue: no such page, or columns or a window that is not legal.
            StorageError: the storage itself fails.
        """
        from ctspine_zarr.look import sheet

        window = require_window(window)
        if integer("page", page, 1, f" to {self.pages}") > self.pages:
            message = f"page {page!r}; legal: an integer from 1 to {self.pages}"
            raise UnknownValue(message)
        tiles = []
        begin = (page - 1) * PAGE
        for name in islice(self, begin, begin + PAGE):
            case = self[name]
            try:
                plane = sagittal(case.record, case.spec, case.fill)
            except DamagedStore as error:
                plane = None
                if on_damaged is not None:
                    on_damaged(name, error)
            tiles.append(sheet.tile(plane, case.record, window))
        which = f", {begin + 1} to {begin + len(tiles)}" if self.pages > 1 else ""
        return sheet.sheet(tiles, f"{self.spec.name}: {len(self):,} cases{which}", columns)

    def plot(self) -> Plot:
        """A matplotlib figure of what the cases are, from the catalog alone; nothing is read.

        Cases by split and source, axial slices, spacing along z and in plane, cases that have each label,
        bytes as Arrow (float32 images and int32 masks, as the Hub's loader of CTSpine1K makes them), as
        `.nii.gz` and in the store, and cases with each finding. Notebooks show it; `savefig` saves it.
        Nothing of pyplot is touched.

        Raises:
            MissingDependency: matplotlib is not installed.
        """
        from ctspine_zarr.look import plots

        return plots.of_store(self.records.values(), self.spec)

    def _repr_html_(self) -> str:
        notes = ["partial: its first build has not ended"] * self.is_partial
        if self.label_set is not None:
            notes.append(f"with labels of {self.label_set}")
        # Of a partial store nobody has counted yet.
        total = sum(sum(row.values()) for row in self.root.cases.values())
        return of_store(self.location, self.spec, self.records, total, notes)
