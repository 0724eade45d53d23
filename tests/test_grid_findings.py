"""What is odd about headers is told with figures, the right file named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import pytest
import xarray
from hostile import Author, build_every_kind
from numpy.typing import NDArray
from stores import objects
from trees import AFFINE, SHAPE, NnunetTree, edited, in_mm, labels, load, voxels

import ctspine_zarr as cz
from ctspine_zarr import nifti
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.write.grid_findings import grid_findings


def header(inflated: bytes) -> nifti.Header:
    return nifti.parse_header(inflated[:352])


GOOD = header(edited(voxels()))


def found(image: nifti.Header, mask: nifti.Header | None = GOOD, offset: float = 0) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in grid_findings(image, mask, offset)]


def turned(degrees: float, sheared: float = 0) -> Any:
    """The affine turned about x; its y axis then leans towards z."""
    angle, lean = np.radians([degrees, sheared])
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    leaning = np.eye(4)
    leaning[1:3, 1] = np.cos(lean), np.sin(lean)
    return rotation @ leaning @ AFFINE


def positions(image: Any) -> NDArray[np.float64]:
    """Where nibabel says that each voxel of a canonical image lies: (x, y, z, 3), RAS+ mm."""
    indices = np.moveaxis(np.indices(image.shape), 0, -1)
    found: NDArray[np.float64] = nibabel.affines.apply_affine(image.affine, indices)
    return found


def worst_error(image: Any) -> float:
    """How far off, at most, a voxel of a canonical image is by its origin and spacing, of all its voxels."""
    indices = np.moveaxis(np.indices(image.shape), 0, -1)
    straight = image.affine[:3, 3] + indices * nibabel.affines.voxel_sizes(image.affine)
    return float(np.linalg.norm(positions(image) - straight, axis=-1).max())


def test_a_plain_case_has_none() -> None:
    assert found(GOOD) == []
    assert found(GOOD, None) == []
    assert found(header(in_mm(voxels(), turned(0.05)).to_bytes())) == []


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_a_tilted_grid_is_told_with_the_error_of_its_coordinates(codes: str) -> None:
    image = in_mm(voxels(), turned(10)).as_reoriented(nibabel.orientations.axcodes2ornt(codes))
    error = worst_error(nibabel.as_closest_canonical(image))
    image.header.set_xyzt_units("mm")
    message = (
        "its axes are up to 10 degrees off the world's: the affine is exact, "
        f"positions from origin and spacing are up to {error:.3g} mm off"
    )
    assert found(header(image.to_bytes())) == [("oblique", message)]


def test_a_sheared_grid_is_told_with_what_its_spacing_exceeds() -> None:
    """As an affine of 20 degrees' lean has it: 1 / cos(20 degrees) is 1.064."""
    told = dict(found(header(in_mm(voxels(), turned(0, 20)).to_bytes())))
    assert list(told) == ["oblique", "sheared"]
    assert told["sheared"] == (
        "its axes are up to 20 degrees off a right angle: "
        "the product of the spacing is 6.4% above a voxel's volume"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (0, "names no unit of length; taken as millimetres"),
        (1, "is in metres; converted to millimetres"),
        (3, "is in microns; converted to millimetres"),
        (2, None),
        (10, None),
    ],
)
def test_a_unit_other_than_millimetres_is_told(code: int, message: str | None) -> None:
    odd = header(edited(voxels(), xyzt_units=code))
    for name, headers in (("image", (odd, GOOD)), ("mask", (GOOD, odd))):
        assert found(*headers) == ([] if message is None else [("unit", f"the {name} {message}")])


def test_each_repair_is_told_with_its_file() -> None:
    odd = header(edited(labels(), sform_code=99, qform_code=1, bitpix=9))
    assert found(odd, odd) == [
        ("repaired_header", f"the {name}'s {repair}")
        for name in ("image", "mask")
        for repair in ("bitpix 9 taken as 8", "sform_code 99 taken as 0")
    ]


def test_a_made_up_spacing_is_told() -> None:
    odd = header(edited(voxels(), sform_code=0, qform_code=1, pixdim=[1, 0, 0, 0, 0, 0, 0, 0]))
    assert found(odd) == [
        ("made_up_spacing", "the image has a spacing of 0 in its header; taken as 1"),
        *[("repaired_header", f"the image's pixdim[{axis}] 0.0 taken as 1.0") for axis in (1, 2, 3)],
    ]


