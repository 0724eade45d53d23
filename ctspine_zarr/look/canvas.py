"""Pixels and text: the one module that knows Pillow; edges are scipy's."""

from __future__ import annotations

import functools
import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

type Picture = Image.Image
type Colour = tuple[int, int, int]
type Size = tuple[int, int]
type Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BLACK: Final = (0, 0, 0)
WHITE: Final = (240, 240, 240)
GREY: Final = (160, 165, 170)
AMBER: Final = (255, 190, 60)

# Pixels of a contour's edge are this many across while it is drawn.
_FINE: Final = 3
# HU of a pixel, either way; no window shows more.
_MOST: Final = 1e6
_ELLIPSIS: Final = "..."


def blank(size: Size) -> Picture:
    """A black picture, (width, height)."""
    return Image.new("RGB", size)


def resized(
    values: NDArray[Any], size: Size, box: tuple[float, float, float, float] | None = None
) -> NDArray[np.float32]:
    """Values between and over pixels, without aliasing: cubic where they grow, averages where they shrink.

    Args:
        values: 2-D.
        size: (width, height) of the result.
        box: left, top, right and bottom of the part that is wanted; by default all.
    """
    # Of what is no number, or more than float32 holds, there is no mean.
    floats = np.nan_to_num(np.clip(values, -_MOST, _MOST).astype(np.float32))
    picture = Image.fromarray(np.ascontiguousarray(floats))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box))


def grey(values: NDArray[np.float32], window: tuple[float, float]) -> Picture:
    """A picture of HU: black below the window, white above."""
    low, high = window
    shades = ((values - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    return Image.fromarray(shades).convert("RGB")


def outline(picture: Picture, mask: NDArray[np.bool_], colour: Colour, width: int, fill: float) -> None:
    """What a mask covers, on a picture: filled, its edge smoothed and just inside it.

    Args:
        picture: which the whole mask covers, whatever its own size.
        mask: 2-D.
        colour: of edge and inside.
        width: of the edge in pixels; 0 for none.
        fill: opacity of the inside, 0 to 1.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return
    tall, wide = picture.height / mask.shape[0], picture.width / mask.shape[1]
    left, right = _pixels(columns, wide, picture.width)
    top, bottom = _pixels(rows, tall, picture.height)
    box = (left / wide, top / tall, min(right / wide, mask.shape[1]), min(bottom / tall, mask.shape[0]))
    size = (right - left, bottom - top)
    fine = resized(mask.astype(np.uint8), (size[0] * _FINE, size[1] * _FINE), box) >= 0.5
    alpha = _coverage(fine) * fill
    if width:
        # Row by row, whatever its width: Pillow's own takes minutes in a large picture.
        core = ndimage.minimum_filter(fine, 2 * width * _FINE + 1, mode="nearest")
        alpha = np.maximum(_coverage(fine & ~core), alpha)
    picture.paste(colour, (left, top), Image.fromarray((alpha * 255).round().astype(np.uint8)))


def _pixels(indices: NDArray[np.intp], scale: float, most: int) -> tuple[int, int]:
    """The pixels that voxels cover, and some more, for what is between voxels reaches beyond them."""
    first = int((int(indices[0]) - 2) * scale)
    last = int((int(indices[-1]) + 3) * scale) + 1
    start = min(max(0, first), most - 1)
    return start, min(max(start + 1, last), most)


def _coverage(fine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The part of each pixel that is covered, 0 to 1, (height, width)."""
    parts = fine.view(np.uint8)
    rows: NDArray[np.uint8] = functools.reduce(np.add, (parts[start::_FINE] for start in range(_FINE)))
    counts = functools.reduce(np.add, (rows[:, start::_FINE] for start in range(_FINE)))
    covered: NDArray[np.float64] = counts / _FINE**2
    return covered


@functools.cache
def font(size: int) -> Font:
    """Pillow's own font, of a size in pixels."""
    return ImageFont.load_default(size)


def extent(text: str, size: int) -> Size:
    """(width, height) of a line of text, its outline included; the height is that of any line."""
    return round(font(size).getlength(text)) + 2, line_height(size)


def line_height(size: int) -> int:
    """Pixels of a line of text of that size."""
    return round(size * 1.25)


def write(
    picture: Picture,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: Colour = WHITE,
    *,
    dark: bool = True,
) -> None:
    """A line of text on a picture, its left upper corner at a pixel, with a thin dark edge around it."""
    place = (round(at[0]) + 1, round(at[1]))
    stroke = max(1, size // 9) if dark else 0
    draw = ImageDraw.Draw(picture)
    draw.text(place, text, fill=colour, font=font(size), stroke_width=stroke, stroke_fill=BLACK)


def line(
    picture: Picture, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: int = 1
) -> None:
    """A straight line on a picture."""
    ImageDraw.Draw(picture).line((*start, *end), fill=colour, width=width)


def rectangle(picture: Picture, box: tuple[int, int, int, int], colour: Colour) -> None:
    """A filled rectangle on a picture, from left and top to right and bottom, these two not included."""
    picture.paste(colour, box)


def triangle(picture: Picture, corners: tuple[tuple[float, float], ...], colour: Colour) -> None:
    """A filled triangle on a picture."""
    ImageDraw.Draw(picture).polygon(corners, fill=colour)


def elided(text: str, size: int, width: float) -> str:
    """The text, or its beginning and end, so that it is no wider."""
    if extent(text, size)[0] <= width:
        return text
    for kept in range(min(len(text), 200) - 1, 1, -1):
        head = text[: (kept + 1) // 2] + _ELLIPSIS + text[len(text) - kept // 2 :]
        if extent(head, size)[0] <= width:
            return head
    return ""


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return file.getvalue()


def jpeg(picture: Picture, quality: int) -> bytes:
    """The picture as a JPEG file.

    Args:
        picture: of any size.
        quality: 1 to 95, as Pillow has it.
    """
    file = io.BytesIO()
    picture.save(file, "jpeg", optimize=True, quality=quality)
    return file.getvalue()
