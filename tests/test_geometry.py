from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.format.record import rows_of
from ctspine_zarr.geometry import (
    Affine,
    Lattice,
    Reorientation,
    axis_aligned_error,
    disk_codes,
    grid_offset,
    lattice_affine,
    obliqueness,
    origin_of,
    shear,
    spacing_excess,
    spacing_of,
    voxel_volume,
)

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


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.tuples(*[st.floats(0.2, 4)] * 3),
    st.floats(-3, 3),
)
def test_a_voxel_of_a_lattice_lies_where_its_affine_says(
    axes: list[int],
    flips: tuple[bool, bool, bool],
    size: tuple[int, int, int],
    first: tuple[float, float, float],
    step: tuple[float, float, float],
    turn: float,
) -> None:
    one, two, three = axes
    reorientation = Reorientation((one, two, three), flips)
    affine = nibabel.affines.from_matvec(euler2mat(turn, turn / 2) @ np.diag([0.7, 0.8, 2.5]), [-120, 33, 7])
    found = lattice_affine(affine, reorientation, Lattice(size, first, step))
    assert np.array_equal(found, lattice_affine(rows_of(affine), reorientation, Lattice(size, first, step)))
    # Each voxel's own index in the lattice, carried through the reorientation.
    indices = reorientation.apply(np.arange(np.prod(size)).reshape(size))
    for new in np.ndindex(indices.shape):
        z, y, x = np.add(first, np.multiply(step, np.unravel_index(indices[new], size)))
        assert np.allclose(found @ [*new, 1], affine @ [x, y, z, 1], atol=1e-9)


def test_the_offset_of_two_grids_is_the_farthest_corner_in_voxels() -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    shifted = affine.copy()
    shifted[2, 3] = 2.0
    assert grid_offset(affine, shifted, (10, 10, 10)) == pytest.approx(0.4)
    stretched = np.diag([2.0, 2.0, 5.1, 1.0])
    assert grid_offset(affine, stretched, (10, 10, 51)) == pytest.approx(1.0)
    assert grid_offset(affine, affine, (512, 512, 1000)) == 0


ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SPACING = st.tuples(*[st.floats(0.1, 10)] * 3)


def rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = euler2mat(*np.radians(angles))
    return matrix


def affine_of(matrix: NDArray[np.float64], spacing: tuple[float, float, float]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = matrix * spacing
    affine[:3, 3] = [-100, 50, 12.5]
    return affine


@given(st.tuples(*[st.floats(-15, 15)] * 3), SPACING)
def test_obliqueness_is_what_nibabel_says_of_a_canonical_grid(
    angles: tuple[float, float, float], spacing: tuple[float, float, float]
) -> None:
    affine = affine_of(rotation(angles), spacing)
    expected = np.degrees(nibabel.affines.obliquity(affine)).max()
    # It takes the angle by its cosine.
    assert obliqueness(affine) == pytest.approx(expected, abs=1e-5)


@given(st.floats(-44, 44), SPACING, st.sampled_from(ORIENTATIONS))
def test_a_turn_about_one_axis_is_the_obliqueness_and_no_shear(
    degrees: float, spacing: tuple[float, float, float], codes: str
) -> None:
    affine = affine_of(rotation((degrees, 0, 0)), spacing)
    disk = affine @ inv_ornt_aff(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)), (4, 5, 6))
    assert obliqueness(disk) == pytest.approx(abs(degrees), abs=1e-9)
    assert shear(disk) == pytest.approx(0, abs=1e-9)
    assert spacing_excess(disk) == pytest.approx(0, abs=1e-9)


@given(ANGLES, SPACING, st.floats(-80, 80), st.permutations([0, 1, 2]))
def test_shear_is_the_lean_of_one_axis_towards_another(
    angles: tuple[float, float, float], spacing: tuple[float, float, float], lean: float, order: list[int]
) -> None:
    leaning = np.eye(3)
    leaning[order[0], order[0]], leaning[order[1], order[0]] = (
        np.cos(np.radians(lean)),
        np.sin(np.radians(lean)),
    )
    affine = affine_of(rotation(angles) @ leaning, spacing)
    assert shear(affine) == pytest.approx(abs(lean), abs=1e-6)
    assert spacing_excess(affine) == pytest.approx(1 / np.cos(np.radians(lean)) - 1, abs=1e-9)
    # Of a leaning box: an edge times the height over it.
    assert voxel_volume(affine) == pytest.approx(np.prod(spacing) * np.cos(np.radians(lean)))
    assert voxel_volume(affine) == voxel_volume(rows_of(affine))


@given(
    st.tuples(*[st.floats(-44, 44)] * 3),
    SPACING,
    st.tuples(*[st.integers(1, 5)] * 3),
    st.floats(-0.5, 0.5),
)
def test_the_error_of_straight_axes_is_that_of_the_worst_voxel(
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    lean: float,
) -> None:
    affine = affine_of(rotation(angles) @ np.array([[1, lean, 0], [0, 1, 0], [0, 0, 1]]), spacing)
    indices = list(np.ndindex(*shape))
    exact = nibabel.affines.apply_affine(affine, indices)
    straight = affine[:3, 3] + np.array(indices) * nibabel.affines.voxel_sizes(affine)
    worst = np.linalg.norm(exact - straight, axis=1).max()
    assert axis_aligned_error(affine, shape) == pytest.approx(worst, abs=1e-9)


def test_straight_axes_are_exact_where_the_grid_is() -> None:
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    assert (obliqueness(affine), shear(affine), axis_aligned_error(affine, (512, 512, 900))) == (0, 0, 0)
