"""A store that is read, scored, and given label sets: the one that `open_store` of the package opens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from ctspine_zarr.read import opening, scoring
from ctspine_zarr.read import store as reading
from ctspine_zarr.storage import Storage, open_storage

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ctspine_zarr.format.label_map import AnyMap
    from ctspine_zarr.label_sets.add import Given, LabelsAdded


class Store(reading.Store):
    """The cases of a store, or of a selection from it, that can be scored and given label sets: a mapping of
    case id to `Case`.

    Everything but voxels and a case's attributes is known from root and catalog; no method here
    reads more, but where it says so.

    Attributes:
        storage, root, entries, reading, label_set: as those of what it is, a store that is read.
    """

    def add_labels(
        self,
        name: str,
        labels: Given,
        *,
        label_map: AnyMap | Path | None = None,
        replace: bool = False,
        take_over: bool = False,
    ) -> LabelsAdded:
        """Write labels of cases as a label set of the store, as `add_labels` of the package does.

        What is open stays as it is: open the store again to read them.

        Args:
            name, labels, label_map, replace, take_over: see there.

        Raises: as there.
        """
        # What writes takes a while to import, and who only reads need not wait for it.
        from ctspine_zarr.label_sets.add import added_to  # noqa: PLC0415

        storage = _writable(self.storage)
        return added_to(storage, name, labels, label_map, replace=replace, take_over=take_over)

    def remove_labels(self, name: str, *, take_over: bool = False) -> tuple[str, ...]:
        """Take a label set out of the store, as `remove_labels` of the package does.

        Args:
            name, take_over: see there.

        Raises: as there.
        """
        from ctspine_zarr.label_sets.remove import removed_from  # noqa: PLC0415

        return removed_from(_writable(self.storage), name, take_over=take_over)

    def score(self, name: str) -> pd.DataFrame:
        """The scores of a label set against the masks; see `score_store`."""
        return scoring.score_store(self, name)


def _with_sets[**Options](opened: Callable[Options, reading.Store]) -> Callable[Options, Store]:
    """The function that opens stores, of this class."""

    @functools.wraps(opened)
    def open_store(*location: Options.args, **options: Options.kwargs) -> Store:
        found = opened(*location, **options)
        return Store(found.storage, found.root, found.entries, found.reading)

    return open_store


open_store = _with_sets(opening.open_store)


def _writable(storage: Storage) -> Storage:
    """The same place, to be written to."""
    if storage.path is not None:
        return open_storage(storage.path)
    return Storage(storage.backend, storage.location)
