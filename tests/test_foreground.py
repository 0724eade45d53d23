from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctspine_zarr.format.histogram import Histogram, histogram_of, merge_histograms
from ctspine_zarr.format.record import LabelIntensity
from ctspine_zarr.write import foreground
from ctspine_zarr.write.foreground import ForegroundMeter

SHAPES = st.tuples(st.integers(1, 36), st.integers(1, 7), st.integers(1, 7))
DTYPES = st.sampled_from([np.int16, np.int32, np.float32, np.float64])


def measured(mask: NDArray[np.uint8], image: NDArray[Any]) -> dict[int, tuple[LabelIntensity, Histogram]]:
    meter = ForegroundMeter(mask, image.dtype, float(image.min()), float(image.max()))
    for start in range(0, len(image), 16):
        slab = image[start : start + 16].copy()
        meter.add(slab)
        slab[:] = 0
    return meter.result()


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    shape = draw(SHAPES)
    some = st.sampled_from([0, 0, 0, 1, 7, 25, 255])
    mask = draw(hnp.arrays(np.uint8, shape, elements=some, fill=st.just(0)))
    dtype: np.dtype[Any] = np.dtype(draw(DTYPES))
    numbers = st.floats(-1e6, 1e6, width=32) if dtype.kind == "f" else None
    return mask, draw(hnp.arrays(dtype, shape, elements=numbers))


@settings(max_examples=80)
@given(cases())
def test_a_labels_figures_are_those_of_its_voxels(case: tuple[NDArray[np.uint8], NDArray[Any]]) -> None:
    mask, image = case
    found = measured(mask, image)
    assert list(found) == [label for label in np.unique(mask).tolist() if label]
    for label, (hu, histogram) in found.items():
        values = np.sort(image[mask == label])
        wide = values.astype(np.float64)
        assert hu.mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-6)
        assert hu.std == pytest.approx(wide.std(), rel=1e-9, abs=1e-6)
        for permille, value in ((5, hu.p00_5), (50, hu.p05), (500, hu.p50), (950, hu.p95), (995, hu.p99_5)):
            assert value == values[math.ceil(Fraction(permille * values.size, 1000)) - 1]
        assert histogram == histogram_of(values)


@given(hnp.arrays(np.int16, SHAPES), st.data())
def test_the_moments_of_integers_are_rounded_once(image: NDArray[np.int16], data: st.DataObject) -> None:
    mask = data.draw(hnp.arrays(np.uint8, image.shape, elements=st.integers(0, 2)))
    for label, (hu, _) in measured(mask, image).items():
        values = [Fraction(value) for value in image[mask == label].tolist()]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert hu.mean == float(mean)
        assert hu.std == math.sqrt(float(variance))


def test_a_mask_without_labels_has_no_figures() -> None:
    assert measured(np.zeros((20, 4, 5), np.uint8), np.ones((20, 4, 5), np.int16)) == {}


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_voxels_are_parted_by_label_in_batches(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    image: NDArray[Any] = random.normal(0, 500, (70, 9, 11)).astype(dtype)
    mask = random.integers(0, 200, image.shape, dtype=np.uint8)
    at_once = measured(mask, image)
    monkeypatch.setattr(foreground, "_BATCH", 1000)
    assert measured(mask, image) == at_once


def test_the_image_is_not_kept() -> None:
    """A case's labels are few voxels; the meter holds those that wait, and counts."""
    image = np.zeros((128, 256, 256), np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[:, 100:140, 100:140] = 3
    meter = ForegroundMeter(mask, image.dtype, 0, 0)
    tracemalloc.start()
    for start in range(0, len(image), 16):
        meter.add(image[start : start + 16])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6


def test_histograms_of_labels_add_up_over_cases() -> None:
    random = np.random.default_rng(1)
    images: list[NDArray[np.int16]] = [
        random.normal(mean, 200, (20, 8, 8)).astype(np.int16) for mean in (200, 500)
    ]
    masks = [random.integers(0, 3, image.shape, dtype=np.uint8) for image in images]
    found = [measured(mask, image) for mask, image in zip(masks, images, strict=True)]
    for label in (1, 2):
        values = [image[mask == label] for mask, image in zip(masks, images, strict=True)]
        assert merge_histograms(case[label][1] for case in found) == histogram_of(np.concatenate(values))
