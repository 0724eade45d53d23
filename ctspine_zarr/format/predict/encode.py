"""Voxels to bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.predict import model
from ctspine_zarr.format.predict.decode import BEGIN
from ctspine_zarr.format.predict.fit import weights_of
from ctspine_zarr.format.predict.header import CONSTANT, RAW, Header, fits, states_of
from ctspine_zarr.format.predict.tables import BITS, CLASSES, TABLES, class_of, family
from ctspine_zarr.geometry import Shape


def encode(voxels: NDArray[np.int16]) -> bytes:
    """The bytes of a chunk, which is not empty; the same as those of the native encoder."""
    z, y, x = voxels.shape
    first = voxels[0, 0, 0]
    if (voxels == first).all():
        constant: bytes = bytes([CONSTANT]) + first.astype("<i2").tobytes()
        return constant
    extent = _extent_of(voxels)
    if fits(extent):
        data = _predicted(voxels, extent, (z, y, x))
        if len(data) <= 2 * voxels.size:
            return data
    return bytes([RAW]) + voxels.astype("<i2").tobytes()


def _extent_of(voxels: NDArray[np.int16]) -> Shape:
    """The smallest box from the origin beyond which are zeros; 16 columns, where there are so many."""
    z, y, x = (int(at.max()) + 1 if len(at) else 1 for at in np.nonzero(voxels))
    return z, y, max(x, min(16, voxels.shape[2]))


def _step_of(box: NDArray[np.int16]) -> tuple[int, int]:
    """The least sample and the greatest step between samples, or 0 and 1 where it is 1."""
    least = int(box.min())
    step = int(np.gcd.reduce(box.astype(np.int64).ravel() - least))
    return (0, 1) if step == 1 else (least & 0xFFFF, max(1, step))


def _predicted(voxels: NDArray[np.int16], extent: Shape, shape: Shape) -> bytes:
    box = voxels[tuple(slice(n) for n in extent)]
    base, step = _step_of(box)
    samples = _samples((box.view(np.uint16) - np.uint16(base)) // np.uint16(step), extent)
    weights = np.array([weights_of(samples, number, extent) for number in range(4)], np.int32)
    residuals = _residuals(samples, weights, extent)
    contexts = _contexts(residuals, extent)
    tables = np.zeros((2, model.CONTEXTS), np.int64)
    used = tuple(
        _choose(residuals[..., parity, :width], contexts[..., parity, :width], tables[parity])
        for parity, width in enumerate(model.halves_of(extent[2]))
    )
    header = Header(extent, base, step, weights, tables, (used[0], used[1]))
    return header.write(shape) + _stream(residuals, contexts, tables, extent[2])


def _samples(box: NDArray[np.uint16], extent: Shape) -> NDArray[np.int32]:
    """All slices as half rows, with what is around them."""
    depth, _, width = extent
    planes = model.planes((depth,), extent, np.int32)
    signed = box.view(np.int16)
    for parity, half in enumerate(model.halves_of(width)):
        planes[:, 2:-1, parity, 1 : half + 1] = signed[..., parity::2]
        model.close(planes[:, 2:-1, parity], planes[:, 2:-1, 0], half)
    planes[:, -1] = planes[:, -2]
    planes[1:, :2] = planes[:-1, 2:3]
    planes[0, 1] = planes[0, 2]
    return planes


def _residuals(samples: NDArray[np.int32], weights: NDArray[np.int32], extent: Shape) -> NDArray[np.int16]:
    """(slice, row, parity, column) of what predictions leave."""
    residuals = np.zeros((*extent[:2], 2, samples.shape[-1] - 2), np.int16)
    for number in range(4 if extent[0] > 1 else 2):
        slices, parity = slice(1, None) if number > 1 else slice(1), number % 2
        width = model.halves_of(extent[2])[parity]
        if not width:
            continue
        taps = model.taps_of(samples, number, slices, width)
        expected = model.limited(sum(w * tap for w, tap in zip(weights[number], taps, strict=True)))
        if number < 2:
            expected[0, 0] = _first_row(samples, parity, width)
        actual = samples[slices, 2:-1, parity, 1 : width + 1]
        residuals[slices, :, parity, :width] = (actual - expected).astype(np.int16)
    return residuals


def _first_row(samples: NDArray[np.int32], parity: int, width: int) -> NDArray[np.int32]:
    """Predictions of the first row: even samples follow the one before, odd ones their neighbours."""
    even = samples[0, 2, 0, 1:].copy()
    if parity:
        return (even[:width] + even[1 : width + 1] + 1) >> 1
    return np.concatenate([[0], even[: width - 1]])


def _contexts(residuals: NDArray[np.int16], extent: Shape) -> NDArray[np.int64]:
    """(slice, row, parity, column) of contexts."""
    depth, rows, width = extent
    planes = model.planes((depth,), extent, np.int16)
    planes[0, :2] = model.UNKNOWN
    for parity, half in enumerate(model.halves_of(width)):
        planes[:, 2:-1, parity, 1 : half + 1] = model.magnitudes_of(residuals[:, :, parity, :half])
        model.close(planes[:, 2:-1, parity], planes[:, 2:-1, 0], half)
    planes[:, -1] = planes[:, -2]
    planes[1:, :2] = planes[:-1, 2:3]
    sums = np.zeros(residuals.shape, np.int16)
    for parity, half in enumerate(model.halves_of(width)):
        for (dz, dy, from_half, dx), votes in model.VOTES_OF[parity]:
            at, columns = np.arange(rows) + 2, slice(1 + dx, 1 + dx + half)
            first = planes[:1, at - 1] if dz else planes[:1, at + dy]
            later = planes[:-1, at + dy] if dz else planes[1:, at + dy]
            voters = np.concatenate([first, later])[:, :, from_half, columns]
            sums[:, :, parity, :half] += voters * np.int16(votes)
    return model.CONTEXT_OF[sums].astype(np.int64)


def _choose(
    residuals: NDArray[np.int16], contexts: NDArray[np.int64], tables: NDArray[np.int64]
) -> tuple[int, int]:
    """The contexts that occur, first and last; writes the table of least cost for each to `tables`."""
    if not residuals.size:
        return 0, 0
    pairs = contexts.ravel() * CLASSES + class_of(residuals.ravel())
    counts = np.bincount(pairs, minlength=model.CONTEXTS * CLASSES).reshape(-1, CLASSES)
    # Below 2^53, in doubles, which numpy multiplies faster: exact in any order.
    costs = counts.astype(np.float64) @ family().costs.reshape(TABLES, CLASSES).T.astype(np.float64)
    occurring = np.flatnonzero(counts.any(axis=1))
    tables[occurring] = costs[occurring].argmin(axis=1)
    return int(occurring[0]), int(occurring[-1])


def _stream(
    residuals: NDArray[np.int16], contexts: NDArray[np.int64], tables: NDArray[np.int64], width: int
) -> bytes:
    """States, words and escapes. Samples are taken from the last to the first."""
    lanes, halves = states_of(width), model.halves_of(width)
    symbols = tables[np.arange(2)[:, None], contexts] * CLASSES + class_of(residuals)
    starts, frequencies, ks, is_escape = (table[symbols] for table in family()[2:])
    lows = residuals.astype(np.int64) & ((1 << ks) - 1)
    bounds = frequencies << (31 - BITS) >> ks
    states = np.full(lanes, BEGIN, np.int64)
    words: list[NDArray[np.int64]] = []
    escapes: list[NDArray[np.int16]] = []
    for row in reversed(_order(residuals.shape[:2])):
        half = halves[row[-1]]
        for first in reversed(range(0, half, lanes)):
            group = *row, slice(first, min(first + lanes, half))
            escapes.append(residuals[group][is_escape[group]][::-1])
            state = states[: group[-1].stop - first]
            is_long = state >= bounds[group]
            words.append(state[is_long] & 0xFFFF)
            state >>= 16 * is_long
            pushed, frequency = state << ks[group] | lows[group], frequencies[group]
            state[...] = (pushed // frequency << BITS) + pushed % frequency + starts[group]
    back: bytes = np.concatenate(escapes).astype("<i2").tobytes()
    front: bytes = states.astype("<u4").tobytes() + np.concatenate(words[::-1]).astype("<u2").tobytes()
    return front + back


def _order(size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Slice, row and parity of all half rows in the order of coding."""
    return [
        (z, y, parity)
        for slices, rows in model.steps_of((*size, 1))
        for parity in range(2)
        for z, y in zip(slices.tolist(), rows.tolist(), strict=True)
    ]
