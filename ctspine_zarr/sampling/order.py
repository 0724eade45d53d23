"""The order of an epoch's samples, and each process's share of them. Pure.

Samples lie in units that are read at once. An epoch puts the units in a random order, cuts the
line of their samples into equal shares, and draws from several units of a share at a time. All
of it follows from seed, epoch and share, so that any sample can be found again without a read.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue

type Items = tuple[int, range]  # a unit's place in the epoch, and which of its samples


class Purpose(enum.IntEnum):
    """The purpose of random numbers: each has a sequence of its own."""

    ORDER = 0
    BUFFER = 1
    DRAW = 2


def generator(purpose: Purpose, *key: int) -> np.random.Generator:
    """A generator whose numbers follow from the key alone; keys are integers from 0."""
    return np.random.default_rng((purpose, *key))


@dataclass(frozen=True, slots=True)
class Share:
    """The part of an epoch that one process draws.

    Attributes:
        rank, ranks: of the training process, and how many there are.
        worker, workers: of the process that loads for it.
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.ranks and 0 <= self.worker < self.workers):
            message = f"{self}; legal: each number from 0 and below its count"
            raise UnknownValue(message)

    def of(self, total: int, *, even: bool) -> range:
        """Its part of `total` samples; the parts of all shares are disjoint.

        Args:
            total: samples of the epoch.
            even: every rank gets equally many, and up to `ranks - 1` samples of the epoch are
                left out; otherwise the parts cover everything, and differ by 1 at most.
        """
        given = total - total % self.ranks if even else total
        return _part(_part(range(given), self.rank, self.ranks), self.worker, self.workers)


def _part(samples: range, part: int, parts: int) -> range:
    edges = (len(samples) * number // parts for number in (part, part + 1))
    return samples[slice(*edges)]


def items_of(sizes: NDArray[np.int64], samples: range) -> Iterator[Items]:
    """The units that a run of samples lies in, with the samples of each that belong to it.

    Args:
        sizes: samples of each unit, in the epoch's order.
        samples: as `Share.of` gives it.
    """
    ends = np.cumsum(sizes)
    first = int(np.searchsorted(ends, samples.start, "right"))
    for unit in range(first, len(sizes)):
        begin = int(ends[unit] - sizes[unit])
        if begin >= samples.stop:
            return
        inside = range(max(samples.start - begin, 0), min(samples.stop - begin, int(sizes[unit])))
        if inside:
            yield unit, inside


def shuffled(units: Iterable[Items], buffer: int, random: np.random.Generator) -> Iterator[tuple[int, int]]:
    """The samples of all units, each once: a random one of a random one of the units that are open.

    Args:
        units: opened one by one, the next when one of those that are open has no sample left.
        buffer: how many are open, at least 1.
        random: drawn from twice a sample.

    Yields:
        Unit and sample.
    """
    opened: list[tuple[int, list[int]]] = []
    for unit, items in units:
        opened.append((unit, list(items)))
        while len(opened) == buffer:
            yield _take(opened, random)
    while opened:
        yield _take(opened, random)


def _take(opened: list[tuple[int, list[int]]], random: np.random.Generator) -> tuple[int, int]:
    at = int(random.integers(len(opened)))
    unit, items = opened[at]
    item = items.pop(int(random.integers(len(items))))
    if not items:
        del opened[at]
    return unit, item


def announced(order: Iterable[tuple[int, int]], ahead: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """The order, and with each sample the units whose reading should begin before it is taken.

    Args:
        order: unit and sample, as `shuffled` gives them.
        ahead: units to begin before they come up; with 0 each begins with its first sample.

    Yields:
        Unit and sample, and the units to begin: each once, in the order in which they come up.
    """
    rest = iter(order)
    waiting: deque[tuple[tuple[int, int], bool]] = deque()
    seen: set[int] = set()
    coming = 0
    while True:
        begin = []
        while not waiting or coming - waiting[0][1] < ahead:
            found = next(rest, None)
            if found is None:
                break
            is_first = found[0] not in seen
            waiting.append((found, is_first))
            if is_first:
                seen.add(found[0])
                begin.append(found[0])
                coming += 1
        if not waiting:
            return
        found, is_first = waiting.popleft()
        coming -= is_first
        yield found, begin


def dealt(batches: Sequence[int], count: int) -> tuple[int, list[int]]:
    """The state of round-robin dealing: whose turn it is, and how many batches each worker has dealt.

    Args:
        batches: how many each worker has; one that has no more is left out of the round.
        count: how many were dealt in all.

    Raises:
        UnknownValue: more than there are.
    """
    if not 0 <= count <= sum(batches):
        message = f"{count} batches of a pass of {sum(batches)}; legal: 0 to {sum(batches)}"
        raise UnknownValue(message)
    given = [0] * len(batches)
    turns = (
        worker for turn in range(max(batches, default=0)) for worker, has in enumerate(batches) if turn < has
    )
    for worker in itertools.islice(turns, count):
        given[worker] += 1
    return next(turns, 0), given
