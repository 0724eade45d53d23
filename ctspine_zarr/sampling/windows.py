"""Windows that cover a volume, and predictions for them made one volume again. Pure."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import OutOfBounds, UnknownValue, number, require_known
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Shape
from ctspine_zarr.read.regions import patch_region, patch_size
from ctspine_zarr.sampling.units import Draw, OneByOne, SampleBox, Unit, Usual, require_cases
from ctspine_zarr.sampling.volumes import WHOLE, Frame, box_lattice

# Voxels by which a stride may be missed for want of digits: 10 x (1 - 0.8) is 1.9999999999999996.
_ROUNDING: Final = 1e-6

type Blend = Literal["gaussian", "constant"]


def window_starts(shape: Shape, size: int | Sequence[int], overlap: float = 0.5) -> list[Shape]:
    """Starts of windows that together cover a volume, in C order.

    Along each axis they are as few as have that overlap, evenly spread, the first at the
    volume's start and the last at its end; an axis that is shorter than the window has one,
    with the volume in its middle.

    Args:
        shape: (z, y, x) of the volume.
        size: (z, y, x) of a window, or one edge of a cube.
        overlap: least share of a window's edge that it has in common with its neighbour, from 0 and
            below 1.

    Raises:
        UnknownValue: a size or an overlap that is not legal.
    """
    share_of_edge(overlap)
    return [(z, y, x) for z, y, x in itertools.product(*_along(shape, patch_size(size), overlap))]


def share_of_edge(overlap: object) -> float:
    """The overlap, where it is a share of a window's edge.

    Raises:
        UnknownValue: it is not.
    """
    return number("overlap", overlap, "from 0 and below 1", lambda share: 0 <= share < 1)


def _along(shape: Shape, size: Shape, overlap: float) -> list[list[int]]:
    """Starts along each axis."""
    return [_starts(n, edge, overlap) for n, edge in zip(shape, size, strict=True)]


def _starts(size: int, edge: int, overlap: float) -> list[int]:
    room = size - edge
    if room <= 0:
        return [room // 2]
    stride = max(1, math.floor(edge * (1 - overlap) + _ROUNDING))
    found: list[int] = np.rint(np.linspace(0, room, -(-room // stride) + 1)).astype(int).tolist()
    return found


@dataclass(frozen=True)
class WindowPlan(OneByOne):
    """A plan of windows that cover every volume of a selection, one volume after another.

    Attributes:
        records: of the selection; left out of the `repr`.
        size: (z, y, x) voxels of a window, at the frame's spacing.
        overlap: as for `window_starts`.
        frame: what they cover of each case.

    Raises:
        UnknownValue: the selection is empty.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {"start": (3,)}

    records: Sequence[Record] = field(repr=False)
    size: Shape
    overlap: float
    frame: Frame = WHOLE

    def __post_init__(self) -> None:
        require_cases(len(self.records))

    @property
    def usual(self) -> Usual:
        """8 windows, and 8 ahead."""
        return Usual(8, 8)

    def count_of(self, case: int) -> int:
        """Windows of a case."""
        return math.prod(map(len, self._starts(case)))

    def unit(self, number: int, draw: Draw | None = None) -> Unit:  # noqa: ARG002 - nothing is drawn
        """One window."""
        case, place = self.place_of(number)
        along = self._starts(case)
        at = np.unravel_index(place, [len(starts) for starts in along])
        z, y, x = (starts[index] for starts, index in zip(along, at, strict=True))
        lattice = self.frame.lattice(self.records[case])
        box = box_lattice(lattice, (z, y, x), self.size)
        return Unit(case, (SampleBox(box, start=(z, y, x), volume=lattice.size),))

    def size_of(self, case: int) -> tuple[Shape, int | None]:  # noqa: ARG002 - all are alike
        """(z, y, x) voxels of a window; nothing is cut."""
        return self.size, None

    def shape_of(self, case: int) -> Shape:
        """(z, y, x) voxels of the volume that a case's windows cover."""
        return self.frame.lattice(self.records[case]).size

    def _starts(self, case: int) -> list[list[int]]:
        return _along(self.shape_of(case), self.size, self.overlap)


def assemble(
    patches: Iterable[tuple[Sequence[int] | NDArray[np.int64], NDArray[Any]]],
    shape: Shape,
    blend: Blend = "gaussian",
) -> NDArray[np.float32]:
    """The volume that overlapping patches make: each voxel is the weighted mean of what they say.

    Args:
        patches: start (z, y, x) and values (..., z, y, x) of each, such as class probabilities,
            arrays or tensors of the CPU; taken one by one. What lies beyond the volume is cut
            off. Labels are no values: give one channel a class, and take the largest afterwards.
        shape: (z, y, x) of the volume.
        blend: `gaussian`, as nnU-Net and MONAI weight a window: sigma an eighth of its edge; or
            `constant`.

    Returns:
        (..., z, y, x), float32.

    Raises:
        UnknownValue: no such blend, or patches that differ in their leading axes.
        OutOfBounds: a patch that shares no voxel with the volume, or voxels that no patch has.
    """
    require_known("blend", [blend], ("gaussian", "constant"))
    total: NDArray[np.float32] | None = None
    weights = np.zeros(shape, np.float32)
    for start, values in patches:
        patch = np.asarray(values)
        region = patch_region(shape, patch_size(patch.shape[-3:]), start=[int(at) for at in start])
        total = np.zeros((*patch.shape[:-3], *shape), np.float32) if total is None else total
        if patch.shape[:-3] != total.shape[:-3]:
            message = f"patch of shape {patch.shape} after leading axes {total.shape[:-3]}; legal: equal ones"
            raise UnknownValue(message)
        z, y, x = (slice(positions.start, positions.stop) for positions in region.inside)
        weight = _window_weights(region.size, blend)[region.target]
        total[..., z, y, x] += patch[(..., *region.target)] * weight
        weights[z, y, x] += weight
    if total is None or not weights.all():
        message = f"{np.count_nonzero(weights == 0)} voxels of {shape} are in no patch; legal: none"
        raise OutOfBounds(message)
    total /= weights
    return total


@functools.lru_cache(maxsize=1)
def _window_weights(size: Shape, blend: Blend) -> NDArray[np.float32]:
    """(z, y, x) float32 above 0: what each voxel of a window counts."""
    if blend == "constant":
        return np.ones(size, np.float32)
    z, y, x = (np.exp(-0.5 * ((np.arange(edge) - (edge - 1) / 2) / (edge / 8)) ** 2) for edge in size)
    return (z[:, None, None] * y[:, None] * x).astype(np.float32)
