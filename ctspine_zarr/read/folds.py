"""Groups of cases that belong together, and how they are dealt to folds and splits. Pure.

Two cases belong together where they are of one patient or have one image, and so do those that others
connect. Whatever is trained on one of them knows the other: a group lies on one side, as a whole.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue, integer, number
from ctspine_zarr.format.record import Record

type Group = tuple[str, ...]
"""Ids of cases, in the store's order."""
type Records = Mapping[str, Record]

TRAIN: Final = "train"
VALIDATION: Final = "validation"

_LEAST_GAIN: Final = 1e-6
_MOST_OFF: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Ties:
    """The reasons for which cases belong together.

    Attributes:
        patients: ids of the cases of each patient that has several.
        images: ids of the cases of each image that several have.
    """

    patients: list[Group]
    images: list[Group]

    @classmethod
    def of(cls, records: Records, digests: Mapping[str, str]) -> Ties:
        """The ties of some cases.

        Args:
            records: of the cases.
            digests: of the voxels of the images of those that `alike` names.
        """
        patients = ((case, record.patient_id) for case, record in records.items())
        images = ((case, (_looks(records[case]), digest)) for case, digest in digests.items())
        return cls(_shared(patients), _shared(images))

    def why(self) -> dict[str, str]:
        """Case -> by what others belong to it: `patient`, `image` or `patient, image`."""
        reasons = defaultdict[str, list[str]](list)
        for reason, ties in (("patient", self.patients), ("image", self.images)):
            for case in (case for tie in ties for case in tie):
                reasons[case].append(reason)
        return {case: ", ".join(names) for case, names in reasons.items()}


class Leak(NamedTuple):
    """A case of a group that lies in several splits.

    Attributes:
        case, split, source, patient_id: as its record has them.
        group: number of the group, from 0.
        why: by what others belong to the case: `patient`, `image` or `patient, image`.
    """

    case: str
    split: str
    source: str
    patient_id: str
    group: int
    why: str


def alike(records: Records) -> list[str]:
    """The cases whose image may be another's as well, by all that the catalog says of it."""
    return [case for tie in _shared((case, _looks(one)) for case, one in records.items()) for case in tie]


def groups_of(records: Records, ties: Ties) -> list[Group]:
    """The groups of cases, in order of their first ones; a case that nothing ties is a group by itself."""
    group_of = {case: {case} for case in records}
    for first, *others in (*ties.patients, *ties.images):
        for other in others:
            _join(group_of, first, other)
    place = {case: number for number, case in enumerate(records)}
    groups = {id(group): group for group in group_of.values()}
    return [tuple(sorted(group, key=place.__getitem__)) for group in groups.values()]


def leaking(records: Records, groups: Iterable[Group]) -> list[Group]:
    """The groups that lie in several splits."""
    return [group for group in groups if len({records[case].split for case in group}) > 1]


def leaks_of(records: Records, groups: Iterable[Group], ties: Ties) -> list[Leak]:
    """The cases of groups that lie in several splits, group by group."""
    why = ties.why()
    return [
        Leak(case, records[case].split, records[case].source, records[case].patient_id, place, why[case])
        for place, group in enumerate(leaking(records, groups))
        for case in group
    ]


def validations(records: Records, groups: Sequence[Group], count: int | None, seed: int) -> list[set[str]]:
    """The cases that each of some folds validates on: each case in one of them, a group in one.

    Sizes differ by no more cases than the largest group has; those of one source by as little as this
    and the groups allow.

    Raises:
        UnknownValue: fewer than two folds, or more than there are groups; no legal seed.
    """
    sides = integer("folds", count, 2)
    if sides > len(groups):
        message = f"{sides} folds of {len(groups)} groups of cases; legal: no more folds than groups"
        raise UnknownValue(message)
    return _dealt(records, groups, [1 / sides] * sides, seed)


def by_shares(
    records: Records, groups: Sequence[Group], shares: Mapping[str, float], seed: int
) -> dict[str, set[str]]:
    """Name -> cases: each case has one name, a group one; in the order of `shares`.

    A name's cases differ from its share of all by no more than the largest group has; those of one
    source by as little as this and the groups allow.

    Raises:
        UnknownValue: shares that are not above 0 or do not sum to 1; no legal seed.
    """
    # Whatever order the names came in, the draw is the same.
    legal = dict(sorted(_legal_shares(shares).items()))
    dealt = dict(zip(legal, _dealt(records, groups, list(legal.values()), seed), strict=True))
    return {name: dealt[name] for name in shares}


def by_split(records: Records, groups: Iterable[Group]) -> tuple[set[str], set[str]]:
    """The dataset's own cases of train and of validation, but those of train whose group is held out.

    Raises:
        UnknownValue: none of train, or none of validation.
    """
    held_out = {
        case for group in groups if any(records[one].split != TRAIN for one in group) for case in group
    }
    train = records.keys() - held_out
    validation = {case for case, record in records.items() if record.split == VALIDATION}
    if not train or not validation:
        seen = (
            f"{len(train)} cases of {TRAIN} that none held out belongs to, {len(validation)} of {VALIDATION}"
        )
        message = f"a fold by split of {seen}; legal: one case of each, or more"
        raise UnknownValue(message)
    return train, validation


