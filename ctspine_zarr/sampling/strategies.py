"""What a patch is drawn around: anywhere, a vertebra of its case, or vertebrae of every kind alike.

Everything is drawn from the catalog. Labels that a case's findings call strays are left out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np

from ctspine_zarr.dataset import LABELS, REGIONS
from ctspine_zarr.errors import UnknownValue, choose, number, require_known
from ctspine_zarr.format.record import Record, Vertebra
from ctspine_zarr.sampling.pieces import sound_vertebrae

type Where = Literal["box", "centroid", "voxel"]
type Aiming = Callable[[int, np.random.Generator], Aim]
"""From the case whose turn it is to what the patch is drawn around."""

WHERES: Final = ("box", "centroid", "voxel")
TRANSITIONAL: Final = "transitional"


class Aim(NamedTuple):
    """What a patch is drawn around.

    Attributes:
        case: number of the case in the selection.
        vertebra: None for anywhere in the case.
        where, jitter: as for `Around`.
    """

    case: int
    vertebra: Vertebra | None = None
    where: Where = "box"
    jitter: float = 0.0


class Strategy(ABC):
    """How patches are placed. Its `repr` is part of a saved state: it must say all that matters."""

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}()"

    @abstractmethod
    def aiming(self, records: Sequence[Record]) -> Aiming:
        """The strategy for a selection.

        Raises:
            UnknownValue: the selection has nothing that it could aim at.
        """


@dataclass(frozen=True, kw_only=True)
class Uniform(Strategy):
    """Anywhere in the volume: every place that holds the whole patch is as likely.

    Every case has equally many patches.
    """

    def aiming(self, records: Sequence[Record]) -> Aiming:  # noqa: ARG002 - any will do
        """See `Strategy`."""
        return lambda case, _: Aim(case)


def strategy_of(asked: object) -> Strategy:
    """The strategy asked for; `Uniform` for None.

    Raises:
        UnknownValue: it is no strategy.
    """
    if asked is None:
        return Uniform()
    if not isinstance(asked, Strategy):
        message = f"strategy {asked!r}; legal: Uniform(), Foreground(...), Balanced(...)"
        raise UnknownValue(message)
    return asked


@dataclass(frozen=True, kw_only=True)
class Around(Strategy):
    """Places a patch around a vertebra; where the volume's edge is near, it is moved inside.

    Attributes:
        where: the patch's middle is on any voxel of the vertebra's bounding box, on its
            centroid, or on any voxel that bears its label; the last one reads the mask inside
            the box.
        jitter: mm that the middle then moves at most, along each axis, all distances alike; up to 500.
    """

    where: Where = "box"
    jitter: float = 0.0

    def __post_init__(self) -> None:
        require_known("where", [self.where], WHERES)
        number("jitter", self.jitter, "mm from 0 to 500", lambda mm: 0 <= mm <= 500)


@dataclass(frozen=True, kw_only=True)
class Foreground(Around):
    """Around a vertebra with some probability, else anywhere: nnU-Net's oversampling.

    Every case has equally many patches, and each of its vertebrae is as likely. A case without
    any gets patches from anywhere.

    Attributes:
        probability: of a vertebra, 0 to 1; nnU-Net's is a third.
    """

    probability: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        number("probability", self.probability, "0 to 1", lambda p: 0 <= p <= 1)

    def aiming(self, records: Sequence[Record]) -> Aiming:
        """See `Strategy`."""
        vertebrae = [sound_vertebrae(record) for record in records]
        if self.probability and not any(vertebrae):
            raise UnknownValue(_NOTHING)

        def aim(case: int, random: np.random.Generator) -> Aim:
            if random.random() < self.probability and vertebrae[case]:
                return Aim(case, _one(vertebrae[case], random), self.where, self.jitter)
            return Aim(case)

        return aim


@dataclass(frozen=True, kw_only=True)
class Balanced(Around):
    """Around vertebrae, each class as often as its weight says, over the whole selection.

    A class is drawn first, then one of all its vertebrae in the selection, each as likely: cases
    come as often as they have what is wanted.

    Attributes:
        by: `vertebra` for C1 to L6, or `region` for cervical, thoracic, lumbar (L1 to L5), L6,
            and transitional: the lowest vertebra of a case that the card lists as transitional.
        weights: of classes by name, relative to each other; those not named are not drawn. By
            default every class that the selection has weighs the same.
    """

    by: Literal["vertebra", "region"] = "vertebra"
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = choose("by", self.by, CLASSES)
        if self.weights is not None:
            _require_weights(self.weights, self.by, classes)

    def aiming(self, records: Sequence[Record]) -> Aiming:
        """See `Strategy`."""
        members = self._members(records)
        if not members:
            raise UnknownValue(_NOTHING)
        weights = dict.fromkeys(members, 1.0) if self.weights is None else self.weights
        wanted = [name for name, weight in weights.items() if weight > 0]
        for name in wanted:
            if name not in members:
                message = f"no case of the selection has {name}; it has: {', '.join(members)}"
                raise UnknownValue(message)
        ends = np.cumsum([weights[name] for name in wanted])

        def aim(case: int, random: np.random.Generator) -> Aim:  # noqa: ARG001 - the class decides
            drawn = int(np.searchsorted(ends, random.random() * ends[-1], "right"))
            return _one(members[wanted[drawn]], random)

        return aim

    def _members(self, records: Sequence[Record]) -> dict[str, list[Aim]]:
        """Class -> every vertebra of it that the selection has, from the head down."""
        found: dict[str, list[Aim]] = {name: [] for name in CLASSES[self.by]}
        for case, record in enumerate(records):
            vertebrae = sound_vertebrae(record)
            lowest = max((vertebra.label for vertebra in vertebrae), default=0)
            transitional = lowest if record.transitional is not None else None
            for vertebra in vertebrae:
                for name in _classes(vertebra, self.by, transitional):
                    found[name].append(Aim(case, vertebra, self.where, self.jitter))
        return {name: aims for name, aims in found.items() if aims}


CLASSES: Final = MappingProxyType({"vertebra": tuple(LABELS), "region": (*REGIONS, TRANSITIONAL)})
"""What vertebrae may be told apart by -> the classes' names."""

_NOTHING: Final = "no case of the selection has a vertebra to draw from; legal: Uniform()"


def _classes(vertebra: Vertebra, by: str, transitional: int | None) -> list[str]:
    """The classes of a vertebra in a case whose transitional one has that label."""
    if by == "vertebra":
        return [vertebra.name]
    names = [name for name, labels in REGIONS.items() if vertebra.label in labels]
    return [*names, TRANSITIONAL] if vertebra.label == transitional else names


def _require_weights(asked: object, by: str, classes: Sequence[str]) -> None:
    if not isinstance(asked, Mapping):
        message = f"weights {asked!r}; legal: a dictionary, {by} -> weight"
        raise UnknownValue(message)
    require_known(by, asked, classes)
    weights = [
        number(f"weight of {name}:", weight, "from 0", lambda weight: 0 <= weight < math.inf)
        for name, weight in asked.items()
    ]
    number("sum of weights", sum(weights), "above 0 and finite", lambda total: 0 < total < math.inf)


def _one[T](values: Sequence[T], random: np.random.Generator) -> T:
    return values[int(random.integers(len(values)))]
