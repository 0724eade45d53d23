"""Plans of derived stores: a parent and a recipe to the plan of a build; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from msgspec import structs

from ctspine_zarr.datasets.cases import Listing
from ctspine_zarr.datasets.selection import Selection
from ctspine_zarr.derive.cases import DerivedCases, frame_of, source_case
from ctspine_zarr.errors import require_known
from ctspine_zarr.format.encoding import validated
from ctspine_zarr.format.label_map import AnyMap, Ignored, LabelMap
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Derived, Spec
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.volumes import spacing_in_mm, triple_in_mm
from ctspine_zarr.scaling import Window, require_window
from ctspine_zarr.storage import Location, open_storage
from ctspine_zarr.write.document import Part, PlannedCase
from ctspine_zarr.write.metadata import tables_of
from ctspine_zarr.write.plan import Plan
from ctspine_zarr.write.planning import plan_of

type Crop = Literal["spine", "labels"]
type MaskBy = Literal["nearest", "majority"]
type ImageDtype = Literal["int16", "float32"]

# Of a voxel of a derived volume: itself, compressed, and its label; twice, for what is not counted.
_COPIES: Final = 2


def plan_derive(
    parent: str | Path,
    store: Location,
    *,
    spacing: float | Sequence[float] | None = None,
    crop: Crop | None = None,
    margin_mm: float | Sequence[float] = 20.0,
    label_map: AnyMap | Path | None = None,
    ignore: Ignored = (),
    window: Window | None = None,
    mask_by: MaskBy = "nearest",
    dtype: ImageDtype = "int16",
    selection: Selection = Selection(),  # noqa: B008 - frozen
    codec: str | None = None,
    chunk: Shape | None = None,
    rebuild: bool = False,
    workers: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    parent_options: Mapping[str, Any] | None = None,
    plan_file: str | Path | None = None,
    part: Part | None = None,
) -> Plan:
    """Find out what deriving a store from another would do; `build_store` does it, as any build.

    What is derived is a store as any other: verified, resumable, of the same format; its root names the
    parent's digest and all that is asked for here. Images are resampled by a triangle filter as wide as
    a step, so that nothing is aliased where that is larger than the parent's: linear interpolation where it
    is not.

    Args:
        parent: where the store to derive from is.
        store: where the new one is, or will be.
        spacing: mm, one number or (z, y, x), of all cases; by default each case's own.
        crop: `spine` or `labels`, the box around these; by default nothing is cropped.
        margin_mm: around the box, as far as the volume goes.
        label_map, ignore: what labels become, as for `Store.label_map`; by default they stay.
        window: HU (low, high), beyond which values become the nearer one.
        mask_by: how masks are resampled, by the `nearest` voxel, or the `majority` of the labels that
            the filter of the images sees.
        dtype: of the images' values, which are rounded for int16; the smallest that holds them is stored.
        selection, codec, chunk, rebuild, workers, storage_options, plan_file, part: as for `plan_build`.
            Metadata that was joined to the parent's cases is joined to the new ones, but in parts.
        parent_options: of the parent, as `storage_options` of `open_store`.

    Raises:
        UnknownValue: an argument that is not legal.
        NotAStore, DamagedStore: there is no parent.
        Others: as `plan_build`.
    """
    options = dict(parent_options or {})
    source = open_store(str(parent), storage_options=options)
    found = None if label_map is None else source.label_map(label_map, ignore=ignore)
    derived = validated(
        Derived(
            parent=source.digest,
            spacing=spacing_in_mm(spacing),
            crop=_crop(crop),
            margin=(0.0, 0.0, 0.0) if crop is None else triple_in_mm("margin_mm", margin_mm),
            labels=None if found is None else found.name,
            values={} if found is None else dict(found.values) | _ignored(found, source.spec),
            window=None if window is None else require_window(window),
            image_by="triangle",
            mask_by=_one_of("mask_by", mask_by, ("nearest", "majority")),
            dtype=_one_of("dtype", dtype, ("int16", "float32")),
        )
    )
    levels = tuple(source.spec.levels)
    plan = plan_of(
        DerivedCases(str(parent), options, derived),
        open_storage(store, options=storage_options),
        derived_spec(source.spec, derived, found),
        Listing(tuple(source_case(record, derived) for record in source.records.values())),
        selection=selection,
        planned=lambda case: _planned(case.id, source, derived, levels),
        codec=codec,
        chunk=chunk,
        rebuild=rebuild,
        workers=workers,
        plan_file=plan_file,
        part=part,
    )
    # Parts know nothing of it, and who ends them neither.
    return plan if part else replace(plan, metadata=tables_of(source.records))


def derived_spec(spec: Spec, derived: Derived, label_map: LabelMap | None) -> Spec:
    """The description of a derived dataset: its parent's, with the labels that a map makes."""
    if label_map is None:
        return structs.replace(spec, derived=derived)
    to = {label: value for label, value in label_map.values.items() if value}

    def here(labels: Sequence[int]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(to[one] for one in labels if one in to))

    # Of labels that became one there is no order from the head down.
    has_levels = len(set(to.values())) == len(to)
    regions = {name: here(labels) for name, labels in spec.regions.items()}
    return validated(
        structs.replace(
            spec,
            labels=dict(sorted(label_map.names.items())),
            levels=here(spec.levels) if has_levels else (),
            optional_levels=here(spec.optional_levels) if has_levels else (),
            regions={name: values for name, values in regions.items() if values},
            derived=derived,
        )
    )


def _ignored(label_map: LabelMap, spec: Spec) -> dict[int, int]:
    """The labels that become `ignore`."""
    if label_map.ignore is None:
        return {}
    return {label: label_map.ignore for label in spec.labels if label not in label_map.values}


def _planned(case: str, store: Store, derived: Derived, levels: tuple[int, ...]) -> PlannedCase:
    record = store.records[case]
    return PlannedCase(source_case(record, derived), _working_bytes(record, derived, levels))


def _working_bytes(record: Record, derived: Derived, levels: tuple[int, ...]) -> int:
    """Memory that deriving a case takes at the most; 0 where it cannot be, which the build will say."""
    frame = frame_of(derived, levels)
    if not frame.has(record):
        return 0
    voxels = int(np.prod(frame.lattice(record).size, dtype=np.int64))
    return _COPIES * voxels * (2 * np.dtype(derived.dtype).itemsize + 1) + int(
        np.prod(record.shape, dtype=np.int64)
    )


def _crop(asked: Crop | None) -> Crop | None:
    return None if asked is None else _one_of("crop", asked, ("spine", "labels"))


def _one_of[T: str](what: str, asked: T, legal: Sequence[T]) -> T:
    require_known(what, [asked], legal)
    return asked
