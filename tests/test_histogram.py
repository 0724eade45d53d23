from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.histogram import (
    HIGHEST,
    LOWEST,
    MOST_BINS,
    WIDTH,
    Histogram,
    Moments,
    histogram_of,
    merge_histograms,
    merge_moments,
    percentile,
)

SIZES = st.integers(1, 60)
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
WITHIN = st.one_of(
    hnp.arrays(np.int16, SIZES, elements=st.integers(LOWEST, HIGHEST - 1)),
    hnp.arrays(np.int32, SIZES, elements=st.integers(LOWEST, HIGHEST - 1)),
    hnp.arrays(np.float32, SIZES, elements=st.floats(LOWEST, HIGHEST - 1, width=32)),
    hnp.arrays(np.float64, SIZES, elements=st.floats(LOWEST, HIGHEST - 1)),
)
ANY = st.one_of(
    WITHIN,
    hnp.arrays(np.int16, SIZES),
    hnp.arrays(np.int32, SIZES),
    hnp.arrays(np.float32, SIZES, elements=FINITE),
    hnp.arrays(np.float64, SIZES, elements=st.floats(allow_nan=False, allow_infinity=False)),
)
NOTHING = histogram_of(np.array([], np.int16))


@given(ANY)
def test_a_bin_counts_what_lies_in_it_and_the_end_bins_what_lies_beyond(values: NDArray[Any]) -> None:
    found = histogram_of(values)
    assert found.width == WIDTH
    assert found.start % WIDTH == 0
    assert 1 <= len(found.counts) <= MOST_BINS
    for place, count in enumerate(found.counts):
        low = found.start + place * WIDTH
        least = -np.inf if low == LOWEST else low
        end = np.inf if low + WIDTH == HIGHEST else low + WIDTH
        assert count == sum(least <= value < end for value in values.tolist())
    assert sum(found.counts) == values.size
    assert found.counts[0] > 0
    assert found.counts[-1] > 0


@given(ANY)
def test_a_count_for_each_value_stands_for_the_value_repeated(values: NDArray[Any]) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    assert histogram_of(distinct, counts) == histogram_of(values)


@given(st.lists(ANY, max_size=6))
def test_merged_histograms_are_that_of_all_values(parts: list[NDArray[Any]]) -> None:
    together = np.concatenate([part.astype(np.float64) for part in parts]) if parts else np.array([])
    merged = merge_histograms([NOTHING, *map(histogram_of, parts)])
    assert merged == histogram_of(together)


@given(st.lists(WITHIN, min_size=1, max_size=6), st.integers(0, 1000))
def test_a_percentile_over_cases_is_within_half_a_bin_of_the_exact_one(
    cases: list[NDArray[Any]], permille: int
) -> None:
    together = np.sort(np.concatenate([case.astype(np.float64) for case in cases]))
    found = percentile(merge_histograms(map(histogram_of, cases)), permille / 10)
    rank = max(1, math.ceil(Fraction(permille * together.size, 1000)))
    assert abs(found - together[rank - 1]) <= WIDTH / 2


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_percentage_is_taken_as_it_is_written(permille: int, size: int) -> None:
    values = np.arange(size) * WIDTH
    rank = math.ceil(Fraction(permille * size, 1000))
    assert percentile(histogram_of(values), permille / 10) == (rank - 0.5) * WIDTH


def test_a_percentile_over_cases_is_numpys_within_a_bin() -> None:
    random = np.random.default_rng(0)
    cases = [random.normal(mean, 200, 5000).astype(np.int16) for mean in (100, 300, 900)]
    merged = merge_histograms(map(histogram_of, cases))
    for percent in (0.5, 5, 25, 50, 75, 95, 99.5):
        exact = np.percentile(np.concatenate(cases), percent, method="inverted_cdf")
        assert abs(percentile(merged, percent) - exact) <= WIDTH


@given(st.lists(hnp.arrays(np.int16, st.integers(0, 60)), min_size=1, max_size=6))
def test_merged_moments_are_those_of_all_values(parts: list[NDArray[np.int16]]) -> None:
    together = np.concatenate(parts).astype(np.float64)
    moments = [Moments(p.size, p.mean(dtype=float), p.std(dtype=float)) for p in parts if p.size]
    if not moments:
        with pytest.raises(UnknownValue, match="moments of no voxels; legal: of one voxel or more"):
            merge_moments([Moments(0, 0.0, 0.0)])
        return
    found = merge_moments([Moments(0, 0.0, 0.0), *moments])
    assert found.voxels == together.size
    assert found.mean == pytest.approx(together.mean(), rel=1e-12, abs=1e-9)
    assert found.std == pytest.approx(together.std(), rel=1e-9, abs=1e-9)


@given(ANY)
def test_a_histogram_survives_json(values: NDArray[Any]) -> None:
    found = histogram_of(values)
    document = msgspec.json.encode(found)
    assert msgspec.json.decode(document, type=Histogram) == found
    assert set(json.loads(document)) == {"start", "width", "counts"}


@pytest.mark.parametrize(
    "document",
    [
        {"start": 2, "width": 4, "counts": [1]},
        {"start": 0, "width": 0, "counts": [1]},
        {"start": 0, "width": 4, "counts": [-1]},
        {"start": 0, "width": 4, "counts": [1] * (MOST_BINS + 1)},
        {"start": LOWEST - 4, "width": 4, "counts": [1]},
        {"start": HIGHEST, "width": 4, "counts": [1]},
        {"start": HIGHEST - 8, "width": 4, "counts": [1, 2, 3]},
        {"start": HIGHEST + 4, "width": 4, "counts": []},
        {"start": 4 * 2**40, "width": 4, "counts": [1]},
        {"start": -4 * 10**400, "width": 4, "counts": [1]},
        {"start": 0, "width": 2**16, "counts": [1]},
    ],
)
def test_a_document_that_is_no_histogram_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document, Histogram)


def test_histograms_of_two_widths_are_not_merged() -> None:
    other = Histogram(start=0, width=8, counts=(1,))
    with pytest.raises(UnknownValue, match=r"bins of \[4, 8\] HU; legal: one width for all"):
        merge_histograms([histogram_of(np.array([1])), other])


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), "50%"])
def test_a_percentage_that_is_none_is_refused(percent: Any) -> None:
    with pytest.raises(UnknownValue, match="legal: a number from 0 to 100"):
        percentile(histogram_of(np.array([1])), percent)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(UnknownValue, match="counts nothing; legal: of one value or more"):
        percentile(merge_histograms([]), 50)