def _looks(record: Record) -> Hashable:
    """What two images that are equal agree in, voxels and dtype."""
    return record.shape, record.image.dtype, record.intensity


def _shared[Key: Hashable](cases: Iterable[tuple[str, Key]]) -> list[Group]:
    """The cases of each key that several have."""
    found = defaultdict[Key, list[str]](list)
    for case, key in cases:
        found[key].append(case)
    return [tuple(ids) for ids in found.values() if len(ids) > 1]


def _join(group_of: dict[str, set[str]], one: str, other: str) -> None:
    small, large = sorted((group_of[one], group_of[other]), key=len)
    if small is not large:
        large |= small
        group_of.update(dict.fromkeys(small, large))


def _legal_shares(shares: object) -> dict[str, float]:
    legal = "legal: a share above 0 for each name, that sum to 1"
    if not isinstance(shares, Mapping) or not all(isinstance(name, str) for name in shares):
        message = f"shares {shares!r}; {legal}"
        raise UnknownValue(message)
    found = {
        name: number(f"share {name}", share, "above 0, at most 1", lambda one: 0 < one <= 1)
        for name, share in shares.items()
    }
    total = math.fsum(found.values())
    if abs(total - 1) > _MOST_OFF:
        message = f"shares {dict(shares)} that sum to {total:g}; {legal}"
        raise UnknownValue(message)
    return {name: share / total for name, share in found.items()}


def _dealt(records: Records, groups: Sequence[Group], shares: Sequence[float], seed: int) -> list[set[str]]:
    """The cases of each of some sides, by their shares of all."""
    random = np.random.default_rng(integer("seed", seed, 0))
    # Whatever order the groups came in, the draw is the same.
    ordered = sorted(map(sorted, groups))
    shuffled = [ordered[place] for place in random.permutation(len(ordered))]
    deal = _Deal(_cases(records, shuffled), np.array(shares, dtype=np.float64))
    deal.hand_out()
    deal.even_out()
    sides: list[set[str]] = [set() for _ in shares]
    for group, side in zip(shuffled, deal.side_of, strict=True):
        sides[side].update(group)
    return sides


def _cases(records: Records, groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """(groups, sources) cases."""
    sources = sorted({record.source for record in records.values()})
    found = np.zeros((len(groups), max(len(sources), 1)), np.int64)
    for row, group in enumerate(groups):
        for case in group:
            found[row, sources.index(records[case].source)] += 1
    return found


class _Deal:
    """Groups on sides, of which each should have its share of all cases, and of those of every source.

    Args:
        cases: (groups, sources), of which each group has one or more.
        shares: (sides,), that sum to 1.

    Attributes:
        side_of: (groups,) numbers of sides; -1 before `hand_out`.
    """

    def __init__(self, cases: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
        self._cases = cases
        self._sizes = cases.sum(axis=1)
        self._shares = shares
        self._on = np.zeros((len(shares), cases.shape[1]), np.int64)
        self.side_of = np.full(len(cases), -1)

    def hand_out(self) -> None:
        """Put every group, the largest of a source first, on the side where most of its source is missing.

        Of several such sides, on that where most of all cases is missing.
        """
        source_of = self._cases.argmax(axis=1)
        for group in np.lexsort((-self._sizes, source_of)):
            in_source = self._surplus(self._on, self._cases)[:, source_of[group]]
            self._put(group, np.lexsort((self._surplus_of_all(), in_source))[0])

    def even_out(self) -> None:
        """Move groups to other sides while that brings the sides nearer to their shares.

        Afterwards no two sides' surpluses differ by more than the largest group: its smallest group could
        move from the one to the other.
        """
        while len(self._cases):
            surplus = self._surplus_of_all()
            # By as much the sum of squared surpluses falls, halved.
            gains = self._sizes[:, None] * (surplus[self.side_of][:, None] - surplus - self._sizes[:, None])
            if gains.max() < _LEAST_GAIN:
                return
            equal = gains > gains.max() - _LEAST_GAIN
            group, side = np.unravel_index(
                np.where(equal, self._gains_in_source(), -np.inf).argmax(), gains.shape
            )
            self._put(group, side)

    def _gains_in_source(self) -> NDArray[np.float64]:
        """(groups, sides): how much larger the surplus of a group's sources is where it is than there."""
        surplus = self._surplus(self._on, self._cases)
        of_groups: NDArray[np.float64] = self._cases @ surplus.T
        return np.take_along_axis(of_groups, self.side_of[:, None], axis=1) - of_groups

    def _surplus_of_all(self) -> NDArray[np.float64]:
        return self._surplus(self._on.sum(axis=1), self._sizes)

    def _surplus(self, on: NDArray[np.int64], cases: NDArray[np.int64]) -> NDArray[np.float64]:
        """(sides, ...): cases that each side has above its share."""
        return np.subtract(on, np.multiply.outer(self._shares, cases.sum(axis=0)))

    def _put(self, group: np.intp, side: np.intp) -> None:
        if self.side_of[group] >= 0:
            self._on[self.side_of[group]] -= self._cases[group]
        self._on[side] += self._cases[group]
        self.side_of[group] = side
