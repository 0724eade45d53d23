"""Findings about the labels of a mask: one function a rule, and the table of them. Pure.

Findings never refuse a case; `format.findings.KINDS` says what each means. What one finding explains is not
told by another: of strays nothing else is said, of half a vertebra not that it is small, of a label in the
lung not that it has no bone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Final

from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.record import Label
from ctspine_zarr.quality.figures import (
    BONE_HU,
    LEAST_BONE,
    MOST_AIR,
    MOST_ASYMMETRY,
    MOST_NARROW,
    MOST_RATIO,
    air_share,
    asymmetry,
    bone_share,
    narrowness,
    volume_ratio,
)
from ctspine_zarr.quality.spine import Spine

type Rule = Callable[[Spine], Iterator[Finding]]

# Of a level's voxels: a level whose largest piece has fewer is in pieces.
_LARGEST_SHARE: Final = 0.9
# Of the taller neighbour: what an edge cuts is in pieces that it would join, no further apart than this.
_MOST_TALL: Final = 2


def strays(spine: Spine) -> Iterator[Finding]:
    """Levels apart from the others, and small."""
    if found := spine.strays:
        yield Finding(Code.STRAY_LABEL, f"few voxels, apart from the others: {spine.names(found)}", found)


def missing(spine: Spine) -> Iterator[Finding]:
    """Levels that are absent between present ones."""
    if found := spine.missing:
        yield Finding(Code.MISSING_LEVEL, f"absent between present ones: {spine.names(found)}", found)


def split(spine: Spine) -> Iterator[Finding]:
    """Levels in pieces that no edge of the volume explains."""
    found = [level for level in spine.levels if _is_split(spine, level)]
    if found:
        labels = tuple(level.label for level in found)
        least = min(level.largest / level.voxels for level in found)
        message = f"in pieces: {spine.names(labels)}"
        yield Finding(Code.SPLIT_VERTEBRA, message, labels, {"largest_share": round(least, 4)})


def order(spine: Spine) -> Iterator[Finding]:
    """Neighbouring levels that do not descend."""
    for upper, lower in itertools.pairwise(spine.levels):
        if upper.centroid[0] <= lower.centroid[0]:
            yield Finding(Code.ORDER, f"{upper.name} is not above {lower.name}", (upper.label, lower.label))


def outside(spine: Spine) -> Iterator[Finding]:
    """Levels in air or lung."""
    for level in spine.levels:
        share = air_share(spine, level)
        if share is not None and share > MOST_AIR:
            message = f"{level.name} lies outside the body: {share:.0%} of it is air or lung"
            yield _of(level, Code.OUTSIDE_BODY, message, share=share)


def boneless(spine: Spine) -> Iterator[Finding]:
    """Levels that hold hardly any bone, and yet are no air.

    What an edge leaves of a level may be a tip or an endplate, half of which is soft: it is not judged.
    """
    for level in spine.levels:
        share, air = bone_share(spine, level), air_share(spine, level)
        if share is None or share >= LEAST_BONE or spine.is_cut(level):
            continue
        ratio = volume_ratio(spine, level)
        # The inside alone of a vertebra is soft.
        is_core = ratio is not None and ratio < 1 and _is_odd(ratio, level)
        if not is_core and (air is None or air <= MOST_AIR):
            message = f"{level.name} lies off the bone: {share:.1%} of it has {BONE_HU} HU or more"
            yield _of(level, Code.BONE_SHARE, message, share=share)


def lopsided(spine: Spine) -> Iterator[Finding]:
    """Levels that reach far to one side alone."""
    for level in spine.levels:
        found = asymmetry(spine, level)
        if found is not None and _is_lopsided(spine, level):
            side = "right" if found > 0 else "left"
            message = f"{level.name} lies to the {side} of its neighbours: asymmetry {found:.2f}"
            yield _of(level, Code.ASYMMETRY, message, asymmetry=found)


def volumes(spine: Spine) -> Iterator[Finding]:
    """Levels far larger or smaller than their neighbours."""
    for level in spine.levels:
        found = volume_ratio(spine, level)
        if found is not None and _is_odd(found, level) and not _is_lopsided(spine, level):
            message = f"{level.name} has {found:.2f} times the volume of its neighbours"
            yield _of(level, Code.VOLUME, message, ratio=found)


def cut(spine: Spine) -> Iterator[Finding]:
    """Levels that reach the volume's edge."""
    if found := spine.cut:
        yield Finding(Code.CUT_BY_EDGE, f"at the volume's edge: {spine.names(found)}", found)


RULES: Final[tuple[Rule, ...]] = (
    *(strays, missing, split, order),
    *(outside, boneless, lopsided, volumes),
    cut,
)
"""All rules about levels, in the order in which findings are told."""


def label_findings(spine: Spine) -> Iterator[Finding]:
    """What is odd about the labels of one mask, whatever their order.

    Only the spec's levels are looked at; that there is no label at all is told of every dataset.
    """
    if not spine.labels:
        yield Finding(Code.NO_LABEL, "the mask holds no label")
        return
    for rule in RULES:
        yield from rule(spine)


def _of(level: Label, code: Code, message: str, **figures: float) -> Finding:
    rounded = {name: round(value, 4) for name, value in figures.items()}
    return Finding(code, message, (level.label,), rounded)


def _is_lopsided(spine: Spine, level: Label) -> bool:
    sided, narrow = asymmetry(spine, level), narrowness(spine, level)
    if sided is None or narrow is None:
        return False
    return abs(sided) > MOST_ASYMMETRY and narrow < MOST_NARROW


def _is_odd(ratio: float, level: Label) -> bool:
    # Its top and bottom lie somewhere in their slices: a slice more or less decides nothing.
    slice_share = 1 / _height(level)
    return ratio * (1 - slice_share) > MOST_RATIO or ratio * (1 + slice_share) < 1 / MOST_RATIO


def _is_split(spine: Spine, level: Label) -> bool:
    if level.largest >= _LARGEST_SHARE * level.voxels:
        return False
    beside = [_height(one) for one in spine.neighbours(level) if one is not None]
    return not (spine.is_cut(level) and beside and _height(level) <= _MOST_TALL * max(beside))


def _height(level: Label) -> int:
    return level.stop[0] - level.start[0]
