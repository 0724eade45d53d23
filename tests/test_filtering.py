"""The filter of derived stores is Pillow's, and linear interpolation where nothing shrinks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ctspine_zarr.derive.filtering import Taps, filtered, taps_of
from ctspine_zarr.geometry import Lattice


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 60), count=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_resized_line_is_pillows(size: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 300, size).astype(np.float32)
    step = size / count
    if count > size:
        return
    found = Taps.of((step - 1) / 2, step, count, size).along(values, 0)
    expected = np.asarray(Image.fromarray(values[None]).resize((count, 1), Image.Resampling.BILINEAR))[0]
    assert np.allclose(found, expected, atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    step=st.tuples(*[st.floats(0.2, 1)] * 3),
    first=st.tuples(*[st.floats(-0.4, 2)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    thickness=st.integers(1, 5),
)
def test_a_finer_lattice_is_linear_interpolation(
    shape: tuple[int, int, int],
    step: tuple[float, float, float],
    first: tuple[float, float, float],
    size: tuple[int, int, int],
    thickness: int,
) -> None:
    volume = np.random.default_rng(0).integers(-1000, 2000, shape).astype(np.int16)
    lattice = Lattice(size, first, step)
    planes = list(filtered(lambda *box: volume[box], taps_of(lattice, shape), thickness))
    along = [
        np.clip(np.round(f + s * np.arange(n), 6), 0, m - 1)
        for f, s, n, m in zip(first, step, size, shape, strict=True)
    ]
    grid = np.meshgrid(*along, indexing="ij")
    expected = scipy.ndimage.map_coordinates(volume.astype(np.float32), grid, order=1, mode="nearest")
    assert np.allclose(np.stack(planes), expected, atol=0.05)


@pytest.mark.parametrize("step", [1.0, 1.28, 2.0, 3.7])
def test_a_constant_volume_stays_and_a_mean_is_kept(step: float) -> None:
    taps = Taps.of((step - 1) / 2, step, int(50 / step), 50)
    assert np.allclose(taps.weights.sum(1), 1)
    assert np.allclose(taps.along(np.full(50, 7, np.float32), 0), 7)


def test_what_oscillates_faster_than_a_lattice_can_say_is_averaged_away() -> None:
    stripes = np.tile([1000, -1000], 64).astype(np.float32)
    found = Taps.of(1.5, 4, 32, 128).along(stripes, 0)
    assert np.abs(found[1:-1]).max() < 1


def test_slices_are_read_once_each_and_in_order() -> None:
    volume = np.random.default_rng(0).normal(size=(37, 9, 11)).astype(np.float32)
    lattice = Lattice((15, 9, 11), (0.75, 0, 0), (2.5, 1, 1))
    asked: list[tuple[int, int]] = []

    def planes(z: slice, y: slice, x: slice) -> NDArray[np.float32]:
        asked.append((z.start, z.stop))
        return volume[z, y, x]

    found = np.stack(list(filtered(planes, taps_of(lattice, volume.shape), 8)))
    assert [begin for begin, _ in asked] == [0, *(end for _, end in asked[:-1])]
    assert np.allclose(found, taps_of(lattice, volume.shape)[0].along(volume, 0), atol=1e-5)
