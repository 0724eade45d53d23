"""What help of each command costs: wall time of fresh processes, beside that of Python alone."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from benchmarks.goals import Goal, report, spread
from ctspine_zarr.cli.main import cli

ALONE = "python -c pass"
BOUND = 0.2


def run(repeats: int) -> dict[str, Any]:
    """Measure in rounds, so that a slow moment is everyone's; print a table, return the figures."""
    lines = {ALONE: ["-c", "pass"], "--version": ["-m", "ctspine_zarr", "--version"]}
    lines |= {" ".join(words): ["-m", "ctspine_zarr", *words] for words in helps((), cli)}
    rounds = [{name: seconds(line) for name, line in lines.items()} for _ in range(repeats)]
    walls = {name: tuple(one[name] for one in rounds) for name in lines}
    print(f"\n{'':<28}{'wall, s':>9}{'least':>8}{'most':>8}")
    for name, wall in walls.items():
        print(f"{name:<28}{statistics.median(wall):>9.3f}{min(wall):>8.3f}{max(wall):>8.3f}")
    slowest = max((name for name in walls if name != ALONE), key=lambda name: statistics.median(walls[name]))
    goal = Goal(f"s of {slowest}, the slowest", BOUND, BOUND, walls[slowest])
    report([goal], " of help")
    return {"seconds": {name: spread(wall) for name, wall in walls.items()}, "goals": [goal.in_json]}


def helps(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    """The words of each command's help, groups included."""
    yield (*words, "--help")
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from helps((*words, name), inner)


def seconds(line: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *line], stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own
    return time.perf_counter() - begun
