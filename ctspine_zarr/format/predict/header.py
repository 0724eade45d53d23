"""What stands before the states of a predicted chunk."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.predict.model import CONTEXTS, FREE, LANES, ONE, TAPS, halves_of
from ctspine_zarr.format.predict.tables import TABLES
from ctspine_zarr.geometry import Shape

CONSTANT: Final = 0
RAW: Final = 1
PREDICTED: Final = 2

_CROPPED: Final = 1
_STEPPED: Final = 2
_MOST_ROOM: Final = 1 << 26


@dataclass(slots=True)
class Header:
    """The header of a predicted chunk.

    Attributes:
        extent: of the coded box; beyond it are zeros.
        base, step: voxel = base + step * sample, modulo 2^16.
        weights: (4, 10), by set; the last two sets are not stored where there is one slice.
        tables: (2, 16), the table of each context, by parity.
        used: for each parity the first and the last context that has a table.
    """

    extent: Shape
    base: int
    step: int
    weights: NDArray[np.int32]
    tables: NDArray[np.int64]
    used: tuple[tuple[int, int], tuple[int, int]]

    def write(self, shape: Shape) -> bytes:
        """The header's bytes, the first one of the chunk included."""
        is_cropped, is_stepped = self.extent != shape, (self.base, self.step) != (0, 1)
        parts = [bytes([PREDICTED, is_cropped * _CROPPED | is_stepped * _STEPPED])]
        if is_cropped:
            parts.append(struct.pack("<3I", *self.extent))
        if is_stepped:
            parts.append(struct.pack("<2H", self.base, self.step))
        parts.append(self.weights[: _sets(self.extent), 1:].astype(np.int8).tobytes())
        for (first, last), tables in zip(self.used, self.tables, strict=True):
            parts.append(bytes([first | last << 4, *tables[first : last + 1].tolist()]))
        return b"".join(parts)


def read_header(data: memoryview, shape: Shape) -> tuple[Header, memoryview]:
    """The header after the first byte of a chunk, and the rest of the bytes.

    Raises:
        Malformed: it is none.
    """
    rest = _Rest(data)
    (flags,) = rest.take("<B")
    _require(not flags & ~(_CROPPED | _STEPPED), "unknown flags")
    z, y, x = rest.take("<3I") if flags & _CROPPED else shape
    is_inside = all(1 <= n <= most for n, most in zip((z, y, x), shape, strict=True))
    _require(is_inside, "a coded box beyond the chunk")
    base, step = rest.take("<2H") if flags & _STEPPED else (0, 1)
    _require(step > 0 and fits((z, y, x)), "a step of 0, or a chunk too large to be predicted")
    weights = np.zeros((4, TAPS), np.int32)
    for number in range(_sets((z, y, x))):
        weights[number] = with_first(rest.take(f"<{FREE}b"))
    tables = np.zeros((2, CONTEXTS), np.int64)
    used = rest.tables(tables[0]), rest.tables(tables[1])
    return Header((z, y, x), base, step, weights, tables, used), rest.data


def fits(extent: Shape) -> bool:
    """Whether a box of this extent may be predicted: what is kept around half rows is bounded."""
    return extent[0] * (extent[1] + 2 * extent[0] + 3) * (extent[2] + 64) <= _MOST_ROOM


def states_of(width: int) -> int:
    """How many states a chunk has."""
    return min(LANES, halves_of(width)[0])


def with_first(stored: tuple[int, ...]) -> list[int]:
    """Stored weights with the first one, which they leave over."""
    return [ONE - sum(stored), *stored]


def _sets(extent: Shape) -> int:
    return 4 if extent[0] > 1 else 2


@dataclass(slots=True)
class _Rest:
    """Bytes not yet read."""

    data: memoryview

    def take(self, form: str) -> tuple[int, ...]:
        """The next values of a form of `struct`."""
        size = struct.calcsize(form)
        _require(len(self.data) >= size, "its header is cut")
        values, self.data = struct.unpack(form, self.data[:size]), self.data[size:]
        return values

    def tables(self, tables: NDArray[np.int64]) -> tuple[int, int]:
        """The contexts of a parity that have tables; these are written to `tables`."""
        (span,) = self.take("<B")
        first, last = span & 15, span >> 4
        _require(first <= last, "contexts that there are not")
        tables[first : last + 1] = self.take(f"<{last - first + 1}B")
        _require(bool((tables < TABLES).all()), "tables that there are not")
        return first, last


def _require(holds: bool, message: str) -> None:  # noqa: FBT001
    if not holds:
        raise Malformed(message)
