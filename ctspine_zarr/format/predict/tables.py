"""The static family of distributions: 128 tables of residuals, made once by a fixed procedure.

A table divides 512 slots among symbols. A symbol is a run of 2^k neighbouring residuals, whose
`k` low bits are taken from the state as they are; one more, the escape, is for all others. Every
operation on doubles is one that IEEE 754 defines, in an order that is fixed: no sum is numpy's own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS: Final = 9
SLOTS: Final = 1 << BITS
TABLES: Final = 128
CLASSES: Final = 208
ESCAPE: Final = -1024

_HALF: Final = CLASSES // 2
_SCALES: Final = 64
_MAX_K: Final = 7
# Runs end before this value of u.
_MOST: Final = 1023
# Up to which u, in units of 2^base, runs are how many times wider: as powers of two.
_PIECES: Final = ((16, 0), (32, 1), (64, 2), (128, 4))


class Family(NamedTuple):
    """All tables. The last five arrays are indexed by table * 208 + class of a residual.

    Attributes:
        slots: by table * 512 + slot: slot - start (9 bits), k (3), the least residual of the symbol, or
            `ESCAPE` (11, signed), frequency (9), lowest bits first.
        costs: of a residual, in 1/64 bit.
        starts, frequencies, ks: of its symbol.
        is_escape: whether its symbol is the escape.
    """

    slots: NDArray[np.int64]
    costs: NDArray[np.int64]
    starts: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    ks: NDArray[np.int64]
    is_escape: NDArray[np.bool_]


@functools.cache
def family() -> Family:
    """The family, made at the first call."""
    tables = [_table(number) for number in range(TABLES)]
    return Family(*(np.concatenate(parts) for parts in zip(*tables, strict=True)))


def class_of(residuals: NDArray[np.int16]) -> NDArray[np.int64]:
    """The classes of residuals: sign, and of u = r or -1 - r one of 16 low values or an eighth octave."""
    negative = residuals < 0
    u = np.where(negative, ~residuals, residuals).astype(np.int64)
    k = np.frexp((u >> 3 | 1).astype(np.float64))[1] - 1
    classes: NDArray[np.int64] = 8 * k + (u >> k) + _HALF * negative
    return classes


@dataclass(slots=True)
class _Run:
    """2^k values of u from `first`, and the masses of both signs."""

    first: int
    k: int
    masses: tuple[float, float] = (0.0, 0.0)


def _table(number: int) -> Family:
    runs = _runs(number)
    frequencies = _frequencies(runs)
    symbols = [(run.k, least) for run in runs for least in (run.first, -run.first - (1 << run.k))]
    starts = np.cumsum([0, *frequencies[:-1]])
    words = [
        k << 9 | (least & 0x7FF) << 12 | frequency << 23
        for frequency, (k, least) in zip(frequencies, [*symbols, (0, ESCAPE)], strict=True)
    ]
    ranks = np.concatenate([np.arange(frequency) for frequency in frequencies])
    slots = np.repeat(np.array(words, np.int64), frequencies) | ranks
    chosen = np.array([_symbol_of(runs, number) for number in range(CLASSES)])
    ks = np.array([*(k for k, _ in symbols), 0])[chosen]
    is_escape = chosen == len(symbols)
    logs = np.array([_log2(frequency) for frequency in frequencies])[chosen]
    costs = 64 * (BITS + np.where(is_escape, 16, ks)) - logs
    return Family(slots, costs, starts[chosen], np.array(frequencies)[chosen], ks, is_escape)


def _symbol_of(runs: list[_Run], number: int) -> int:
    """The symbol that a class of residuals lies in."""
    sign, index = divmod(number, _HALF)
    k = max(0, index // 8 - 1)
    u = (index - 8 * k) << k
    for at, run in enumerate(runs):
        if run.first <= u < run.first + (1 << run.k):
            return 2 * at + sign
    return 2 * len(runs)


def _log2(number: int) -> int:
    """log2 of 1 to 511 in 1/64, rounded down: six squarings of a mantissa of 30 bits of fraction."""
    whole = number.bit_length() - 1
    mantissa, bits = number << (30 - whole), 0
    for _ in range(6):
        mantissa = mantissa * mantissa >> 30
        is_two = mantissa >> 31
        mantissa >>= is_two
        bits = 2 * bits + is_two
    return 64 * whole + bits


def _runs(number: int) -> list[_Run]:
    """The runs of a table: those at least as likely as half a slot, and all before the last of them."""
    index, is_logistic = number % _SCALES, number >= _SCALES
    base = max(0, index // 4 - 10)
    runs: list[_Run] = []
    first = 0
    for end, wider in _PIECES:
        width = 1 << (base + wider)
        while base + wider <= _MAX_K and first < end << base and first + width <= _MOST:
            runs.append(_Run(first, base + wider))
            first += width
    density = _density(((4 + index % 4) << (index // 4)) / 1024, first + 1, is_logistic=is_logistic)
    sums = [
        float(np.cumsum(density[run.first + sign : run.first + sign + (1 << run.k)])[-1])
        for run in runs
        for sign in (0, 1)
    ]
    total = float(np.cumsum(sums)[-1])
    for at, run in enumerate(runs):
        run.masses = sums[2 * at] / total, sums[2 * at + 1] / total
    likely = [at for at, run in enumerate(runs) if run.masses[0] * 1024 >= 1]
    return runs[: max(likely, default=0) + 1]


def _frequencies(runs: list[_Run]) -> list[int]:
    """Slots for each run, positive then negative, and last for the escape; 512 in all."""
    frequencies = []
    for run in runs:
        least = 1 << max(0, run.k - 6)
        for mass in run.masses:
            rounded = int(np.floor(mass * SLOTS + 0.5))
            frequencies.append(max(least, rounded // least * least))
    frequencies.append(1)
    frequencies[0] = SLOTS - sum(frequencies[1:])
    return frequencies


def _density(scale: float, count: int, *, is_logistic: bool) -> NDArray[np.float64]:
    """The density of |r| from 0: Laplacian or logistic, with a tail of a 32nd that is four times wider."""
    power = _powers(1.0, scale / (scale + 1), count)
    tail = _powers(1 / (4 * scale + 1) / 32, 4 * scale / (4 * scale + 1), count)
    main = power / ((1 + power) * (1 + power)) * 2 if is_logistic else power
    return main / (scale + 1) + tail


def _powers(first: float, ratio: float, count: int) -> NDArray[np.float64]:
    """A geometric sequence, each value the one before times the ratio."""
    factors = np.full(count, ratio)
    factors[0] = first
    powers: NDArray[np.float64] = np.multiply.accumulate(factors)
    return powers
