"""Plans made from a user's arguments, checked: the same for datasets and streams."""

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
from ctspine_zarr.training.form import Form, Options


class SliceOptions(Options, total=False):
    """Options of `SliceDataset` and `SliceStream`; see the former, and `Options`."""

    axis: str
    every: int
    foreground_only: bool


class PatchOptions(Options, total=False):
    """Options of `PatchDataset` and `PatchStream`; see the former, and `Options`."""

    samples_per_volume: int
    strategy: Strategy | None
    spacing: float | Sequence[float] | None
    fill: float
    seed: int


def slice_plan(store: Store, form: Form, options: SliceOptions) -> SlicePlan:
    """See `SliceDataset`."""
    return SlicePlan(
        records_of(store, form),
        options.get("axis", "axial"),
        integer("every", options.get("every", 1), 1),
        options.get("foreground_only", False),
        form.orientation,
    )


def patch_plan(
    store: Store, size: int | Sequence[int], form: Form, options: PatchOptions, *, together: int = 1
) -> PatchPlan:
    """See `PatchStream`; `together` is its `patches_per_region`."""
    return PatchPlan(
        records_of(store, form),
        store.spec,
        patch_size(size),
        integer("samples_per_volume", options.get("samples_per_volume", 4), 1),
        strategy_of(options.get("strategy")),
        integer("patches_per_region", together, 1),
        spacing_in_mm(options.get("spacing")),
        integer("seed", options.get("seed", 0), 0),
    )


def records_of(store: object, form: Form) -> tuple[Record, ...]:
    """The records of a selection.

    Raises:
        UnknownValue: it is no store, or a case has no mask and the form asks for masks: what is
            unknown is never given as zeros.
    """
    if not isinstance(store, Store):
        message = f"{store!r} instead of a store; legal: what open_store(...) or its select(...) gives"
        raise UnknownValue(message)
    without = [case for case, record in store.records.items() if not record.has_mask]
    if without and form.segmentation:
        message = (
            f"{len(without)} of {len(store)} cases of the selection have no mask, such as {without[0]}; "
            "legal: select(has_mask=True), or segmentation=False"
        )
        raise UnknownValue(message)
    return tuple(store.records.values())
