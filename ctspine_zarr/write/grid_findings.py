"""Findings about the grids of a case, with figures; what is built is exact all the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.geometry import axis_aligned_error, grid_offset, obliqueness, shear, spacing_excess
from ctspine_zarr.nifti import Header

MOST_OFFSET: Final = 0.5
"""Voxels by which image and mask may lie apart: below it, they share every voxel."""

_NOTED_OFFSET: Final = 0.01
# Degrees: a thousand voxels of 0.1 degree are two voxels off; rounding makes a millionth.
_NOTED_ANGLE: Final = 0.1


def grid_findings(image: Header, mask: Header | None, offset: float) -> Iterator[Finding]:
    """What is odd about the headers of a case, those of the image first.

    Args:
        image: of the image.
        mask: of the mask; None for a case without one.
        offset: of the mask from the image, in voxels; see `geometry.grid_offset`.
    """
    yield from _apart(offset)
    yield from _angles(image)
    for name, header in (("image", image), ("mask", mask)):
        if header is not None:
            yield from _of_file(name, header)


def label_set_findings(mask: Header, offset: float) -> Iterator[Finding]:
    """What is odd about the header of a label set's file; see `grid_findings`."""
    yield from _apart(offset)
    yield from _of_file("mask", mask)


def _apart(offset: float) -> Iterator[Finding]:
    if offset > _NOTED_OFFSET:
        message = f"image and mask lie {offset:.3f} voxel apart"
        yield Finding(Code.MASK_OFFSET, message, figures=_figures(voxels=offset))


def _of_file(name: str, header: Header) -> Iterator[Finding]:
    yield from _affines(name, header)
    yield from _fields(name, header)


def _angles(image: Header) -> Iterator[Finding]:
    """Of the image alone: its mask lies on its grid."""
    if (degrees := obliqueness(image.affine)) > _NOTED_ANGLE:
        affine = image.reorientation.affine(image.affine, image.shape)
        z, y, x = image.reorientation.shape(image.shape)
        error = axis_aligned_error(affine, (x, y, z))
        message = (
            f"its axes are up to {degrees:.3g} degrees off the world's: the affine is exact, "
            f"positions from origin and spacing are up to {error:.3g} mm off"
        )
        yield Finding(Code.OBLIQUE, message, figures=_figures(degrees=degrees, mm=error))
    if (degrees := shear(image.affine)) > _NOTED_ANGLE:
        excess = spacing_excess(image.affine)
        message = (
            f"its axes are up to {degrees:.3g} degrees off a right angle: "
            f"the product of the spacing is {excess:.1%} above a voxel's volume"
        )
        yield Finding(Code.SHEARED, message, figures=_figures(degrees=degrees, excess=excess))


def _affines(name: str, header: Header) -> Iterator[Finding]:
    if header.sform is None and header.qform is None:
        yield Finding(Code.NO_ORIENTATION, f"the {name} has neither sform nor qform")
    elif header.qform_code > 0 and header.qform is None:
        yield Finding(Code.SFORM_QFORM, f"the qform of the {name} is unusable; its sform is used")
    elif header.sform is not None and header.qform is not None:
        apart = grid_offset(header.sform, header.qform, header.shape)
        if apart > MOST_OFFSET:
            message = f"sform and qform of the {name} lie {apart:.3g} voxels apart"
            yield Finding(Code.SFORM_QFORM, message, figures=_figures(voxels=apart))


def _fields(name: str, header: Header) -> Iterator[Finding]:
    if header.unit == "unknown":
        yield Finding(Code.UNIT, f"the {name} names no unit of length; taken as millimetres")
    elif header.unit != "mm":
        yield Finding(Code.UNIT, f"the {name} is in {header.unit}s; converted to millimetres")
    if header.spacing_made_up:
        yield Finding(Code.MADE_UP_SPACING, f"the {name} has a spacing of 0 in its header; taken as 1")
    for repair in header.repairs:
        yield Finding(Code.REPAIRED_HEADER, f"the {name}'s {repair}")
    if header.disk_shape != header.shape:
        message = f"the {name} has shape {header.disk_shape}, read as {header.shape}"
        yield Finding(Code.TRAILING_AXIS, message)


def _figures(**values: float) -> dict[str, float]:
    """Those that a document can hold, to six digits."""
    return {name: float(f"{value:.6g}") for name, value in values.items() if math.isfinite(value)}
