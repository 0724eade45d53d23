"""A picture of a case: three planes through it, its labels in colour. Needs Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.spec import colour
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.regions import PLANES, Plane
from ctspine_zarr.read.sample import Sample

try:
    from PIL import Image, ImageDraw
except ImportError as error:
    _MESSAGE = "pictures need Pillow: pip install 'ctspine-zarr[preview]'"
    raise MissingDependency(_MESSAGE) from error

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# One row for every value that a mask can have.
_COLOURS: Final = np.array([(0, 0, 0)] + [colour(label) for label in range(1, 256)], np.float64)
_OPACITY: Final = 0.45
_MARGIN: Final = 4
# What lies at the left and right edge of each plane as it is drawn.
_SIDES: Final[dict[Plane, tuple[str, str]]] = {
    "axial": ("R", "L"),
    "coronal": ("R", "L"),
    "sagittal": ("A", "P"),
}


def overview(case: Case, height: int = 420) -> Picture:
    """A picture of axial, coronal and sagittal slices side by side, through the label in the middle.

    Drawn as radiologists look: anterior or superior above, the patient's right on the left,
    and in the sagittal plane the face to the left; in the proportions of the body.

    Args:
        case: three slices of it are read; one without a mask is drawn without colours.
        height: of the picture in pixels.
    """
    middle = _middle(case)
    # One scale for all three planes: the tallest fills the picture.
    pixel = max(_tall(case, plane) for plane in _SIDES) / height
    panels = [_panel(case, plane, middle[PLANES[plane]], pixel) for plane in _SIDES]
    width = sum(panel.width for panel in panels) + _MARGIN * (len(panels) - 1)
    picture = Image.new("RGB", (width, height))
    left = 0
    for panel in panels:
        picture.paste(panel, (left, (height - panel.height) // 2))
        left += panel.width + _MARGIN
    return picture


def _extent(case: Case, plane: Plane) -> tuple[float, float]:
    """The mm from top to bottom and from left to right of a plane."""
    extents = [n * mm for n, mm in zip(case.shape, case.spacing, strict=True)]
    del extents[PLANES[plane]]
    return extents[0], extents[1]


def _tall(case: Case, plane: Plane) -> float:
    return _extent(case, plane)[0]


def _middle(case: Case) -> tuple[int, int, int]:
    """The centroid of the label that lies in the middle, from the head down; the volume's middle where
    there is none.
    """
    centroids = sorted((label.centroid for label in case.record.labels), reverse=True)
    if not centroids:
        z, y, x = (size // 2 for size in case.shape)
        return z, y, x
    z, y, x = map(round, centroids[len(centroids) // 2])
    return z, y, x


def _panel(case: Case, plane: Plane, index: int, pixel: float) -> Picture:
    # Rows grow upwards and columns to the patient's right; a screen's the other way round.
    colours = _blend(case.slice(index, plane))[::-1, ::-1]
    height, width = (max(1, round(mm / pixel)) for mm in _extent(case, plane))
    panel = Image.fromarray(np.ascontiguousarray(colours)).resize((width, height), Image.Resampling.BILINEAR)
    left, right = _SIDES[plane]
    draw = ImageDraw.Draw(panel)
    draw.text((_MARGIN, height // 2), left, fill="white")
    draw.text((width - 3 * _MARGIN, height // 2), right, fill="white")
    draw.text((_MARGIN, _MARGIN), f"{case.id}  {plane} {index}", fill="white")
    return panel


def _blend(sample: Sample) -> NDArray[np.uint8]:
    """Red, green and blue along a last axis: labels over a bone window."""
    low, high = WINDOW
    colours = ((sample["image"].astype(np.float64) - low) / (high - low)).clip(0, 1)[..., None] * np.full(
        3, 255.0
    )
    if "segmentation" in sample:
        opacity = np.where(sample["segmentation"] > 0, _OPACITY, 0.0)[..., None]
        colours = colours * (1 - opacity) + _COLOURS[sample["segmentation"]] * opacity
    blended: NDArray[np.uint8] = colours.astype(np.uint8)
    return blended
