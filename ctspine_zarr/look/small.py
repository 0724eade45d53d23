"""The small picture of a case: its spine from the side, with the labels of its mask in colour."""

from __future__ import annotations

from typing import Final

from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.look.canvas import Picture, jpeg
from ctspine_zarr.look.line import centre_line
from ctspine_zarr.look.panes import Style, pane
from ctspine_zarr.look.planes import Cut, Plane, cut

# To either side of the spine: a vertebra with its processes, and some of what is around it.
_REACH_MM: Final = 70.0
# More than any CT has there.
_MOST_VOXELS: Final = 2**21
# (width, height) in pixels that a JPEG fits in: the first that takes few enough bytes.
_SIZES: Final = ((288, 384), (144, 192))
_QUALITIES: Final = (85, 70, 50, 30)
# Pixels for the shorter edge of a voxel, at the most: more show nothing more.
_MOST_PIXELS: Final = 2
_STYLE: Final = Style(edge=0, fill=0.5, text=0)


def spine_cut(record: Record, spec: Spec) -> Cut | None:
    """The sagittal cut along a case's spine, 7 cm to either side of it.

    None where that are more voxels than any CT has there.
    """
    if record.shape[0] * min(record.shape[1], 2 * _REACH_MM / record.spacing[1]) > _MOST_VOXELS:
        return None
    reach = max(1, round(_REACH_MM / record.spacing[1]))
    return cut("sagittal", record.shape, centre_line(record, spec), reach)


def drawn(plane: Plane, size: tuple[float, float], window: tuple[float, float] = WINDOW) -> Picture:
    """A small picture of a plane with its labels in colour, true to its proportions, as large as fits.

    Args:
        plane: what is looked at.
        size: (width, height) in pixels that it fits in.
        window: HU that become black and white.
    """
    tall, wide = plane.size
    scale = min(size[0] / wide, size[1] / tall)
    return pane(plane, (max(1, round(wide * scale)), max(1, round(tall * scale))), window, {}, _STYLE)


def small_jpeg(plane: Plane, most: int) -> bytes:
    """A plane as a JPEG of 288 x 384 pixels at most, or smaller and coarser, so that it has few bytes.

    A voxel's shorter edge has two pixels at most.

    Args:
        plane: what is looked at.
        most: bytes that it may have; empty where it cannot have so few.
    """
    tall, wide = (_MOST_PIXELS * mm / min(plane.spacing) for mm in plane.size)
    pictures = (drawn(plane, (min(width, wide), min(height, tall))) for width, height in _SIZES)
    files = (jpeg(picture, quality) for picture in pictures for quality in _QUALITIES)
    return next((file for file in files if len(file) <= most), b"")
