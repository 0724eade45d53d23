"""Counts of HU in bins, and moments: what is known of each case, so that it adds up over cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue, number
from ctspine_zarr.format.record import Count

WIDTH: Final = 4
"""HU of a bin."""

LOWEST: Final = -2048
"""Where the first bin starts; it also counts all that lies below."""

HIGHEST: Final = 6144
"""Where the last bin ends; it also counts all that lies above."""

MOST_BINS: Final = (HIGHEST - LOWEST) // WIDTH


class Histogram(Struct, frozen=True, kw_only=True):
    """Counts of HU in bins of one width.

    Attributes:
        start: HU at which the first bin starts; a multiple of `width`. All bins lie within `LOWEST` to
            `HIGHEST`.
        width: of a bin, in HU.
        counts: bin i counts values from `start + i * width` up to, not including, the next bin's
            start. A bin that starts at `LOWEST` counts all lower values too, the one that ends
            at `HIGHEST` all higher ones. Empty where nothing was counted.
    """

    start: int
    width: Annotated[int, Meta(ge=1, le=2**16)]
    counts: Annotated[tuple[Count, ...], Meta(max_length=MOST_BINS)]

    def __post_init__(self) -> None:
        if self.start % self.width:
            message = f"a histogram from {self.start} HU; legal: a multiple of its bins' {self.width} HU"
            raise ValueError(message)
        end = self.start + self.width * len(self.counts)
        if not LOWEST <= self.start <= end <= HIGHEST:
            message = f"a histogram from {self.start} to {end} HU; legal: within {LOWEST} to {HIGHEST} HU"
            raise ValueError(message)


class Moments(NamedTuple):
    """How many voxels there are, the mean of their HU and the standard deviation of all of them."""

    voxels: int
    mean: float
    std: float


def histogram_of(values: NDArray[Any], counts: NDArray[np.int64] | None = None) -> Histogram:
    """The histogram of finite values of any real dtype, in at most `MOST_BINS` bins of `WIDTH` HU.

    Args:
        values: in any order.
        counts: how often each occurs; once each where it is None.
    """
    if not values.size:
        return Histogram(start=0, width=WIDTH, counts=())
    bins = np.floor_divide(np.clip(values, LOWEST, HIGHEST - 1), WIDTH).astype(np.intp)
    first = int(bins.min())
    # Weights are summed in float64, which holds every integer up to 2**53.
    found = np.bincount(bins - first, weights=counts).astype(np.int64)
    return Histogram(start=first * WIDTH, width=WIDTH, counts=tuple(found.tolist()))


def merge_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of all that the given ones counted; of nothing where there are none.

    Raises:
        UnknownValue: they differ in width.
    """
    filled = [histogram for histogram in histograms if histogram.counts]
    widths = {histogram.width for histogram in filled} or {WIDTH}
    if len(widths) > 1:
        message = f"histograms of bins of {sorted(widths)} HU; legal: one width for all"
        raise UnknownValue(message)
    (width,) = widths
    start = min((histogram.start for histogram in filled), default=0)
    stop = max((histogram.start + width * len(histogram.counts) for histogram in filled), default=0)
    total = np.zeros((stop - start) // width, dtype=np.int64)
    for histogram in filled:
        first = (histogram.start - start) // width
        total[first : first + len(histogram.counts)] += histogram.counts
    return Histogram(start=start, width=width, counts=tuple(total.tolist()))


def percentile(histogram: Histogram, percent: float) -> float:
    """The middle of the bin in which a percentile lies.

    The percentile is the smallest counted value that `percent` of 100 values do not exceed (numpy's
    `inverted_cdf`). The result lies within half a bin's width of it, save where that value is
    below `LOWEST` or not below `HIGHEST`.

    Raises:
        UnknownValue: the percentage is not one from 0 to 100, or nothing was counted.
    """
    asked = number("percentile", percent, "a number from 0 to 100", lambda value: 0 <= value <= 100)
    total = sum(histogram.counts)
    if not total:
        message = "a percentile of a histogram that counts nothing; legal: of one value or more"
        raise UnknownValue(message)
    # As it is written: 99.9, whose float lies above it, is to round up no whole rank.
    rank = max(1, math.ceil(Fraction(str(asked)) * total / 100))
    reached = itertools.accumulate(histogram.counts)
    place = next(place for place, count in enumerate(reached) if count >= rank)
    return histogram.start + (place + 0.5) * histogram.width


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """The moments of all voxels of which the parts are given, to float64's rounding.

    With N the sum of the parts' voxels n and M the sum of n * mean over N, the variance of all is
    the sum of n * (std**2 + (mean - M)**2) over N.

    Raises:
        UnknownValue: there are no voxels.
    """
    filled = [part for part in parts if part.voxels]
    voxels = sum(part.voxels for part in filled)
    if not voxels:
        message = "moments of no voxels; legal: of one voxel or more"
        raise UnknownValue(message)
    mean = math.fsum(part.voxels * part.mean for part in filled) / voxels
    squares = (part.voxels * (part.std**2 + (part.mean - mean) ** 2) for part in filled)
    return Moments(voxels, mean, math.sqrt(math.fsum(squares) / voxels))
