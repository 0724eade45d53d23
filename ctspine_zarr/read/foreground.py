"""The HU of the labelled voxels of a selection, from what its build counted: no voxel is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.threads import share_out
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.histogram import (
    HIGHEST,
    LOWEST,
    WIDTH,
    Histogram,
    Moments,
    merge_histograms,
    merge_moments,
)
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.store import Store
from ctspine_zarr.scaling import Normalization

# What nnU-Net clips CT to: `percentile_00_5` and `percentile_99_5` of its fingerprint.
_LOW, _HIGH = 0.005, 0.995
# Receipts that are asked for together where a read is a round trip.
_AT_ONCE: Final = 16


def ct_normalization(store: Store) -> Normalization:
    """nnU-Net's normalisation of CT for a selection: clip, mean and deviation of its labelled voxels.

    As in nnU-Net's fingerprint every case weighs the same, however many voxels it has labelled (it
    draws equally many of each: `fingerprint_extractor.py` of nnU-Net 2), and those without a label count
    for nothing. Mean and deviation are exact; the percentiles are taken from counts in bins of 4 HU,
    and lie within 2 HU of those of every voxel between -2048 and 6144 HU.

    Each case's receipt is read, once.

    Raises:
        UnknownValue: no case of the selection has a labelled voxel, or all of them have one value.
        DamagedStore: a receipt is missing or altered.
    """
    cases = [case for case in store.values() if case.record.labels]
    if not cases:
        message = 'normalize "ct" of a selection without a labelled voxel; legal: select(has_mask=True)'
        raise UnknownValue(message)
    _, mean, std = merge_moments(Moments(1, *_moments(case)) for case in cases)
    low, high = _percentiles(_shares(cases, at_once=store.storage.merging.at_once))
    return Normalization(mean, std, low, high)


def _moments(case: Case) -> tuple[float, float]:
    parts = (Moments(label.voxels, label.hu.mean, label.hu.std) for label in case.record.labels)
    _, mean, std = merge_moments(parts)
    return mean, std


def _shares(cases: list[Case], *, at_once: bool) -> NDArray[np.float64]:
    """The share of labelled voxels in each bin of `WIDTH` HU from `LOWEST` on; cases weigh the same."""
    found: dict[str, NDArray[np.float64]] = {}

    def read(some: Iterator[Case]) -> None:
        for case in some:
            found[case.id] = _share(merge_histograms(case.receipt.foreground_of(case.spec.mask).values()))

    share_out(read, cases, _AT_ONCE if at_once else 1)
    # In the order of cases, whoever came first: sums of floats differ by it.
    shares: NDArray[np.float64] = sum((found[case.id] for case in cases), np.zeros(_BINS))
    return shares / len(cases)


_BINS: Final = (HIGHEST - LOWEST) // WIDTH


def _share(histogram: Histogram) -> NDArray[np.float64]:
    if histogram.width != WIDTH:
        message = f"counts of HU in bins of {histogram.width} HU; legal: {WIDTH}"
        raise UnknownValue(message)
    counts = np.zeros(_BINS)
    first = (histogram.start - LOWEST) // WIDTH
    counts[first : first + len(histogram.counts)] = histogram.counts
    share: NDArray[np.float64] = counts / counts.sum()
    return share


def _percentiles(shares: NDArray[np.float64]) -> tuple[float, float]:
    """Where the distribution reaches the two shares, taken to be even within a bin."""
    reached = np.concatenate([[0.0], shares.cumsum()])
    edges = LOWEST + WIDTH * np.arange(_BINS + 1)
    low, high = np.interp((_LOW, _HIGH), reached, edges).tolist()
    return low, high
