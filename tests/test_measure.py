from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctspine_zarr.format.histogram import histogram_of
from ctspine_zarr.format.record import Intensity, Label, LabelIntensity, Padding
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.quality.rules import label_findings
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.write import measure
from ctspine_zarr.write.distribution import Sorted
from ctspine_zarr.write.intensity import IntensityMeter
from ctspine_zarr.write.measure import measure_labels

MASKS = hnp.arrays(
    np.uint8, st.tuples(*[st.integers(1, 9)] * 3), elements=st.sampled_from([0, 0, 0, 1, 7, 24, 25, 255])
)


@pytest.mark.parametrize("block", [1, 40, 2**19])
@given(mask=MASKS)
def test_labels_are_what_a_plain_count_says(block: int, mask: NDArray[np.uint8]) -> None:
    # Blocks of one plane and of some, and axes in another order.
    with mock.patch.object(measure, "_BLOCK", block):
        found = measure_labels(mask)
    assert [label.label for label in found] == [int(value) for value in np.unique(mask) if value]
    for label in found:
        where = np.argwhere(mask == label.label)
        assert label.voxels == len(where)
        assert label.start == tuple(where.min(axis=0))
        assert label.stop == tuple(where.max(axis=0) + 1)
        assert label.centroid == pytest.approx(where.mean(axis=0), abs=6e-4)
        pieces, count = scipy.ndimage.label(mask == label.label, np.ones((3, 3, 3)))
        assert label.pieces == count
        assert label.largest == np.bincount(pieces[pieces > 0]).max()


def test_pieces_join_and_part_again_across_blocks() -> None:
    mask = np.zeros((9, 40, 400), np.uint8)
    mask[:, 10:12, ::2] = 3
    mask[4:6, :, 200] = 3
    mask[8, 0, 0] = 3
    with mock.patch.object(measure, "_BLOCK", 2 * 40 * 400):
        [found] = measure_labels(mask)
    _, count = scipy.ndimage.label(mask, np.ones((3, 3, 3)))
    assert found.pieces == count
    assert found.voxels == np.count_nonzero(mask)
    assert found.largest == 9 * 2 + 2 * 38


@pytest.mark.parametrize("shape", [(6, 512, 512), (1, 2048, 2048)])
def test_noise_takes_no_more_memory_than_it_says(shape: tuple[int, int, int]) -> None:
    # Every voxel is a run, and touches twelve voxels of its label.
    mask = (np.indices(shape, np.int16).sum(axis=0, dtype=np.int16) % 2 + 1).astype(np.uint8)
    tracemalloc.start()
    try:
        assert [one.pieces for one in measure_labels(mask)] == [1, 1]
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
INTEGERS: st.SearchStrategy[np.dtype[Any]] = st.sampled_from([np.dtype(np.int16), np.dtype(np.int32)])
FLOATS: st.SearchStrategy[np.dtype[Any]] = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])
# Padding, air and bone, so that every draw has many of each.
FEW = st.sampled_from([-3024, -2048, -1025, -1024, -1000, 0, 300, 3071])
VOLUMES: st.SearchStrategy[NDArray[Any]] = st.one_of(
    hnp.arrays(INTEGERS, SHAPES),
    hnp.arrays(INTEGERS, SHAPES, elements=FEW),
    hnp.arrays(INTEGERS, SHAPES, elements=st.sampled_from([-(2**15), 2**15 - 1])),
    hnp.arrays(FLOATS, SHAPES, elements=FEW.map(float)),
    hnp.arrays(FLOATS, SHAPES, elements=st.floats(-1e6, 1e6, width=32)),
)


def metered(volume: NDArray[Any]) -> Intensity:
    meter = IntensityMeter(volume.dtype, float(volume.min()), float(volume.max()))
    for start in range(0, len(volume), 16):
        slab = volume[start : start + 16].copy()
        meter.add(slab)
        slab[:] = 0
    return meter.result()


@settings(max_examples=80)
@given(VOLUMES)
@example(np.full((1, 1, 1), -(2**15), np.int16))
@example(np.full((3, 4, 5), 2**31 - 1, np.int32))
@example(np.arange(-(2**31), -(2**31) + 2**16, dtype=np.int32).reshape(16, 64, 64))
@example(np.arange(-(2**31), -(2**31) + 2**16 + 1, dtype=np.int32).reshape(1, 1, -1))
@example(np.full((1, 2, 3), -2000, np.float32))
def test_intensity_is_that_of_every_voxel_but_padding(volume: NDArray[Any]) -> None:
    found = metered(volume)
    least, padded = volume.min(), int((volume == volume.min()).sum())
    is_padded = least < -1024 and 1000 * padded >= volume.size
    shown = np.sort(volume[volume > least] if is_padded and padded < volume.size else volume, axis=None)
    assert (found.min, found.max) == (float(least), float(volume.max()))
    assert found.padding == (Padding(float(least), padded) if is_padded else None)
    wide = shown.astype(np.float64)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-6)
    assert found.std == pytest.approx(wide.std(), rel=1e-9, abs=1e-5)
    percents = {5: found.p00_5, 50: found.p05, 500: found.p50, 950: found.p95, 995: found.p99_5}
    for permille, value in percents.items():
        assert value == shown[math.ceil(Fraction(permille * shown.size, 1000)) - 1]


