"""Figures of a case and of a store: the one module that knows matplotlib.

They are made without pyplot, so that they need no display and nothing in common with other figures.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec, colour
from ctspine_zarr.geometry import PlaneName, voxel_volume
from ctspine_zarr.look.planes import Plane

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    _MESSAGE = "plots need matplotlib: pip install 'ctspine-zarr[plot]'"
    raise MissingDependency(_MESSAGE) from error

ARROW_BYTES: Final = 4
"""Of a voxel of each array in the Arrow files that the Hub's loader of CTSpine1K makes: float32 images, int32
masks.
"""

_DPI: Final = 100
_MOST_NAME: Final = 24
# Of values that are counted: more than is seen.
_DIGITS: Final = 6
# Bars with their value on top; of more they would touch.
_MOST_FIGURES: Final = 6


class Plot(Figure):
    """A figure that notebooks show, whether pyplot is in use or not."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=_DPI)
        return file.getvalue()


def of_case(
    planes: Mapping[PlaneName, Plane], record: Record, spec: Spec, window: tuple[float, float]
) -> Plot:
    """Three planes of a case with its labels, and of each label HU, height and volume.

    Heights are those of the labels' boxes along z, in mm; volumes are voxels times a voxel's, in cm3. HU are
    the mean and the standard deviation of all voxels of a label.

    Args:
        planes: sagittal, coronal and axial.
        record: of the case.
        spec: of its dataset.
        window: HU that become black and white.
    """
    figure = Plot(figsize=(17, 6), layout="constrained")
    figure.suptitle(f"{record.id}   {record.split}   {record.source}", parse_math=False)
    grid = figure.subplots(1, 6, width_ratios=(3, 3, 3, 1, 1, 1))
    for axes, plane in zip(grid[:3], planes.values(), strict=True):
        _draw_plane(axes, plane, spec, window)
    # From the head down, as the levels lie in the body.
    labels = sorted(record.labels, key=lambda label: label.centroid[0])
    voxel = voxel_volume(record.affine) / 1000
    heights = [(one.stop[0] - one.start[0]) * record.spacing[0] for one in labels]
    _draw_levels(
        grid[3],
        labels,
        [one.hu.mean for one in labels],
        "HU, mean and spread",
        [one.hu.std for one in labels],
    )
    _draw_levels(grid[4], labels, heights, "height of its box, mm")
    _draw_levels(grid[5], labels, [one.voxels * voxel for one in labels], "volume, cm3")
    return figure


def of_store(records: Collection[Record], spec: Spec) -> Plot:
    """Cases by split and source, slices, spacing, labels present, bytes, and findings of some cases.

    Args:
        records: of the cases.
        spec: of their dataset.
    """
    figure = Plot(figsize=(15, 8), layout="constrained")
    figure.suptitle(f"{spec.name}: {len(records):,} cases", parse_math=False)
    cases, slices, spacing, levels, storage, found = figure.subplots(2, 3).flat
    _draw_cases(cases, records, spec)
    _draw_histogram(slices, {"slices": [record.shape[0] for record in records]}, "axial slices")
    along = {"along z": [one.spacing[0] for one in records], "in plane": [one.spacing[2] for one in records]}
    _draw_histogram(spacing, along, "spacing, mm")
    present = Counter(label.name for record in records for label in record.labels)
    _draw_bars(
        levels, {name: present[name] for name in spec.labels.values() if present[name]}, "cases with a label"
    )
    levels.yaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_bars(storage, {name: count / 1e9 for name, count in sizes(records).items()}, "GB")
    codes = Counter(code for one in records for code in {finding.code for finding in one.findings})
    _draw_bars(found, dict(codes.most_common(20)), "cases with a finding")
    found.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def sizes(records: Collection[Record]) -> dict[str, int]:
    """Bytes of some cases as Arrow has them, as `.nii.gz` and in the store."""
    return {
        "Arrow": sum(
            int(np.prod(one.shape, dtype=object)) * ARROW_BYTES * (2 if one.has_mask else 1)
            for one in records
        ),
        ".nii.gz": sum(one.source_bytes for one in records),
        "store": sum(one.stored_bytes for one in records),
    }


def _draw_plane(axes: Axes, plane: Plane, spec: Spec, window: tuple[float, float]) -> None:
    low, high = window
    axes.imshow(plane.image, cmap="gray", vmin=low, vmax=high, aspect=plane.spacing[0] / plane.spacing[1])
    left, right, top, bottom = plane.sides
    axes.set_title(f"{plane.view}\n{top}", fontsize=10)
    axes.set_xlabel(bottom)
    axes.set_ylabel(left, rotation=0)
    axes.text(1.02, 0.5, right, transform=axes.transAxes, va="center")
    axes.set_xticks([])
    axes.set_yticks([])
    for label in () if plane.mask is None else np.unique(plane.mask[plane.mask > 0]).tolist():
        here = plane.mask == label
        shade = _shade(label)
        if min(here.shape) > 1:
            axes.contour(here, levels=[0.5], colors=[shade], linewidths=1)
        rows, columns = np.nonzero(here)
        name = _name(spec.labels.get(label, str(label)))
        place = float(columns.min()), float(np.median(rows))
        shown = axes.text(*place, f"{name} ", color=shade, fontsize=7, ha="right", va="center", clip_on=True)
        shown.set_parse_math(False)


def _draw_levels(
    axes: Axes,
    labels: Sequence[Label],
    values: Sequence[float],
    title: str,
    spread: Sequence[float] | None = None,
) -> None:
    places = list(range(len(labels)))
    axes.barh(places, values, xerr=spread, color=[_shade(one.label) for one in labels], ecolor="grey")
    axes.set_yticks(places, [_name(one.name) for one in labels], fontsize=8, parse_math=False)
    axes.set_title(title, fontsize=10)


def _draw_cases(axes: Axes, records: Collection[Record], spec: Spec) -> None:
    counts = Counter((record.split, record.source) for record in records)
    below = np.zeros(len(spec.splits))
    for source in spec.sources:
        row = np.array([counts[split, source] for split in spec.splits])
        if row.any():
            axes.bar(range(len(row)), row, bottom=below, label=source)
            below += row
    axes.set_xticks(range(len(spec.splits)), spec.splits)
    axes.set_title("cases", fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if below.any():
        axes.legend(fontsize=8)


def _draw_histogram(axes: Axes, values: Mapping[str, Sequence[float]], title: str) -> None:
    # Values that are equal but for rounding leave no room for edges between them.
    rounded = {name: np.round(np.asarray(one, float), _DIGITS) for name, one in values.items()}
    every = np.concatenate([*rounded.values()])
    if len(every):
        edges = np.histogram_bin_edges(every, bins=20)
        for name, one in rounded.items():
            axes.hist(one, bins=edges.tolist(), label=name, alpha=0.7)
        if len(values) > 1:
            axes.legend(fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("cases")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_bars(axes: Axes, values: Mapping[str, float], title: str) -> None:
    places = list(range(len(values)))
    bars = axes.bar(places, list(values.values()))
    if len(values) <= _MOST_FIGURES:
        axes.bar_label(bars, fmt="%.3g")
    names = [_name(name) for name in values]
    axes.set_xticks(places, names, fontsize=8, rotation=90 if len(values) > 4 else 0, parse_math=False)
    axes.set_title(title, fontsize=10)


def _shade(label: int) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in colour(label))
    return red, green, blue


def _name(name: str) -> str:
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 3]}..."
