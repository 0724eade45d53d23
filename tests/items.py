"""Tasks of worker processes that need nothing of the package, so that those are soon there."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


def square(item: int) -> int:
    return item * item


def dies_at_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def slow(item: int) -> int:
    time.sleep(0.3)
    return item


@dataclass(frozen=True)
class Deadly:
    """A task of which an item's worker dies: each time, or once, as a file tells."""

    notes: Path

    def __call__(self, item: int) -> int:
        (self.notes / f"{item}-{time.monotonic_ns()}").touch()
        tries = len(list(self.notes.glob(f"{item}-*")))
        if item == 3 or (item == 5 and tries == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    def tries(self, item: int) -> int:
        return len(list(self.notes.glob(f"{item}-*")))
