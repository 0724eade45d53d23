"""Where patches lie: drawn around what a strategy aims at, several to a region read once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import require_integer
from ctspine_zarr.format.layout import CHUNK
from ctspine_zarr.format.record import Record, Triple, Vertebra
from ctspine_zarr.geometry import Lattice, Shape
from ctspine_zarr.sampling.order import Purpose, generator
from ctspine_zarr.sampling.pieces import Piece, Unit, require_cases
from ctspine_zarr.sampling.strategies import Aim, Around, Strategy
from ctspine_zarr.sampling.volumes import part, whole

type Voxels = Callable[[int, Vertebra], NDArray[np.int64]]
"""From a case's number and a vertebra to the (n, 3) voxels that bear its label."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a lattice that patches are cut from.

    Attributes:
        voxels: of the volume.
        chunk: voxels of the volume in a chunk.
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

    def anywhere(self) -> range:
        """Middles of all patches inside the lattice."""
        first, last = self.limits
        return range(first + self.edge // 2, last + self.edge // 2 + 1)

    def nearest(self, position: float) -> int:
        """The lattice's voxel nearest to a position in the volume."""
        return round((position - self.first) / self.step)

    def like(self, starts: NDArray[np.int64], one: int) -> NDArray[np.bool_]:
        """Which patches touch the chunks that the patch at `one` touches, no more and no fewer."""
        begins, ends = self._chunks(starts)
        begin, end = self._chunks(np.array(one))
        alike: NDArray[np.bool_] = (begins == begin) & (ends == end)
        return alike

    def _chunks(self, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        begins = np.floor(self.first + starts * self.step)
        ends = np.ceil(self.first + (starts + self.edge - 1) * self.step)
        first, last = (np.clip(at, 0, self.voxels - 1).astype(np.int64) for at in (begins, ends))
        return first // self.chunk, last // self.chunk


@dataclass(frozen=True)
class PatchPlan:
    """Patches of one size, drawn anew each epoch.

    Attributes:
        records: of the selection.
        size: (z, y, x) voxels of a patch, at `spacing`.
        samples: patches a volume: an epoch has this many times the cases.
        strategy: what they are drawn around.
        together: patches of one region: the first is drawn, the others have the same aim and
            touch the same chunks. Each of them alone is distributed as the first.
        spacing: mm, (z, y, x); None for each case's own.
        seed: with the epoch, all that chance depends on.

    Raises:
        UnknownValue: the selection is empty, or has nothing that the strategy aims at; a number
            below 1.
    """

    records: Sequence[Record]
    size: Shape
    samples: int
    strategy: Strategy
    together: int = 1
    spacing: Triple | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_cases(len(self.records))
        require_integer("samples_per_volume", self.samples, 1)
        require_integer("patches_per_region", self.together, 1)
        require_integer("seed", self.seed, 0)
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

    def unit(self, number: int, epoch: int, voxels: Voxels) -> Unit:
        """One region.

        Args:
            number: of the region.
            epoch: from 0.
            voxels: asked where the strategy wants voxels that bear a label.
        """
        random = generator(Purpose.DRAW, self.seed, epoch, number)
        case = number // (len(self.sizes) // len(self.records))
        aim = self._aiming(case, random)
        lattice = whole(self.records[aim.case], self.spacing)
        starts = self._starts(aim, self._axes(aim.case, lattice), int(self.sizes[number]), random, voxels)
        return Unit(
            aim.case,
            tuple(
                Piece(part(lattice, (z, y, x), self.size), {"start": np.array((z, y, x))})
                for z, y, x in starts.tolist()
            ),
        )

    def _starts(
        self, aim: Aim, axes: Sequence[Axis], count: int, random: np.random.Generator, voxels: Voxels
    ) -> NDArray[np.int64]:
        """(count, 3) starts."""
        if aim.vertebra is None or not isinstance(self.strategy, Around):
            return drawn_along(axes, [axis.anywhere() for axis in axes], count, random)
        spacing = self.spacing or self.records[aim.case].spacing
        reach = [int(self.strategy.jitter / mm) for mm in spacing]
        if self.strategy.where == "voxel":
            return drawn_among(axes, voxels(aim.case, aim.vertebra), reach, count, random)
        ends = extent(aim.vertebra, self.strategy)
        middles = [
            range(axis.nearest(first) - more, axis.nearest(last) + more + 1)
            for axis, (first, last), more in zip(axes, ends, reach, strict=True)
        ]
        return drawn_along(axes, middles, count, random)

    def _axes(self, case: int, lattice: Lattice) -> list[Axis]:
        shape = self.records[case].shape
        facts = zip(shape, CHUNK, lattice.size, lattice.first, lattice.step, self.size, strict=True)
        return [Axis(*along) for along in facts]

    @cached_property
    def _aiming(self) -> Callable[[int, np.random.Generator], Aim]:
        return self.strategy.aiming(self.records)

    def __getstate__(self) -> dict[str, object]:
        # What a strategy made for itself is quicker made than sent, and is a closure.
        return {name: value for name, value in self.__dict__.items() if name != "_aiming"}


def extent(vertebra: Vertebra, strategy: Around) -> list[tuple[float, float]]:
    """Along each axis the first and the last position of the volume that a patch may be around."""
    if strategy.where == "centroid":
        return [(middle, middle) for middle in vertebra.centroid]
    return [(start, stop - 1) for start, stop in zip(vertebra.start, vertebra.stop, strict=True)]


def drawn_along(
    axes: Sequence[Axis], middles: Sequence[range], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """(count, 3) starts: middles are drawn along each axis alone, all positions being as likely;
    after the first, among those whose patch touches the same chunks.
    """
    columns = []
    for axis, span in zip(axes, middles, strict=True):
        starts = axis.starts(np.arange(span.start, span.stop))
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
    """(count, 3) starts: middles are drawn among (n, 3) voxels of the volume, and then moved by up
    to `reach` voxels of the lattice; after the first, among those whose patch touches the same chunks.
    """
    middles = np.empty_like(voxels)
    for at, axis in enumerate(axes):
        nearest = np.rint((voxels[:, at] - axis.first) / axis.step).astype(np.int64)
        middles[:, at] = nearest + random.integers(-reach[at], reach[at], len(voxels), endpoint=True)
    starts = np.stack([axis.starts(middles[:, at]) for at, axis in enumerate(axes)], 1)
    first = starts[random.integers(len(starts))]
    same = np.logical_and.reduce([axis.like(starts[:, at], first[at]) for at, axis in enumerate(axes)])
    alike = starts[same]
    return np.concatenate([first[None], alike[random.integers(len(alike), size=count - 1)]])
