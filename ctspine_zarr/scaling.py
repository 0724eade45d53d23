"""What becomes of HU on their way to a model: windows, and normalisation. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ctspine_zarr.errors import UnknownValue, number

type Window = tuple[float, float]
"""HU (low, high): values become `(value - low) / (high - low)`, clipped to 0..1."""

_SINGLE: Final = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class Scaling:
    """What becomes of each value: `(value - subtract) / divide`, each step rounded to the target's dtype,
    then moved to the nearest of `low` to `high`.

    Attributes:
        subtract, divide: in the values' unit, such as HU.
        low, high: bounds of the result.
    """

    subtract: float
    divide: float
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Normalization:
    """A normalisation of all images alike: clipped to `low` to `high`, then `(value - mean) / std`.

    Attributes:
        mean, std: HU.
        low, high: HU; by default nothing is clipped.

    Raises:
        UnknownValue: a `mean` that is not finite, a `std` that is not above 0, or a `low` not below `high`.
    """

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        number("mean", self.mean, "HU, finite", math.isfinite)
        number("std", self.std, "HU above 0, finite", lambda std: 0 < std < math.inf)
        number("low", self.low, f"HU below high, {self.high}", lambda low: low < self.high)

    @property
    def scaling(self) -> Scaling:
        """The same for values that become float32, which are clipped when they are scaled: the bounds take
        the steps of every value, so that this is bit for bit what clipping them first gives.
        """
        mean, std = np.float32(self.mean), np.float32(self.std)
        low, high = (float((np.float32(bound) - mean) / std) for bound in (self.low, self.high))
        return Scaling(self.mean, self.std, low, high)


def window_scaling(window: Window) -> Scaling:
    """A window (low, high) onto 0..1; what lies beyond is clipped."""
    low, high = window
    return Scaling(low, high - low, 0, 1)


def require_window(asked: Window, dtype: np.dtype[Any] = _SINGLE) -> Window:
    """What is asked for, where it is two numbers whose distance the dtype holds.

    Raises:
        UnknownValue: it is not.
    """
    try:
        low, high = (float(bound) for bound in asked)
        with np.errstate(over="ignore", under="ignore"):
            width = float(np.float64(high - low).astype(dtype))
    except (TypeError, ValueError, OverflowError):
        width = math.nan
    if not 0 < width < math.inf:
        message = f"window {asked}; legal: (low, high), finite, low below high"
        raise UnknownValue(message)
    return low, high
