"""Bytes to voxels: all chunks of a batch at once, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.predict import model
from ctspine_zarr.format.predict.header import (
    CONSTANT,
    PREDICTED,
    RAW,
    Header,
    read_header,
    states_of,
)
from ctspine_zarr.format.predict.tables import BITS, ESCAPE, SLOTS, family
from ctspine_zarr.geometry import Shape

BEGIN: Final = 1 << 15
_WORD: Final = np.dtype("<u2")


def decode_batch(chunks: Sequence[memoryview], shape: Shape) -> NDArray[np.int16]:
    """The voxels of chunks of one shape, (chunk, z, y, x).

    Raises:
        Malformed: the bytes of one are no chunk of this shape.
    """
    voxels = np.zeros((len(chunks), *shape), np.int16)
    predicted: dict[Shape, list[tuple[int, Header, memoryview]]] = {}
    for at, data in enumerate(chunks):
        if len(data) > 2 * math.prod(shape) + 1:
            message = f"{len(data)} bytes; legal: {2 * math.prod(shape) + 1} at most"
            raise Malformed(message)
        if data[:1] == bytes([PREDICTED]):
            header, rest = read_header(data[1:], shape)
            predicted.setdefault(header.extent, []).append((at, header, rest))
        else:
            voxels[at] = _plain(data, shape)
    for (z, y, x), members in predicted.items():
        places, headers, rests = zip(*members, strict=True)
        voxels[list(places), :z, :y, :x] = _Batch(headers, rests).decode()
    return voxels


def _plain(data: memoryview, shape: Shape) -> NDArray[np.int16]:
    """The voxels of a chunk that is constant or raw."""
    kind, values = (*data[:1], None)[0], data[1:]
    sizes = {CONSTANT: 2, RAW: 2 * math.prod(shape)}
    if sizes.get(kind or 0) != len(values) or kind is None:
        message = f"{len(values)} bytes of kind {kind}; legal: by kind {sizes}"
        raise Malformed(message)
    voxels = np.frombuffer(values, "<i2").astype(np.int16)
    return voxels if kind == CONSTANT else voxels.reshape(shape)


class _Batch:
    """Predicted chunks of one extent."""

    def __init__(self, headers: Sequence[Header], rests: Sequence[memoryview]) -> None:
        self._extent = headers[0].extent
        self._halves = model.halves_of(self._extent[2])
        self._weights = np.stack([header.weights for header in headers])
        self._offsets = np.stack([header.tables << BITS for header in headers]).reshape(-1)
        self._first = model.CONTEXTS * 2 * np.arange(len(headers))[:, None]
        self._stream = _Stream(rests, states_of(self._extent[2]))
        self._bases, self._steps = (
            np.array(values, np.int32).reshape(-1, 1, 1, 1)
            for values in ([h.base for h in headers], [h.step for h in headers])
        )
        lead = len(headers), self._extent[0]
        self._samples = model.planes(lead, self._extent, np.int32)
        self._magnitudes = model.planes(lead, self._extent, np.int16)
        self._magnitudes[:, 0, :2] = model.UNKNOWN

    def decode(self) -> NDArray[np.int16]:
        """The voxels of the coded boxes."""
        depth, rows, width = self._extent
        for slices, at in model.steps_of(self._extent):
            for planes in (self._samples, self._magnitudes):
                if at[-1] == 0 and slices[-1]:
                    planes[:, slices[-1], :2] = planes[:, slices[-1] - 1, 2:3]
            for parity, half in enumerate(self._halves):
                self._half_rows(slices, at, parity, half)
            if at[0] == 0 and slices[0] == 0:
                self._samples[:, 0, 1] = self._samples[:, 0, 2]
            for planes in (self._samples, self._magnitudes):
                if at[0] == rows - 1:
                    planes[:, slices[0], -1] = planes[:, slices[0], -2]
        self._stream.finish()
        samples = self._samples[:, :, 2:-1, :, 1:-1]
        woven = samples.swapaxes(-1, -2).reshape(len(samples), depth, rows, -1)[..., :width]
        voxels: NDArray[np.int16] = (self._bases + self._steps * woven).astype(np.int16)
        return voxels

    def _half_rows(self, slices: NDArray[np.int64], rows: NDArray[np.int64], parity: int, width: int) -> None:
        """Decodes the half rows of a parity in a step."""
        for part in _parts(slices) if width else ():
            residuals = self._stream.draw(self._tables(slices[part], rows[part], parity, width))
            magnitudes = model.magnitudes_of(residuals)
            self._magnitudes[:, slices[part], rows[part] + 2, parity, 1 : width + 1] = magnitudes
            if slices[part][0] + rows[part][0] == 0:
                residuals[:, 0] = self._first_row(parity, residuals[:, 0])
            else:
                residuals += self._predictions(slices[part], rows[part], parity, width)
            self._samples[:, slices[part], rows[part] + 2, parity, 1 : width + 1] = residuals
        for planes in (self._samples, self._magnitudes):
            for z, y in zip(slices, rows + 2, strict=True):
                model.close(planes[:, z, y, parity], planes[:, z, y, 0], width)

    def _first_row(self, parity: int, residuals: NDArray[np.int16]) -> NDArray[np.int16]:
        """A half row of the first row: even samples follow the one before, odd ones their neighbours."""
        if parity == 0:
            return np.cumsum(residuals, axis=1, dtype=np.int16)
        even = self._samples[:, 0, 2, 0, 1:]
        width = residuals.shape[1]
        between = (even[:, :width] + even[:, 1 : width + 1] + 1) >> 1
        samples: NDArray[np.int16] = (residuals + between).astype(np.int16)
        return samples

    def _predictions(
        self, slices: NDArray[np.int64], rows: NDArray[np.int64], parity: int, width: int
    ) -> NDArray[np.int16]:
        """(chunk, slice, column) of predictions."""
        number = 2 * int(slices[0] > 0) + parity
        weights = self._weights[:, number]
        sums = np.zeros((len(weights), len(slices), width), np.int32)
        for tap, (dz, dy, half, dx) in enumerate(model.TAPS_OF[number]):
            samples = self._samples[:, slices + dz, rows + dy + 2, half, 1 + dx : 1 + dx + width]
            sums += weights[:, tap, None, None] * samples
        return model.limited(sums)

    def _tables(
        self, slices: NDArray[np.int64], rows: NDArray[np.int64], parity: int, width: int
    ) -> NDArray[np.int64]:
        """(chunk, slice, column) of first slots of tables."""
        sums = np.zeros((len(self._weights), len(slices), width), np.int16)
        for (dz, dy, half, dx), votes in model.VOTES_OF[parity]:
            if slices[0] == 0 and dz:
                dz, dy = 0, -1  # noqa: PLW2901
            at = 1 + dx
            sums += np.int16(votes) * self._magnitudes[:, slices + dz, rows + dy + 2, half, at : at + width]
        chosen = self._first[..., None] + model.CONTEXTS * parity + model.CONTEXT_OF[sums]
        offsets: NDArray[np.int64] = self._offsets[chosen]
        return offsets


def _parts(slices: NDArray[np.int64]) -> list[slice]:
    """The first slice, if it is among these, and all others: each has its own taps."""
    parts = [slice(0, 1), slice(1, None)] if slices[0] == 0 else [slice(None)]
    return parts[: len(slices)]


@dataclass
class _Stream:
    """The interleaved states of chunks: words from the front, escapes from the end."""

    rests: Iterable[memoryview]
    lanes: int
    _states: NDArray[np.int64] = field(init=False)
    _words: NDArray[np.int64] = field(init=False)
    _at: NDArray[np.int64] = field(init=False)
    _end: NDArray[np.int64] = field(init=False)
    _bounds: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rests, size = list(self.rests), 4 * self.lanes
        if any(len(rest) < size or len(rest) % 2 for rest in rests):
            message = "its states are cut, or half a word is left"
            raise Malformed(message)
        self._states = np.stack([np.frombuffer(rest[:size], "<u4") for rest in rests]).astype(np.int64)
        if (self._states < BEGIN).any():
            message = "a state too small"
            raise Malformed(message)
        # Any index in -1 to `bounds` is legal: what is read beyond a chunk's words fails at the end.
        words = [np.frombuffer(rest[size:], _WORD) for rest in rests]
        sizes = np.array([len(part) for part in words], np.int64)
        self._bounds = np.cumsum(sizes + 1) - 1
        self._at, self._end = self._bounds - sizes, self._bounds.copy()
        beyond = np.zeros(1, np.int64)
        self._words = np.concatenate([part.astype(np.int64) for one in words for part in (one, beyond)])

    def draw(self, offsets: NDArray[np.int64]) -> NDArray[np.int16]:
        """The residuals of half rows, (chunk, slice, column), by the first slots of their tables."""
        residuals = np.empty(offsets.shape, np.int16)
        for number in range(offsets.shape[1]):
            for lane in range(0, offsets.shape[2], self.lanes):
                group = slice(None), number, slice(lane, lane + self.lanes)
                residuals[group] = self._draw(offsets[group])
        return residuals

    def _draw(self, offsets: NDArray[np.int64]) -> NDArray[np.int16]:
        states = self._states[:, : offsets.shape[1]]
        entries = family().slots[offsets | states & (SLOTS - 1)]
        ks = entries >> 9 & 7
        least = (entries >> 12 & 0x7FF ^ 0x400) - 0x400
        new = (entries >> 23) * (states >> BITS) + (entries & (SLOTS - 1))
        residuals: NDArray[np.int16] = (least | new & ((1 << ks) - 1)).astype(np.int16)
        new >>= ks
        short = new < BEGIN
        ranks = np.cumsum(short, axis=1)
        places = np.minimum(self._at[:, None] + ranks - 1, self._bounds[:, None])
        np.copyto(new, new << 16 | self._words[places], where=short)
        states[...] = new
        self._at += ranks[:, -1]
        if (escapes := least == ESCAPE).any():
            self._escape(residuals, escapes)
        return residuals

    def _escape(self, residuals: NDArray[np.int16], escapes: NDArray[np.bool_]) -> None:
        """Puts residuals that had no symbol in their places."""
        ranks = np.cumsum(escapes, axis=1)
        places = np.maximum(self._end[:, None] - ranks, 0)
        np.copyto(residuals, self._words[places].astype(np.int16), where=escapes)
        self._end -= ranks[:, -1]

    def finish(self) -> None:
        """Proves that every byte was read once, and every state is where it began.

        Raises:
            Malformed: it is not so.
        """
        if not (np.array_equal(self._at, self._end) and (self._states == BEGIN).all()):
            message = "words or states are left over"
            raise Malformed(message)
