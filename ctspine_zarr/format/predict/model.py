"""What is known of a sample before it is decoded: prediction and context, in exact integers.

Samples are kept as half rows, (..., slice, row, parity, column): the even columns of a row, then
its odd ones. A half row has one column more at either end, which repeats its ends, and a slice two
rows more above it and one below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.geometry import Shape

TAPS: Final = 10
FREE: Final = TAPS - 1
FRACTION: Final = 6
ONE: Final = 1 << FRACTION
CONTEXTS: Final = 16
MOST: Final = 255
UNKNOWN: Final = 8
ABOVE: Final = 2
LANES: Final = 32
BEHIND: Final = 2

# Half rows by where they are: rows above, of the slice before (z = -1), and of the row itself.
type _Place = tuple[int, int, int, int]  # slice, row, parity, column, each relative

_EVEN, _ODD = 0, 1

TAPS_OF: Final[tuple[tuple[_Place, ...], ...]] = (
    (
        (0, -1, _EVEN, 0),
        (0, -1, _ODD, -1),
        (0, -1, _ODD, 0),
        (0, -2, _EVEN, 0),
        (0, -2, _ODD, -1),
        (0, -2, _ODD, 0),
        (0, -1, _EVEN, -1),
        (0, -1, _EVEN, 1),
        (0, -2, _EVEN, -1),
        (0, -2, _EVEN, 1),
    ),
    (
        (0, 0, _EVEN, 0),
        (0, 0, _EVEN, 1),
        (0, -1, _ODD, 0),
        (0, -1, _EVEN, 0),
        (0, -1, _EVEN, 1),
        (0, -2, _ODD, 0),
        (0, -1, _ODD, -1),
        (0, -1, _ODD, 1),
        (0, -2, _EVEN, 0),
        (0, -2, _EVEN, 1),
    ),
    (
        (0, -1, _EVEN, 0),
        (0, -1, _ODD, -1),
        (0, -1, _ODD, 0),
        (0, -2, _EVEN, 0),
        (-1, 0, _EVEN, 0),
        (-1, 0, _ODD, -1),
        (-1, 0, _ODD, 0),
        (-1, -1, _EVEN, 0),
        (-1, 1, _EVEN, 0),
        (0, -2, _ODD, 0),
    ),
    (
        (0, 0, _EVEN, 0),
        (0, 0, _EVEN, 1),
        (0, -1, _ODD, 0),
        (0, -1, _EVEN, 0),
        (0, -1, _EVEN, 1),
        (-1, 0, _ODD, 0),
        (-1, 0, _EVEN, 0),
        (-1, 0, _EVEN, 1),
        (-1, -1, _ODD, 0),
        (-1, 1, _ODD, 0),
    ),
)
"""The taps of each set: even and odd columns of the first slice, then of later ones."""

DEFAULTS: Final = (
    (34, 18, 18, -8, -6, -6, 4, 4, 3, 3),
    (28, 28, 26, -10, -10, -6, 2, 2, 2, 2),
    (26, 12, 12, -4, 24, 6, 6, -18, 2, -2),
    (26, 26, 18, -6, -6, 14, -4, -4, -4, 4),
)
"""The weights of each set before anything is known."""

VOTES_OF: Final[tuple[tuple[tuple[_Place, int], ...], ...]] = (
    (
        ((0, -1, _EVEN, 0), 2),
        ((0, -1, _ODD, -1), 1),
        ((0, -1, _ODD, 0), 1),
        ((-1, 0, _EVEN, 0), 2),
        ((-1, 1, _EVEN, 0), 2),
    ),
    (
        ((0, 0, _EVEN, 0), 2),
        ((0, 0, _EVEN, 1), 2),
        ((0, -1, _ODD, 0), 2),
        ((-1, 0, _ODD, 0), 1),
        ((-1, 1, _ODD, 0), 1),
    ),
)
"""The magnitudes that a context follows from, and their weights, by parity."""


def _contexts() -> NDArray[np.uint8]:
    sums = np.arange(8 * MOST + 1) + 4
    octaves = np.frexp(sums.astype(np.float64))[1] - 1
    halves = (octaves - 2) * 2 + (sums >> (octaves - 1) & 1)
    contexts: NDArray[np.uint8] = np.minimum(halves, CONTEXTS - 1).astype(np.uint8)
    return contexts


CONTEXT_OF: Final = _contexts()
"""The context by the sum of magnitudes: half octaves of the sum + 4."""


def steps_of(extent: Shape) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The slices of each step, and their rows: all go together, each two rows behind the one before."""
    depth, rows, _ = extent
    for step in range(rows + BEHIND * (depth - 1)):
        first = max(0, -(-(step + 1 - rows) // BEHIND))
        slices = np.arange(first, min(step // BEHIND, depth - 1) + 1)
        if slices.size:
            yield slices, step - BEHIND * slices


def halves_of(width: int) -> tuple[int, int]:
    """How many even and odd columns a row has."""
    return -(-width // 2), width // 2


def planes[Scalar: np.generic](lead: tuple[int, ...], extent: Shape, dtype: type[Scalar]) -> NDArray[Scalar]:
    """Half rows of zeros with what is around them; `lead` are the axes before rows."""
    return np.zeros((*lead, extent[1] + ABOVE + 1, 2, halves_of(extent[2])[0] + 2), dtype)


def close(half: NDArray[np.integer[Any]], even: NDArray[np.integer[Any]], width: int) -> None:
    """Repeats the ends of half rows; where there are no odd columns, the even one stands for them."""
    if width:
        half[..., 0] = half[..., 1]
        half[..., width + 1] = half[..., width]
    else:
        half[..., :2] = even[..., 1:2]


def magnitudes_of(residuals: NDArray[np.int16]) -> NDArray[np.int16]:
    """|residual|, at most 255."""
    magnitudes: NDArray[np.int16] = np.minimum(np.abs(residuals.astype(np.int32)), MOST).astype(np.int16)
    return magnitudes


def limited(sums: NDArray[np.int32]) -> NDArray[np.int16]:
    """Predictions of the weighted sums of taps."""
    rounded = (sums + (ONE >> 1)) >> FRACTION
    predictions: NDArray[np.int16] = np.clip(rounded, -32768, 32767).astype(np.int16)
    return predictions


def taps_of(samples: NDArray[np.int32], number: int, slices: slice, width: int) -> list[NDArray[np.int32]]:
    """The taps of a set for all rows of slices, (slice, row, column) each."""
    rows = samples.shape[1] - 3
    taps = []
    for dz, dy, half, dx in TAPS_OF[number]:
        planes = samples[:-1] if dz else samples[slices]
        taps.append(planes[:, ABOVE + dy : ABOVE + dy + rows, half, 1 + dx : 1 + dx + width])
    return taps
