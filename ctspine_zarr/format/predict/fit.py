"""The weights of a chunk: least squares over some of its rows, weighted towards the least absolute error.

Sums are exact integers; the solution takes the four operations on doubles in a fixed order: any
implementation finds the same weights.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.predict import model
from ctspine_zarr.format.predict.header import with_first
from ctspine_zarr.geometry import Shape

_ROUNDS: Final = 2
_MOST: Final = 1023
_MOST_WEIGHT: Final = 31
_DRAWN: Final = 1024


def weights_of(samples: NDArray[np.int32], number: int, extent: Shape) -> list[int]:
    """The weights of a set for the first slice or all later ones; the defaults where there is nothing."""
    taps, actual = _observed(samples, number, extent)
    weights = list(model.DEFAULTS[number])
    if not actual.size:
        return weights
    reference = _saturated(np.column_stack([*taps[1:], actual]) - taps[0][:, None])
    for _ in range(_ROUNDS):
        sums = sum(weight * tap for weight, tap in zip(weights, taps, strict=True))
        errors = (actual - model.limited(np.asarray(sums))).astype(np.int16).astype(np.int64)
        errors = np.minimum(np.abs(errors), _MOST)
        scale = 2 * (int(errors.sum()) // errors.size) + 4
        trust = np.maximum(1, _MOST_WEIGHT * scale**2 // (scale + errors) // (scale + errors))
        # In doubles, which numpy multiplies faster: below 2^53, so exact in any order.
        weighted = (reference[:, : model.FREE] * trust[:, None]).astype(np.float64)
        weights = _solve((weighted.T @ reference.astype(np.float64)).tolist(), model.DEFAULTS[number])
    return weights


def _observed(
    samples: NDArray[np.int32], number: int, extent: Shape
) -> tuple[list[NDArray[np.int32]], NDArray[np.int32]]:
    """The taps and the samples of the rows that are looked at."""
    slices, parity = slice(1, None) if number > 1 else slice(1), number % 2
    width = model.halves_of(extent[2])[parity]
    z, y = np.ogrid[: extent[0], : extent[1]]
    looked_at = ((y + 2 * z) % 8 == 1)[1:] if number > 1 else (y % 4 == 1)
    taps = model.taps_of(samples, number, slices, width) if extent[0] > 1 or number < 2 else []
    actual = samples[slices, 2:-1, parity, 1 : width + 1]
    if not taps:
        return [], actual[:0]
    return [tap[looked_at].ravel() for tap in taps], actual[looked_at].ravel()


def _saturated(differences: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.clip(differences, -_MOST, _MOST).astype(np.int64)


def _solve(sums: list[list[float]], defaults: tuple[int, ...]) -> list[int]:
    """The solution of the normal equations, drawn to the defaults, by elimination without pivots."""
    free = range(model.FREE)
    matrix = [[sums[min(i, j)][max(i, j)] for j in free] + [sums[i][model.FREE]] for i in free]
    for i in free:
        ridge = float(_DRAWN + int(sums[i][i]) // 256)
        matrix[i][i] += ridge
        matrix[i][model.FREE] += ridge * (defaults[i + 1] / model.ONE)
    for i in free:
        for j in range(i + 1, model.FREE):
            factor = matrix[j][i] / matrix[i][i]
            for k in range(i, model.FREE + 1):
                matrix[j][k] -= factor * matrix[i][k]
    solution = [0.0] * model.FREE
    for i in reversed(free):
        value = matrix[i][model.FREE]
        for k in range(i + 1, model.FREE):
            value -= matrix[i][k] * solution[k]
        solution[i] = value / matrix[i][i]
    stored = (max(-128.0, min(127.0, math.floor(value * model.ONE + 0.5))) for value in solution)
    return with_first(tuple(int(weight) for weight in stored))
