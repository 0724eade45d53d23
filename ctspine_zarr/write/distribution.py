"""Exact figures of very many values that come part by part. Pure arithmetic.

Integers that span fewer than 2**16 values, as those of nearly every CT do, are counted: one pass,
memory for the counts alone. All others, floats mostly, are kept and sorted at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.format.histogram import Histogram, histogram_of, merge_histograms
from ctspine_zarr.format.record import LabelIntensity

# Counts that are kept: one for each integer from the least that there may be.
_SPAN: Final = 2**16
# Values at a time: few enough for the cache, many enough to outweigh a call.
_BLOCK: Final = 2**16


class Distribution(Protocol):
    """Values in ascending order; there is at least one."""

    @property
    def size(self) -> int:
        """How many values there are, equal ones included."""

    @property
    def least_count(self) -> int:
        """How many of them equal the least."""

    def at(self, index: int) -> float:
        """The value at a place of 0 to `size - 1`."""

    def above_least(self) -> Self:
        """The same without the least value, of which not all may be."""

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation."""

    def histogram(self) -> Histogram:
        """Counts in bins; see `histogram_of`."""


class Collector(Protocol):
    """Values on their way to a distribution."""

    def add(self, values: NDArray[Any]) -> None:
        """Take in a 1-D, C-contiguous part, in any order; it may be changed afterwards."""

    def result(self) -> Distribution:
        """Of all parts, one or more; to be called once, at the end."""


def collectors(dtype: np.dtype[Any], low: float, high: float) -> Callable[[], Collector]:
    """What makes collectors of values of a dtype, all of which lie from `low` to `high`.

    They share working memory: no two may be used at once.
    """
    if native.kernel is not None and dtype == np.int16:
        return _KernelCounter
    if dtype.kind in "iu" and high - low < _SPAN:
        # `bincount` would make room for its indices at each call: a sixth of its time.
        return partial(_Counter, int(low), np.empty(_BLOCK, dtype=np.intp))
    return partial(_Keeper, dtype)


def figures(values: Distribution) -> LabelIntensity:
    """Mean, standard deviation and percentiles."""
    mean, std = values.moments()
    return LabelIntensity(
        mean=mean,
        std=std,
        p00_5=_percentile(values, 5),
        p05=_percentile(values, 50),
        p50=_percentile(values, 500),
        p95=_percentile(values, 950),
        p99_5=_percentile(values, 995),
    )


def _percentile(values: Distribution, permille: int) -> float:
    """The smallest value that so many of 1,000 do not exceed, found in integers."""
    return values.at(-(-values.size * permille // 1000) - 1)


@dataclass(frozen=True, slots=True)
class Counted:
    """Distinct integers in ascending order, and how often each occurs."""

    values: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def size(self) -> int:
        """See `Distribution`."""
        return int(self.counts.sum())

    @property
    def least_count(self) -> int:
        """See `Distribution`."""
        return int(self.counts[0])

    def at(self, index: int) -> float:
        """See `Distribution`."""
        return float(self.values[np.searchsorted(self.counts.cumsum(), index, side="right")])

    def above_least(self) -> Self:
        """See `Distribution`."""
        return type(self)(self.values[1:], self.counts[1:])

    def moments(self) -> tuple[float, float]:
        """Each rounded once, from exact integers: the same bytes wherever it runs."""
        size, middle = self.size, int(self.values[0] + self.values[-1]) // 2
        # From the middle they lie up to 2**15 away: int64 holds the sums of 2**33 voxels.
        away = self.values - middle
        total, squares = int(away @ self.counts), int(away**2 @ self.counts)
        return (middle * size + total) / size, math.sqrt((size * squares - total**2) / size**2)

    def histogram(self) -> Histogram:
        """See `Distribution`."""
        return histogram_of(self.values, self.counts)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Values of any real dtype in ascending order, each as often as it occurs."""

    values: NDArray[Any]

    @property
    def size(self) -> int:
        """See `Distribution`."""
        return self.values.size

    @property
    def least_count(self) -> int:
        """See `Distribution`."""
        return int(np.searchsorted(self.values, self.values[0], side="right"))

    def at(self, index: int) -> float:
        """See `Distribution`."""
        return float(self.values[index])

    def above_least(self) -> Self:
        """See `Distribution`."""
        return type(self)(self.values[self.least_count :])

    def moments(self) -> tuple[float, float]:
        """To float64's rounding: the deviations are summed once the mean is known."""
        # Of values scaled to one, for float64 squares above 1e154 overflow.
        scale = max(1.0, abs(self.at(0)), abs(self.at(-1)))
        mean = math.fsum(float(part.sum()) for part in self._shares(scale)) / self.size
        squares = math.fsum(float(np.square(part - mean).sum()) for part in self._shares(scale))
        return mean * scale, math.sqrt(squares / self.size) * scale

    def histogram(self) -> Histogram:
        """See `Distribution`."""
        return merge_histograms(map(histogram_of, self._blocks()))

    def _shares(self, scale: float) -> Iterator[NDArray[np.float64]]:
        for block in self._blocks():
            yield block.astype(np.float64) / scale

    def _blocks(self) -> Iterator[NDArray[Any]]:
        for start in range(0, self.size, _BLOCK):
            yield self.values[start : start + _BLOCK]


class _Counter:
    """A collector of integers from `low` to less than 2**16 above it; it mostly frees the GIL."""

    def __init__(self, low: int, indices: NDArray[np.intp]) -> None:
        self._low = low
        self._indices = indices
        self._counts = np.zeros(_SPAN, dtype=np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """See `Collector`."""
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            indices = self._indices[: block.size]
            least = int(block.min())
            indices[:] = block
            indices -= least
            found = np.bincount(indices)
            self._counts[least - self._low :][: found.size] += found

    def result(self) -> Counted:
        """See `Collector`."""
        present = np.flatnonzero(self._counts)
        return Counted(self._low + present, self._counts[present])


class _KernelCounter:
    """A collector of int16, which frees the GIL."""

    def __init__(self) -> None:
        # The kernel counts at two places, since equal values in a row would wait for each other.
        self._counts = np.zeros((2, _SPAN), dtype=np.int64)

    def add(self, values: NDArray[np.int16]) -> None:
        """See `Collector`."""
        if native.kernel is not None:
            native.kernel.count_values(values.reshape(1, 1, -1), self._counts)

    def result(self) -> Counted:
        """See `Collector`."""
        return counted(self._counts.sum(axis=0))


def counted(counts: NDArray[np.int64]) -> Counted:
    """A distribution of int16 from the count of each, of the least first; one or more of them occur."""
    present = np.flatnonzero(counts)
    return Counted(present + np.iinfo(np.int16).min, counts[present])


class _Keeper:
    """A collector of values of any real dtype; it keeps a copy of each, and needs no more at the end."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._parts: list[NDArray[Any]] = []

    def add(self, values: NDArray[Any]) -> None:
        """See `Collector`."""
        self._parts.append(values.copy())

    def result(self) -> Sorted:
        """See `Collector`."""
        values = np.empty(sum(part.size for part in self._parts), dtype=self._dtype)
        end = values.size
        while self._parts:
            part = self._parts.pop()
            values[end - part.size : end] = part
            end -= part.size
        values.sort()
        return Sorted(values)
