"""What is measured of a level, and the bounds beyond which it is a finding. Pure.

Bounds are set by anatomy and physics with a wide margin, not by some volumes: a clean case has none of these
findings. Each says why it is where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ctspine_zarr.format.record import Label
from ctspine_zarr.quality.spine import Spine

BONE_HU: Final = 200
"""Above muscle and organs, with contrast in veins (40 to 150 HU); cortical bone has 300 to 2,000."""

LEAST_BONE: Final = 0.1
"""Of a level's voxels. Trabecular bone of the old falls below 100 HU, but half of a vertebra is arch and
processes, with thick cortex: a share of 0.3 and more is what masks of CT of 1 to 5 mm have. Muscle, fat and
bowel have next to none."""

AIR_HU: Final = -300
"""Midway between fat (-100 HU) and lung (-500 and below): neither fat nor its noise gets there."""

MOST_AIR: Final = 0.25
"""Of a level's voxels. A vertebra has gas in clefts and beside degenerate discs, a few voxels; a mask that is
one voxel too wide all along the lung has less than this."""

MOST_ASYMMETRY: Final = 0.5
"""One side three times as wide as the other. Of half a vertebra it is near 1. Where neighbours are wedged by
15 degrees, as in severe scoliosis, the middle between them is 4 mm off (30 mm * tan 7.5), of a half width of
30 mm and more: 0.13; one neighbour alone is 10 mm off where the spine leans by 20 degrees: 0.3."""

MOST_RATIO: Final = 1.75
"""Either way. Neighbours of a region differ by some percent a level: lumbar bodies grow from L1 to L4, and L5
is smaller again (Surg Radiol Anat 2016;38:303-8, doi 10.1007/s00276-015-1552-2). Two levels off, and after a
fracture of the gravest grade, where the body, half of a vertebra, loses over 40 % of its height, a ratio
stays within 1.5. Two vertebrae under one label have 2. C1 and C2, which have forms of their own, are not
compared."""

MOST_NARROW: Final = 0.75
"""Of the wider neighbour's width. Half a vertebra has 0.5; an end of the spine beside half a vertebra, whose
middle is not that of the spine, has more than 1."""

_LEAST_PEERS: Final = 2
_NO_PEERS: Final = ("C1", "C2")

type Figure = Callable[[Spine, Label], float | None]


def bone_share(spine: Spine, level: Label) -> float | None:
    """The share of a level's voxels that have 200 HU or more; None where it is not known."""
    return spine.share_from(level, BONE_HU)


def air_share(spine: Spine, level: Label) -> float | None:
    """The share of a level's voxels below -300 HU; None where it is not known."""
    share = spine.share_from(level, AIR_HU)
    return None if share is None else 1 - share


def asymmetry(spine: Spine, level: Label) -> float | None:
    """How far to the right a level reaches from its neighbours' middle, less to the left, over both together.

    1 where it lies to the right altogether, -1 to the left. The middle lies between the centroids of the
    nearest levels above and below, or is that of the one that is there; those that lie off the bone, or that
    an edge cuts, do not count. None where there is none, or an edge cuts the level.
    """
    if not (near := _near(spine, level)):
        return None
    middle = _middle(level, near)
    left, right = middle - (level.start[2] - 0.5), level.stop[2] - 0.5 - middle
    return (right - left) / (right + left)


def narrowness(spine: Spine, level: Label) -> float | None:
    """A level's width along x over that of the wider of its neighbours; None as for `asymmetry`."""
    near = _near(spine, level)
    return _width(level) / max(map(_width, near)) if near else None


def volume_ratio(spine: Spine, level: Label) -> float | None:
    """A level's volume over the median of its region's levels, two places off at most.

    Of two in the middle the one counts that is more like it: the other may be the one that is wrong. None
    where an edge cuts the level, or fewer than two are there that none cuts.
    """
    peers = [one.voxels for one in spine.peers(level) if one.name not in _NO_PEERS]
    if spine.is_cut(level) or level.name in _NO_PEERS or len(peers) < _LEAST_PEERS:
        return None
    return min((level.voxels / peer for peer in _middle_ones(peers)), key=lambda ratio: abs(math.log(ratio)))


FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        "bone_share": bone_share,
        "air_share": air_share,
        "asymmetry": asymmetry,
        "volume_ratio": volume_ratio,
    }
)
"""Name -> figure of a level."""


def figures_of(spine: Spine) -> dict[int, dict[str, float]]:
    """Value of each level -> its figures, as far as they are known."""
    return {
        level.label: {
            name: value for name, figure in FIGURES.items() if (value := figure(spine, level)) is not None
        }
        for level in spine.levels
    }


def _near(spine: Spine, level: Label) -> list[Label]:
    """The nearest levels above and below that lie on bone, uncut; none for a level that an edge cuts."""
    if spine.is_cut(level):
        return []
    beside = [one for one in spine.neighbours(level) if one is not None and not spine.is_cut(one)]
    return [one for one in beside if (share := bone_share(spine, one)) is None or share >= LEAST_BONE]


def _width(level: Label) -> int:
    return level.stop[2] - level.start[2]


def _middle(level: Label, near: list[Label]) -> float:
    """Where along x the line through the neighbours' centroids passes a level."""
    upper, lower = near[0], near[-1]
    apart = upper.centroid[0] - lower.centroid[0]
    along = (upper.centroid[0] - level.centroid[0]) / apart if apart else 0.5
    along = min(max(along, 0.0), 1.0)
    return upper.centroid[2] + along * (lower.centroid[2] - upper.centroid[2])


def _middle_ones(values: list[int]) -> list[int]:
    """The one or two in the middle."""
    ranked = sorted(values)
    return ranked[(len(ranked) - 1) // 2 : len(ranked) // 2 + 1]
