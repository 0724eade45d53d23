"""Strategies that place patches: anywhere, around a label of the case, or around every label alike.

Everything is drawn from the catalog. Labels that a case's findings call strays are left out; a
case without a mask has none.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from ctspine_zarr.errors import UnknownValue, number, require_known
from ctspine_zarr.format.levels import sound_labels
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec

type Where = Literal["box", "centroid", "voxel"]
type By = Literal["label", "region"]
type Aiming = Callable[[int, np.random.Generator], Aim]
"""From the case whose turn it is to the aim of a patch."""

TRANSITIONAL: Final = "transitional"
"""The class of the lowest level of each case that its dataset lists as transitional."""

_WHERES: Final = ("box", "centroid", "voxel")
_BYS: Final = ("label", "region")
_NOTHING: Final = "no case of the selection has a label to draw from; legal: Uniform()"


class Aim(NamedTuple):
    """The aim of a patch: what it is drawn around.

    Attributes:
        case: number of the case in the selection.
        label: of the case's mask, such as a vertebra; None for anywhere in the case.
        where, jitter: as for `Around`.
    """

    case: int
    label: Label | None = None
    where: Where = "box"
    jitter: float = 0.0


class Strategy(ABC):
    """A rule that places patches. Its `repr` is part of a saved state: it must say all that matters."""

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}()"

    @abstractmethod
    def aiming(self, records: Sequence[Record], spec: Spec) -> Aiming:
        """The rule for a selection.

        Args:
            records: of the selection.
            spec: of its store: names of labels and regions.

        Raises:
            UnknownValue: it names what the spec does not, or the selection has nothing that it
                could aim at.
        """


@dataclass(frozen=True, kw_only=True)
class Uniform(Strategy):
    """Patches anywhere in the volume: every place that holds the whole patch is as likely.

    Every case has equally many patches.
    """

    def aiming(self, records: Sequence[Record], spec: Spec) -> Aiming:  # noqa: ARG002 - any will do
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
    """Patches around a label; where the volume's edge is near, they are moved inside.

    Attributes:
        where: the patch's middle is on any voxel of the label's bounding box, on its centroid, or on
            any voxel that bears it; the last one reads the mask inside the box.
        jitter: mm that the middle then moves at most, along each axis, all distances alike; up to 500.
    """

    where: Where = "box"
    jitter: float = 0.0

    def __post_init__(self) -> None:
        require_known("where", [self.where], _WHERES)
        number("jitter", self.jitter, "mm from 0 to 500", lambda mm: 0 <= mm <= 500)


@dataclass(frozen=True, kw_only=True)
class Foreground(Around):
    """Patches around a label with some probability, else anywhere: nnU-Net's oversampling.

    Every case has equally many patches, and each of its labels is as likely. A case without any
    gets patches from anywhere.

    Attributes:
        probability: of a label, 0 to 1; nnU-Net's is a third.
    """

    probability: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        number("probability", self.probability, "0 to 1", lambda p: 0 <= p <= 1)

    def aiming(self, records: Sequence[Record], spec: Spec) -> Aiming:  # noqa: ARG002 - whatever the names
        """See `Strategy`."""
        labels = [sound_labels(record) for record in records]
        if self.probability and not any(labels):
            raise UnknownValue(_NOTHING)

        def aim(case: int, random: np.random.Generator) -> Aim:
            if random.random() < self.probability and labels[case]:
                return Aim(case, _one(labels[case], random), self.where, self.jitter)
            return Aim(case)

        return aim


@dataclass(frozen=True, kw_only=True)
class Balanced(Around):
    """Patches around labels, each class as often as its weight says, over the whole selection.

    A class is drawn first, then one of all its labels in the selection, each as likely: cases
    come as often as they have what is wanted.

    Attributes:
        by: `label` for a class a label, such as L1; `region` for the regions of the store's spec,
            such as lumbar, and, where it has levels, `transitional`: the lowest level of each case
            that the dataset lists as transitional.
        weights: of classes by name, relative to each other; those not named are not drawn. By
            default every class that the selection has weighs the same.
    """

    by: By = "label"
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_known("by", [self.by], _BYS)
        if self.weights is not None:
            _require_weights(self.weights, self.by)

    def aiming(self, records: Sequence[Record], spec: Spec) -> Aiming:
        """See `Strategy`."""
        require_known(self.by, self.weights or (), classes_of(spec, self.by))
        members = self._members(records, spec)
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

    def _members(self, records: Sequence[Record], spec: Spec) -> dict[str, list[Aim]]:
        """Class -> every label of it that the selection has; classes in the spec's order."""
        found: dict[str, list[Aim]] = {name: [] for name in classes_of(spec, self.by)}
        for case, record in enumerate(records):
            labels = sound_labels(record)
            transitional = _transitional(record, labels, spec)
            for label in labels:
                for name in _classes(label, self.by, spec, is_transitional=label.label == transitional):
                    found[name].append(Aim(case, label, self.where, self.jitter))
        return {name: aims for name, aims in found.items() if aims}


def classes_of(spec: Spec, by: By) -> list[str]:
    """Names of the classes that the labels of a store are told apart by."""
    if by == "label":
        return list(spec.labels.values())
    return [*spec.regions, TRANSITIONAL] if spec.levels else list(spec.regions)


def _classes(label: Label, by: By, spec: Spec, *, is_transitional: bool) -> list[str]:
    if by == "label":
        return [label.name]
    names = [name for name, values in spec.regions.items() if label.label in values]
    return [*names, TRANSITIONAL] if is_transitional else names


def _transitional(record: Record, labels: Sequence[Label], spec: Spec) -> int | None:
    """The value of the lowest level of a case that is listed as transitional."""
    present = {label.label for label in labels}
    if record.transitional is None:
        return None
    return next((value for value in reversed(spec.levels) if value in present), None)


def _require_weights(asked: object, by: By) -> None:
    if not isinstance(asked, Mapping):
        message = f"weights {asked!r}; legal: a dictionary, {by} -> weight"
        raise UnknownValue(message)
    weights = [
        number(f"weight of {name}:", weight, "from 0", lambda weight: 0 <= weight < math.inf)
        for name, weight in asked.items()
    ]
    number("sum of weights", sum(weights), "above 0 and finite", lambda total: 0 < total < math.inf)


def _one[T](values: Sequence[T], random: np.random.Generator) -> T:
    return values[int(random.integers(len(values)))]
