"""Plans of patches: drawn around what a strategy aims at, several to a region read once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.order import Purpose, generator
from ctspine_zarr.sampling.resampling import needed_voxels
from ctspine_zarr.sampling.strategies import Aim, Aiming, Strategy
from ctspine_zarr.sampling.units import Draw, SampleBox, Unit, Usual, Voxels, require_cases
from ctspine_zarr.sampling.volumes import WHOLE, Frame, box_lattice

# Voxels of a label that the patches of one region are drawn among.
_CANDIDATES: Final = 1024
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a lattice that patches are cut from.

    Attributes:
        voxels: of the volume.
        chunk: voxels of a chunk of the image.
        size, first, step: of the lattice.
        edge: of a patch.
    """

    voxels: int
    chunk: int
    size: int
    first: float
    step: float
    edge: int

    @property
    def limits(self) -> tuple[int, int]:
        """The first and the last start of a patch inside the lattice; where there is none, the
        one start that has the lattice in its middle.
        """
        room = self.size - self.edge
        return (0, room) if room >= 0 else (room // 2, room // 2)

    def starts(self, middles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Starts of the patches with these middles, moved inside the lattice."""
        return np.clip(middles - self.edge // 2, *self.limits)

    def anywhere(self) -> NDArray[np.int64]:
        """Middles of all patches inside the lattice."""
        first, last = self.limits
        return np.arange(first, last + 1) + self.edge // 2

    def nearest(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        """The lattice's voxels nearest to positions in the volume."""
        return np.rint((positions - self.first) / self.step).astype(np.int64)

    def around(self, first: float, last: float, reach: int) -> NDArray[np.int64]:
        """Middles from one position in the volume to another, each moved by up to `reach` voxels."""
        begin, end = self.nearest(np.array([first, last])).tolist()
        middles: NDArray[np.int64] = np.arange(begin, end + 1)[:, None] + np.arange(-reach, reach + 1)
        return middles.ravel()

    def like(self, starts: NDArray[np.int64], one: int) -> NDArray[np.bool_]:
        """Which patches touch the chunks that the patch at `one` touches, no more and no fewer."""
        begins, ends = self._chunks(starts)
        begin, end = self._chunks(np.array(one))
        alike: NDArray[np.bool_] = (begins == begin) & (ends == end)
        return alike

    def _chunks(self, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first, last = (self.first + at * self.step for at in (starts, starts + self.edge - 1))
        needed = np.clip(needed_voxels(first, last), 0, self.voxels - 1)
        begins, ends = needed // self.chunk
        return begins, ends


@dataclass(frozen=True)
class PatchPlan:
    """A plan of patches of one size, drawn anew each epoch.

    Attributes:
        records, spec: of the selection and its store; left out of the `repr`.
        size: (z, y, x) voxels of a patch, at the frame's spacing.
        samples: patches a volume: an epoch has this many times the cases.
        strategy: what they are drawn around.
        together: patches of one region: the first is drawn, the others have the same aim and
            touch the same chunks. Each of them alone is distributed as the first.
        frame: what they are cut from.
        seed: with the epoch, all that chance depends on.

    Raises:
        UnknownValue: the selection is empty, or has nothing that the strategy aims at, or the
            strategy names what the spec does not.
    """

    keys: ClassVar[Mapping[str, tuple[int, ...]]] = {"start": (3,)}

    records: Sequence[Record] = field(repr=False)
    spec: Spec = field(repr=False)
    size: Shape
    samples: int
    strategy: Strategy
    together: int = 1
    frame: Frame = WHOLE
    seed: int = 0

    def __post_init__(self) -> None:
        require_cases(len(self.records))
        self._aiming  # noqa: B018 - what it cannot aim at is said now

    def __len__(self) -> int:
        return len(self.records) * self.samples

    def size_of(self, case: int) -> tuple[Shape, int | None]:  # noqa: ARG002 - all are alike
        """(z, y, x) voxels of a patch; nothing is cut."""
        return self.size, None

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Patches of each region: a case's `samples` in regions of `together`, the last may have fewer."""
        full, rest = divmod(self.samples, self.together)
        return np.tile([self.together] * full + [rest] * (rest > 0), len(self.records))

    @property
    def usual(self) -> Usual:
        """8 regions, and 8 ahead."""
        return Usual(8, 8)

    def unit(self, number: int, draw: Draw) -> Unit:
        """One region."""
        case = number // (len(self.sizes) // len(self.records))
        return self._drawn(number, case, int(self.sizes[number]), draw)

    def single(self, number: int, draw: Draw) -> Unit:
        """One patch, drawn by itself."""
        return self._drawn(number, number // self.samples, 1, draw)

    def units_of(self, case: int) -> NoReturn:
        """See `Plan`."""
        message = f"samples of case {case} alone, of patches that are drawn; legal: a selection of that case"
        raise UnknownValue(message)

    numbers_of = units_of

    def row_of(self, single: Unit) -> None:
        """See `Plan`."""

    def _drawn(self, number: int, case: int, count: int, draw: Draw) -> Unit:
        random = generator(Purpose.DRAW, self.seed, draw.epoch, number)
        aim = self._aiming(case, random)
        lattice = self.frame.lattice(self.records[aim.case])
        starts = self._starts(aim, self._axes(aim.case, lattice), count, random, draw.voxels)
        return Unit(
            aim.case,
            tuple(
                SampleBox(box_lattice(lattice, (z, y, x), self.size), start=(z, y, x), volume=lattice.size)
                for z, y, x in starts.tolist()
            ),
        )

    def _starts(
        self, aim: Aim, axes: Sequence[Axis], count: int, random: np.random.Generator, voxels: Voxels
    ) -> NDArray[np.int64]:
        """(count, 3) starts."""
        if aim.label is None:
            return drawn_along(axes, [axis.anywhere() for axis in axes], count, random)
        spacing = self.frame.spacing or self.records[aim.case].spacing
        # 2.4 mm are three voxels of 0.8, which 2.4 / 0.8 is not.
        reach = [int(aim.jitter / mm + _ROUNDING) for mm in spacing]
        if aim.where == "voxel":
            return drawn_among(axes, voxels(aim.case, aim.label), reach, count, random)
        box = zip(aim.label.start, aim.label.stop, strict=True)
        ends: list[tuple[float, float]] = [(start, stop - 1) for start, stop in box]
        if aim.where == "centroid":
            ends = [(middle, middle) for middle in aim.label.centroid]
        middles = [
            axis.around(first, last, more)
            for axis, (first, last), more in zip(axes, ends, reach, strict=True)
        ]
        return drawn_along(axes, middles, count, random)

    def _axes(self, case: int, lattice: Lattice) -> list[Axis]:
        shape, chunk = self.records[case].shape, self.records[case].image.chunk
        axes = zip(shape, chunk, lattice.size, lattice.first, lattice.step, self.size, strict=True)
        return [Axis(*along) for along in axes]

    @cached_property
    def _aiming(self) -> Aiming:
        return self.strategy.aiming(self.records, self.spec)

    def __getstate__(self) -> dict[str, object]:
        # What a strategy made for itself is quicker made than sent, and is a closure.
        return {name: value for name, value in self.__dict__.items() if name != "_aiming"}


def drawn_along(
    axes: Sequence[Axis], middles: Sequence[NDArray[np.int64]], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """(count, 3) starts: the first has one of the middles along each axis, all of them as likely;
    the others one of those whose patch touches the same chunks, so that each alone is
    distributed as the first.
    """
    columns = []
    for axis, along in zip(axes, middles, strict=True):
        starts = axis.starts(along)
        first = starts[random.integers(len(starts))]
        same = starts[axis.like(starts, first)] if count > 1 else starts
        columns.append([first, *same[random.integers(len(same), size=count - 1)]])
    return np.array(columns).T


def drawn_among(
    axes: Sequence[Axis],
    voxels: NDArray[np.int64],
    reach: Sequence[int],
    count: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """(count, 3) starts around (n, 3) voxels of the volume, each moved by up to `reach` voxels of
    the lattice: as `drawn_along`, among some of the voxels, drawn first.
    """
    some = voxels[random.integers(len(voxels), size=_CANDIDATES if count > 1 else 1)]
    moved = [random.integers(-most, most, len(some), endpoint=True) for most in reach]
    starts = np.stack([axis.starts(axis.nearest(some[:, at]) + moved[at]) for at, axis in enumerate(axes)], 1)
    same = np.logical_and.reduce([axis.like(starts[:, at], starts[0, at]) for at, axis in enumerate(axes)])
    alike = starts[same]
    return np.concatenate([starts[:1], alike[random.integers(len(alike), size=count - 1)]])
