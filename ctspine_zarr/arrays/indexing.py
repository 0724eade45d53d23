"""Basic indexing of numpy as ranges, and ranges as chunks. Pure."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import OutOfBounds
from ctspine_zarr.format.codecs import Box
from ctspine_zarr.format.layout import grid
from ctspine_zarr.geometry import Shape

type Ranges = tuple[range, range, range]
type Index = int | slice
type Parts = dict[int, list[tuple[Box, NDArray[Any]]]]
"""Chunks by number in C order: for each, boxes inside it and the target of each."""


@dataclass(frozen=True, slots=True)
class Request:
    """Voxels to read and where to put them.

    Attributes:
        ranges: positions along z, y and x, each of them upwards.
        target: an array to write to, as long along each axis as its range, of any dtype.
    """

    ranges: Ranges
    target: NDArray[Any]

    @classmethod
    def of(cls, ranges: Ranges, target: NDArray[Any]) -> Request:
        """For ranges of either direction: downward ones fill a view of `target` from its end."""
        backward = [r.step < 0 for r in ranges]
        z, y, x = (r[::-1] if back else r for r, back in zip(ranges, backward, strict=True))
        view = target[tuple(slice(None, None, -1 if back else 1) for back in backward)]
        return cls((z, y, x), view)


def parse_index(key: Any, shape: Shape) -> tuple[Ranges, tuple[int, ...]]:
    """A basic index as positions along each axis, and the axes that stay: integers drop theirs.

    Raises:
        OutOfBounds: an integer beyond its axis, or an index of another kind.
    """
    parts = _expand(key)
    z, y, x = (_positions(part, size) for part, size in zip(parts, shape, strict=True))
    return (z, y, x), tuple(axis for axis, part in enumerate(parts) if isinstance(part, slice))


def touched_chunks(requests: Iterable[Request], shape: Shape, chunk: Shape) -> Parts:
    """The chunks of an array that requests touch: boxes inside them, and where each belongs."""
    _, rows, columns = grid(shape, chunk)
    chunks: Parts = {}
    for request in requests:
        along_z, along_y, along_x = (
            list(_by_chunk(positions, size)) for positions, size in zip(request.ranges, chunk, strict=True)
        )
        for z, inside_z, target_z in along_z:
            for y, inside_y, target_y in along_y:
                for x, inside_x, target_x in along_x:
                    part = ((inside_z, inside_y, inside_x), request.target[target_z, target_y, target_x])
                    chunks.setdefault((z * rows + y) * columns + x, []).append(part)
    return chunks


def touched_numbers(requests: Iterable[Request], shape: Shape, chunk: Shape) -> NDArray[np.intp]:
    """The numbers of the chunks of an array that requests touch, in C order, each once."""
    _, rows, columns = grid(shape, chunk)
    found = []
    for request in requests:
        if all(request.ranges):
            along = (chunks_along(axis, edge) for axis, edge in zip(request.ranges, chunk, strict=True))
            z, y, x = (np.array(numbers, np.intp) for numbers in along)
            found.append(((z[:, None, None] * rows + y[:, None]) * columns + x).ravel())
    return found[0] if len(found) == 1 else np.unique(np.concatenate([np.empty(0, np.intp), *found]))


def chunks_along(positions: range, edge: int) -> Sequence[int]:
    """The chunks along an axis that positions, one at least, lie in."""
    if positions.step > edge:
        return [position // edge for position in positions]
    return range(positions.start // edge, positions[-1] // edge + 1)


def _by_chunk(positions: range, size: int) -> Iterator[tuple[int, slice, slice]]:
    """For each chunk along an axis: its number, the positions inside it, and those in the target."""
    if not positions:
        return
    start, step = positions.start, positions.step
    for number in range(start // size, positions[-1] // size + 1):
        first, last = (max(0, -((start - edge) // step)) for edge in (number * size, (number + 1) * size))
        last = min(last, len(positions))
        if first < last:
            begin = start + first * step - number * size
            yield number, slice(begin, begin + (last - first - 1) * step + 1, step), slice(first, last)


def _positions(part: Index, size: int) -> range:
    if isinstance(part, slice):
        return range(size)[part]
    if not -size <= part < size:
        message = f"index {part}; legal: {-size} to {size - 1}"
        raise OutOfBounds(message)
    return range(part % size, part % size + 1)


def _expand(key: Any) -> Sequence[Index]:
    """A numpy basic index as one entry an axis."""
    parts = list(key) if isinstance(key, tuple) else [key]
    gaps = [at for at, part in enumerate(parts) if part is Ellipsis]
    if len(gaps) > 1 or len(parts) - len(gaps) > 3:
        message = f"index {key!r}; legal: at most three integers or slices and one Ellipsis"
        raise OutOfBounds(message)
    at = gaps[0] if gaps else len(parts)
    all_along = [slice(None)] * (3 - len(parts) + len(gaps))
    return [_part(part) for part in (*parts[:at], *all_along, *parts[at + 1 :])]


def _part(part: Any) -> Index:
    if isinstance(part, slice):
        return part
    try:
        if not isinstance(part, bool):
            return operator.index(part)
    except TypeError:
        pass
    message = f"index {part!r}; legal: integers, slices and Ellipsis"
    raise OutOfBounds(message)
