"""Processes by what tells one from all others, so that another can see whether it still runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
# Of /proc/PID/stat: its second field, in brackets, may hold anything; the 22nd is when the process began.
_AFTER_NAME = 19


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A process.

    Attributes:
        host: name of its machine, for people.
        machine: what tells the machine, since it started, and the namespace of `process` from all
            others; empty where nothing does.
        process: its number.
        began: when, in the kernel's ticks; 0 where nobody can say.
    """

    host: str
    machine: str
    process: int
    began: int

    @classmethod
    def own(cls) -> Self:
        """This process."""
        process = os.getpid()
        return cls(host=platform.node(), machine=_machine(), process=process, began=_began(process) or 0)

    def is_gone(self) -> bool:
        """Whether the process surely runs no more: it was on this machine, and is not there."""
        return bool(self.machine) and self.machine == _machine() and _began(self.process) != self.began

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _began(process: int) -> int | None:
    """When a process of this machine began; None where there is none."""
    try:
        return int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[_AFTER_NAME])
    except (OSError, ValueError, IndexError):
        return None
