"""The levels of one mask, as rules look at them. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Shape

# Of the median label's voxels: what is smaller, and apart, is a stray.
_STRAY_SHARE: Final = 0.05
# Levels up and down that a level is compared with: over more, vertebrae grow.
_NEAR: Final = 2


@dataclass(frozen=True)
class Spine:
    """The levels of one mask: labels that have a place in an order from the head down.

    Other labels of the mask are not looked at: they may well lie apart, or in several pieces.

    Attributes:
        labels: all that the mask has, in any order.
        shape: (z, y, x), of the volume.
        spec: of the dataset.
        histograms: value of a label -> counts of the HU of its voxels; none where they are not known.
    """

    labels: Sequence[Label]
    shape: Shape
    spec: Spec
    histograms: Mapping[int, Histogram]

    @classmethod
    def of(cls, record: Record, spec: Spec, histograms: Mapping[int, Histogram]) -> Self:
        """The levels of the mask that a record has."""
        return cls(record.labels, record.shape, spec, histograms)

    def share_from(self, level: Label, hu: int) -> float | None:
        """The share of a level's voxels that have `hu`, where a bin starts, or more; None if unknown."""
        if (level.label, hu) not in self._shares:
            histogram = self.histograms.get(level.label)
            counts = () if histogram is None else histogram.counts
            first = 0 if histogram is None else max(0, (hu - histogram.start) // histogram.width)
            total = sum(counts)
            self._shares[level.label, hu] = sum(counts[first:]) / total if total else None
        return self._shares[level.label, hu]

    @cached_property
    def _shares(self) -> dict[tuple[int, int], float | None]:
        # A rule asks for those of neighbours too, and a histogram has hundreds of bins.
        return {}

    @cached_property
    def _in_order(self) -> list[Label]:
        by_value = {label.label: label for label in self.labels}
        return [by_value[value] for value in self.spec.levels if value in by_value]

    @cached_property
    def strays(self) -> tuple[int, ...]:
        """Levels of runs of neighbouring levels all of which are small beside the run that holds most voxels.

        A level that the volume's edge cuts where it would be, beside that run, is small for that.
        """
        runs = self._runs()
        if not runs:
            return ()
        main = max(runs, key=lambda run: sum(level.voxels for level in run))
        least = _STRAY_SHARE * statistics.median(level.voxels for level in main)
        small = [run for run in runs if run is not main and all(level.voxels < least for level in run)]
        return tuple(level.label for run in small for level in run if not self._is_sliver(level, main))

    @cached_property
    def levels(self) -> list[Label]:
        """The levels that are present, from the head down, but for strays."""
        return [level for level in self._in_order if level.label not in self.strays]

    @cached_property
    def missing(self) -> tuple[int, ...]:
        """Levels that are absent between present ones, and present in everybody."""
        absent = (self._between(one.label, two.label) for one, two in itertools.pairwise(self.levels))
        return tuple(itertools.chain.from_iterable(absent))

    @cached_property
    def cut(self) -> tuple[int, ...]:
        """Levels whose box touches the volume's edge, along any axis."""
        return tuple(level.label for level in self.levels if level.touches_edge(self.shape))

    def is_cut(self, level: Label) -> bool:
        """Whether a level's box touches the volume's edge."""
        return level.label in self.cut

    def neighbours(self, level: Label) -> tuple[Label | None, Label | None]:
        """The levels next above and next below, as far as they are there, two places off at most."""
        place = self.levels.index(level)
        above = self.levels[place - 1] if place else None
        below = self.levels[place + 1] if place + 1 < len(self.levels) else None
        return self._if_near(level, above), self._if_near(level, below)

    def peers(self, level: Label) -> list[Label]:
        """The levels of its region, two places off at most, that no edge cuts."""
        own = self._region(level)
        return [
            other
            for other in self.levels
            if other is not level and own is not None and self._region(other) == own
            if self._if_near(level, other) and not self.is_cut(other)
        ]

    def names(self, labels: Sequence[int]) -> str:
        """The names of labels, as a message has them."""
        return ", ".join(self.spec.labels[label] for label in labels)

    def _if_near(self, level: Label, other: Label | None) -> Label | None:
        return other if other is not None and abs(self._place(level) - self._place(other)) <= _NEAR else None

    def _place(self, level: Label) -> int:
        return self.spec.levels.index(level.label)

    def _region(self, level: Label) -> str | None:
        # What not everybody has, as L6, is of no region that it could be compared in.
        if level.label in self.spec.optional_levels:
            return None
        holding = (name for name, labels in self.spec.regions.items() if level.label in labels)
        return next(holding, None)

    def _is_sliver(self, level: Label, main: list[Label]) -> bool:
        """Whether a level is what the first or last slice leaves of one that is next to a run, or nearly."""
        above, below = main[0], main[-1]
        if self._place(level) < self._place(above):
            return level.stop[0] == self.shape[0] and self._place(above) - self._place(level) <= _NEAR
        return level.start[0] == 0 and self._place(level) - self._place(below) <= _NEAR

    def _runs(self) -> list[list[Label]]:
        runs: list[list[Label]] = []
        for level in self._in_order:
            if not runs or self._between(runs[-1][-1].label, level.label):
                runs.append([])
            runs[-1].append(level)
        return runs

    def _between(self, upper: int, lower: int) -> list[int]:
        """Levels that lie between two others in everybody."""
        levels = self.spec.levels
        inner = levels[levels.index(upper) + 1 : levels.index(lower)]
        return [value for value in inner if value not in self.spec.optional_levels]