@pytest.mark.parametrize("name", ["image", "mask"])
def test_two_affines_that_disagree_are_told_of_either_file(name: str) -> None:
    image = in_mm(voxels())
    image.set_qform(np.diag([0.8, 0.8, 3.0, 1]), code=1)
    apart, unusable = header(image.to_bytes()), header(edited(voxels(), qform_code=1, quatern_b=2))
    other = GOOD
    for odd, message in (
        (apart, f"sform and qform of the {name} lie 3.4 voxels apart"),
        (unusable, f"the qform of the {name} is unusable; its sform is used"),
    ):
        headers = (odd, other) if name == "image" else (other, odd)
        assert found(*headers) == [("sform_qform", message)]


def test_an_image_without_affine_and_one_of_four_axes_is_told() -> None:
    lost = header(edited(voxels(), sform_code=0))
    assert found(lost) == [("no_orientation", "the image has neither sform nor qform")]
    long = header(in_mm(voxels()[..., None]).to_bytes())
    assert found(GOOD, long) == [("trailing_axis", f"the mask has shape {(*SHAPE, 1)}, read as {SHAPE}")]


def test_an_offset_is_told_above_a_hundredth_of_a_voxel() -> None:
    assert found(GOOD, offset=0.01) == []
    assert found(GOOD, offset=0.3) == [("mask_offset", "image and mask lie 0.300 voxel apart")]


WORLD: Final = ("right", "anterior", "superior")

FLAT: dict[str, list[list[float]]] = {
    "in a plane": [[1, 0, 1], [0, 1, 1], [0, 0, 0]],
    "in a plane but for rounding": [[0.1, 0.3, 0.4], [0.2, 0.7, 0.9], [0.3, 0.1, 0.4 + 1e-16]],
    "near a plane": [[1, 1, 0], [0, 1e-5, 0], [0, 0, 1]],
    "near a plane, of small voxels": [[1e-5, 1e-5, 0], [0, 1e-10, 0], [0, 0, 1e-5]],
    "no voxel": [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("kind", FLAT)
def test_a_record_of_a_grid_without_volume_is_refused(tmp_path: Path, kind: str) -> None:
    location = build_every_kind(tmp_path)
    author = Author(objects(location))
    rows = [[*map(float, row), 0.0] for row in FLAT[kind]] + [[0.0, 0.0, 0.0, 1.0]]
    for key, data in author.case("t", record=author.record("t") | {"affine": rows}).items():
        (location / key).write_bytes(data)
    with pytest.raises(DamagedStore, match="legal: finite, invertible"):
        cz.open_store(location)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 2.5), (0.001, 0.8, 900.0)])
def test_every_grid_that_a_file_may_have_is_legal_in_a_record(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    """The flattest voxel that is read spans a thousandth of a box of its spacing."""
    affine = np.diag([*spacing, 1])
    affine[:2, 1] = np.array([np.cos(0.0012), np.sin(0.0012)]) * spacing[1]
    tree = NnunetTree(tmp_path / "source")
    tree.add("t", in_mm(voxels(), affine), False, folder="Ts")
    assert not cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1)).refused
    case = cz.open_store(tmp_path / "s.zarr")["t"]
    line = positions(in_mm(voxels(), affine))[:, 2, 3].T
    labels_of = {name: xarray.DataArray(at, dims="x") for name, at in zip(WORLD, line, strict=True)}
    near = case.to_xarray(world=True).sel(labels_of, method="nearest")
    assert np.array_equal(near["image"], voxels()[:, 2, 3])
    assert np.allclose(case.to_nibabel().affine, affine, rtol=1e-5)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_world_coordinates_of_an_oblique_grid_are_nibabels(tmp_path: Path, codes: str) -> None:
    """Turned about two axes, sheared and off the origin; on disk in any order of axes."""
    about_z = np.eye(4)
    about_z[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    affine = about_z @ turned(20, 5)
    affine[:3, 3] = -31.5, 12.25, 401
    image = in_mm(voxels(), affine).as_reoriented(nibabel.orientations.axcodes2ornt(codes))
    image.header.set_xyzt_units("mm")
    tree = NnunetTree(tmp_path / "source")
    canonical = nibabel.as_closest_canonical(load(tree.add("t", image, False, folder="Ts")))
    cz.build_store(cz.plan_build(tree.root, tmp_path / "s.zarr", workers=1))
    world = cz.open_store(tmp_path / "s.zarr")["t"].to_xarray(world=True)
    for name, expected in zip(WORLD, np.moveaxis(positions(canonical), -1, 0), strict=True):
        assert np.allclose(world[name].transpose("x", "y", "z"), expected, rtol=0, atol=1e-4)
    assert worst_error(canonical) > 10
    assert world.attrs["coordinate_error_mm"] == pytest.approx(worst_error(canonical), abs=6e-4)
