"""Findings about the labels of a case: gaps, strays, pieces, order.

Findings never refuse a case; `format.record.Code` says what each means.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

from ctspine_zarr.format.record import Code, Finding, Label
from ctspine_zarr.format.spec import Spec

# Of the median label's voxels: what is smaller, and apart, is a stray.
_STRAY_SHARE: Final = 0.05
# Of a level's voxels: a level whose largest piece has fewer is in pieces.
_LARGEST_SHARE: Final = 0.9


def label_findings(labels: Sequence[Label], spec: Spec) -> Iterator[Finding]:
    """What is odd about the labels of one mask, given in order of value.

    Only the spec's levels are looked at for gaps, strays, pieces and order: other labels may well lie
    apart, or in several pieces.
    """
    if not labels:
        yield Finding(Code.NO_LABEL, "the mask holds no label")
        return
    spine = _in_order(labels, spec)
    strays = _strays(spine, spec)
    if strays:
        yield Finding(Code.STRAY_LABEL, f"few voxels, apart from the others: {_names(strays, spec)}", strays)
    spine = [level for level in spine if level.label not in strays]
    missing = _missing([level.label for level in spine], spec)
    if missing:
        yield Finding(Code.MISSING_LEVEL, f"absent between present ones: {_names(missing, spec)}", missing)
    split = tuple(level.label for level in spine if level.largest < _LARGEST_SHARE * level.voxels)
    if split:
        yield Finding(Code.SPLIT_VERTEBRA, f"in pieces: {_names(split, spec)}", split)
    for upper, lower in itertools.pairwise(spine):
        if upper.centroid[0] <= lower.centroid[0]:
            yield Finding(Code.ORDER, f"{upper.name} is not above {lower.name}", (upper.label, lower.label))


def _in_order(labels: Sequence[Label], spec: Spec) -> list[Label]:
    """The labels that are levels, from the head down."""
    by_value = {label.label: label for label in labels}
    return [by_value[value] for value in spec.levels if value in by_value]


def _strays(spine: Sequence[Label], spec: Spec) -> tuple[int, ...]:
    """Levels outside the run of neighbouring levels that holds most voxels, and small beside it."""
    runs = _runs(spine, spec)
    if not runs:
        return ()
    main = max(runs, key=lambda run: sum(level.voxels for level in run))
    least = _STRAY_SHARE * statistics.median(level.voxels for level in main)
    return tuple(level.label for run in runs if run is not main for level in run if level.voxels < least)


def _runs(spine: Sequence[Label], spec: Spec) -> list[list[Label]]:
    runs: list[list[Label]] = []
    for level in spine:
        if not runs or _between(runs[-1][-1].label, level.label, spec):
            runs.append([])
        runs[-1].append(level)
    return runs


def _missing(values: Sequence[int], spec: Spec) -> tuple[int, ...]:
    absent = (_between(upper, lower, spec) for upper, lower in itertools.pairwise(values))
    return tuple(itertools.chain.from_iterable(absent))


def _between(upper: int, lower: int, spec: Spec) -> list[int]:
    """Levels that lie between two others in everybody."""
    first, last = spec.levels.index(upper), spec.levels.index(lower)
    return [value for value in spec.levels[first + 1 : last] if value not in spec.optional_levels]


def _names(labels: Sequence[int], spec: Spec) -> str:
    return ", ".join(spec.labels[label] for label in labels)
