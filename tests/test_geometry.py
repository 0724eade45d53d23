from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from ctspine_zarr import nifti
from ctspine_zarr.geometry import Reorientation, disk_codes, grid_offset, origin_of, spacing_of

ORIENTATIONS = [
    "".join(codes[axis] for axis in order)
    for order in itertools.permutations(range(3))
    for codes in itertools.product("LR", "PA", "IS")
]


def oriented(codes: str, shape: tuple[int, int, int], turn: float = 0.0) -> nibabel.Nifti1Image:
    """An image stored in an orientation, its axes turned a little about z."""
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    canonical = turned @ np.diag([0.7, 0.8, 2.5, 1.0])
    canonical[:3, 3] = [-100, 50, 12.5]
    to_disk = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    disk = nibabel.apply_orientation(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), to_disk)
    return nibabel.Nifti1Image(disk, canonical @ inv_ornt_aff(to_disk, shape))


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_every_orientation_becomes_what_nibabel_calls_canonical(codes: str, turn: float) -> None:
    image = oriented(codes, (4, 5, 6), turn)
    header = nifti.parse_header(image.to_bytes()[:352])
    canonical = nibabel.as_closest_canonical(image)
    stored = np.asarray(image.dataobj)
    reoriented = header.reorientation.apply(stored)
    assert np.array_equal(reoriented, np.asarray(canonical.dataobj).transpose())
    assert np.array_equal(header.reorientation.undo(reoriented), stored)
    assert disk_codes(header.reorientation) == "".join(nibabel.aff2axcodes(image.affine))
    affine = header.reorientation.affine(header.affine, header.shape)
    assert np.allclose(affine, canonical.affine, atol=1e-4)
    assert spacing_of(affine) == pytest.approx((2.5, 0.8, 0.7), rel=1e-5)
    assert origin_of(affine) == pytest.approx(canonical.affine[:3, 3][::-1], abs=1e-4)


@given(
    st.permutations([0, 1, 2]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.tuples(*[st.integers(1, 5)] * 3),
)
def test_undo_is_the_inverse_of_apply(
    axes: list[int], flips: tuple[bool, bool, bool], shape: tuple[int, int, int]
) -> None:
    reorientation = Reorientation((axes[0], axes[1], axes[2]), flips)
    array = np.arange(np.prod(shape)).reshape(shape)
    assert np.array_equal(reorientation.undo(reorientation.apply(array)), array)


def test_the_offset_of_two_grids_is_the_farthest_corner_in_voxels() -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    shifted = affine.copy()
    shifted[2, 3] = 2.0
    assert grid_offset(affine, shifted, (10, 10, 10)) == pytest.approx(0.4)
    stretched = np.diag([2.0, 2.0, 5.1, 1.0])
    assert grid_offset(affine, stretched, (10, 10, 51)) == pytest.approx(1.0)
    assert grid_offset(affine, affine, (512, 512, 1000)) == 0