@given(hnp.arrays(np.int16, SHAPES))
def test_mean_and_std_of_integers_are_rounded_once(volume: NDArray[np.int16]) -> None:
    found = metered(volume)
    least = volume.min()
    shown = volume[volume > least] if found.padding and (volume > least).any() else volume
    values = [Fraction(value) for value in shown.ravel().tolist()]
    mean = sum(values) / len(values)
    assert found.mean == float(mean)
    assert found.std == math.sqrt(float(sum((value - mean) ** 2 for value in values) / len(values)))


@pytest.mark.parametrize(("voxels", "is_padding"), [(9, False), (10, True)])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_padding_is_a_voxel_in_a_thousand_below_air(dtype: type, voxels: int, *, is_padding: bool) -> None:
    volume: NDArray[Any] = np.linspace(-1024, 3000, 10_000).astype(dtype).reshape(25, 20, 20)
    volume.reshape(-1)[np.arange(voxels) * 7] = -1025
    found = metered(volume)
    assert found.padding == (Padding(-1025.0, voxels) if is_padding else None)
    assert found.min == -1025
    volume[volume == -1025] = -1024
    assert metered(volume).padding is None


def test_padding_is_in_no_figure_but_the_least() -> None:
    inside = np.random.default_rng(0).normal(40, 100, (20, 32, 32)).astype(np.int16)
    padded = np.full((20, 64, 64), -3024, np.int16)
    padded[:, 16:48, 16:48] = inside
    apart, alone = metered(padded), metered(inside)
    assert apart.padding == Padding(-3024.0, padded.size - inside.size)
    assert apart.min == -3024
    for name in ("max", "mean", "std", "p00_5", "p05", "p50", "p95", "p99_5"):
        assert getattr(apart, name) == getattr(alone, name)


def test_a_slab_larger_than_a_block_is_counted_whole() -> None:
    volume = np.random.default_rng(0).integers(-1000, 3000, (17, 260, 250), dtype=np.int16)
    found = metered(volume)
    assert found.mean == volume.sum(dtype=np.int64) / volume.size
    assert found.p50 == np.percentile(volume, 50, method="inverted_cdf")


def test_the_histogram_of_kept_values_takes_little_memory() -> None:
    values = np.linspace(-1000.5, 3000, 1 << 22, dtype="<f4")
    tracemalloc.start()
    try:
        found = Sorted(values).histogram()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert found == histogram_of(values)


def test_squares_beyond_float64_do_not_overflow() -> None:
    found = metered(np.array([[[0, 1e300]]]))
    assert found.mean == pytest.approx(5e299)
    assert found.std == pytest.approx(5e299)


LEVELS = tuple(range(1, 26))
SPEC = Spec(
    name="spines",
    title="Spines",
    layout="ctspine1k",
    licence="unknown",
    licence_note="",
    citation="unknown",
    mask="vertebrae",
    labels={value: f"V{value}" for value in LEVELS},
    levels=LEVELS,
    optional_levels=(25,),
    regions={},
    splits=("train",),
    sources=("here",),
)
HU = LabelIntensity(mean=0, std=0, p00_5=0, p05=0, p50=0, p95=0, p99_5=0)


def column(*spans: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A mask of boxes: (label, first slice, end slice)."""
    mask = np.zeros((60, 20, 20), np.uint8)
    for label, start, stop in spans:
        mask[start:stop, 5:15, 5:15] = label
    return mask


def codes(mask: NDArray[np.uint8]) -> list[tuple[str, tuple[int, ...]]]:
    # No label of these masks is to touch the volume's edge.
    mask = np.pad(mask, 1)
    z, y, x = mask.shape
    labels = [Label(name=SPEC.labels[one.label], hu=HU, **one.fields) for one in measure_labels(mask)]
    return [(found.code, found.labels) for found in label_findings(Spine(labels, (z, y, x), SPEC, {}))]


def test_a_whole_spine_has_no_findings() -> None:
    assert codes(column((24, 0, 8), (23, 10, 18), (22, 20, 28))) == []


def test_an_empty_mask_is_told() -> None:
    assert codes(column()) == [("no_label", ())]


def test_a_missing_level_is_found() -> None:
    assert codes(column((24, 0, 8), (22, 20, 28))) == [("missing_level", (23,))]


def test_strays_are_found_and_do_not_count_as_levels() -> None:
    mask = column((24, 0, 8), (23, 10, 18), (22, 20, 28))
    mask[50, 3, 3] = 1
    mask[2, 3:5, 3] = 6
    assert codes(mask) == [("stray_label", (1, 6))]


def test_a_vertebra_in_pieces_is_found_and_a_speck_is_not() -> None:
    mask = column((24, 0, 8), (23, 10, 18))
    mask[30:38, 5:15, 5:15] = 24
    assert ("split_vertebra", (24,)) in codes(mask)
    mask = column((24, 0, 8), (23, 10, 18))
    mask[40, 0, 0] = 23
    assert codes(mask) == []


def test_labels_out_of_order_are_found() -> None:
    assert codes(column((23, 0, 8), (24, 10, 18))) == [("order", (23, 24))]
