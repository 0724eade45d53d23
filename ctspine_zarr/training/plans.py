"""Plans from what a user gives, checked: the same for datasets and streams."""

from __future__ import annotations

from collections.abc import Sequence

from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.format.record import Record
from ctspine_zarr.read.regions import patch_size
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.patches import PatchPlan
from ctspine_zarr.sampling.slices import SlicePlan
from ctspine_zarr.sampling.strategies import Strategy, strategy_of
from ctspine_zarr.sampling.volumes import spacing_in_mm


def slice_plan(store: Store, axis: str, every: int, orientation: str, *, foreground_only: bool) -> SlicePlan:
    """See `SliceDataset`."""
    return SlicePlan(records_of(store), axis, integer("every", every, 1), foreground_only, orientation)


def patch_plan(
    store: Store,
    size: int | Sequence[int],
    *,
    samples_per_volume: int,
    strategy: Strategy | None,
    spacing: float | Sequence[float] | None,
    seed: int,
    patches_per_region: int = 1,
) -> PatchPlan:
    """See `PatchStream`."""
    return PatchPlan(
        records_of(store),
        patch_size(size),
        integer("samples_per_volume", samples_per_volume, 1),
        strategy_of(strategy),
        integer("patches_per_region", patches_per_region, 1),
        spacing_in_mm(spacing),
        integer("seed", seed, 0),
    )


def records_of(store: object) -> tuple[Record, ...]:
    """The records of a selection.

    Raises:
        UnknownValue: it is no store.
    """
    if not isinstance(store, Store):
        message = f"{store!r} instead of a store; legal: what open_store(...) or its select(...) gives"
        raise UnknownValue(message)
    return tuple(store.records.values())
