"""What is aimed at, beside what was reached; figures as medians with their range over runs."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A ratio to reach.

    Attributes:
        text: what it is.
        aim, least: what is hoped for, and what must be; where they are equal, smaller is better unless
            `at_least`.
        reached: of each run.
        at_least: larger is better.
    """

    text: str
    aim: float
    least: float
    reached: Sequence[float]
    at_least: bool = False

    @property
    def state(self) -> str:
        """By the median of the runs."""
        sign = -1 if self.at_least else 1
        median = sign * statistics.median(self.reached)
        if median <= sign * self.aim:
            return "met"
        return "least" if median <= sign * self.least else "SHORT"

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        aims = f"aim {sign} {self.aim:g}, least {sign} {self.least:g}"
        return f"{self.state:<6} {self.text}: {ranged(self.reached)}; {aims}"

    @property
    def in_json(self) -> dict[str, Any]:
        """With its median, range and state."""
        return asdict(self) | spread(self.reached) | {"state": self.state}


def report(goals: Sequence[Goal], about: str) -> None:
    """`met` is the aim, `least` what must be; `SHORT` is neither."""
    print(f"\ngoals{about}: median (range over runs)", *goals, sep="\n")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def ranged(values: Sequence[float]) -> str:
    """The same in words; one value has no range."""
    if len(values) == 1:
        return short(values[0])
    return f"{short(statistics.median(values))} ({short(min(values))}-{short(max(values))})"


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def goal(text: str, reached: float, bound: float, *, at_least: bool = False) -> str:
    """A line of a figure that has one bound, and no runs."""
    good = reached >= bound if at_least else reached <= bound
    sign = ">=" if at_least else "<="
    return f"{'met   ' if good else 'MISSED'} {text}: {reached:.2f} ({sign} {bound})"
