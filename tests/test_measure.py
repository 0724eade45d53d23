from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ctspine_zarr.dataset import VERTEBRAE
from ctspine_zarr.format.shard import slabs
from ctspine_zarr.write.measure import IntensityMeter, measure_vertebrae
from ctspine_zarr.write.quality import label_findings

MASKS = hnp.arrays(
    np.uint8, st.tuples(*[st.integers(1, 9)] * 3), elements=st.sampled_from([0, 0, 0, 1, 7, 24, 25])
)


@given(MASKS)
def test_vertebrae_are_what_a_plain_count_says(mask: NDArray[np.uint8]) -> None:
    found = measure_vertebrae(mask)
    assert [v.label for v in found] == [int(v) for v in np.unique(mask) if v]
    for vertebra in found:
        where = np.argwhere(mask == vertebra.label)
        assert vertebra.name == VERTEBRAE[vertebra.label]
        assert vertebra.voxels == len(where)
        assert vertebra.start == tuple(where.min(axis=0))
        assert vertebra.stop == tuple(where.max(axis=0) + 1)
        assert vertebra.centroid == pytest.approx(where.mean(axis=0), abs=6e-4)
        pieces, count = scipy.ndimage.label(mask == vertebra.label, np.ones((3, 3, 3)))
        assert vertebra.pieces == count
        assert vertebra.largest == np.bincount(pieces[pieces > 0]).max()


VOLUMES = hnp.arrays(np.int16, st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)))


@settings(max_examples=50)
@given(VOLUMES)
def test_intensity_is_that_of_the_stated_lattice(volume: NDArray[np.int16]) -> None:
    meter = IntensityMeter()
    for slab in slabs(volume):
        meter.add(slab)
    found = meter.result()
    lattice = np.sort(volume[::2, ::4, ::4].ravel())
    assert (found.min, found.max) == (int(volume.min()), int(volume.max()))
    assert found.mean == pytest.approx(lattice.mean(), abs=6e-4)
    assert found.std == pytest.approx(lattice.std(), abs=6e-4)
    for percent, value in ((0.5, found.p00_5), (5, found.p05), (50, found.p50), (95, found.p95)):
        at_most = np.count_nonzero(lattice <= value) / len(lattice)
        below = np.count_nonzero(lattice < value) / len(lattice)
        assert at_most >= percent / 100 - 1e-9
        assert below < percent / 100 + 1e-9


def column(*spans: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A mask of boxes: (label, first slice, end slice)."""
    mask = np.zeros((60, 20, 20), np.uint8)
    for label, start, stop in spans:
        mask[start:stop, 5:15, 5:15] = label
    return mask


def codes(mask: NDArray[np.uint8]) -> list[tuple[str, tuple[int, ...]]]:
    return [(finding.code, finding.labels) for finding in label_findings(measure_vertebrae(mask))]


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
