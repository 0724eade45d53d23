"""Processes by what tells one from all others, so that another can see whether it still runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ctspine_zarr.digest import sha256

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

    @property
    def tag(self) -> str:
        """What tells it from all others, in a name of a folder."""
        return f"{self._machine_tag}-{self.process}-{self.began}"

    def outlived(self, tags: Iterable[str]) -> Iterator[str]:
        """Those of tags that are of processes of this one's machine which surely run no more."""
        for tag in tags:
            machine, *numbers = tag.split("-")
            if machine == self._machine_tag and len(numbers) == 2 and all(map(str.isdecimal, numbers)):
                other = replace(self, process=int(numbers[0]), began=int(numbers[1]))
                if other.is_gone():
                    yield tag

    @property
    def _machine_tag(self) -> str:
        return sha256(f"{self.host} {self.machine}".encode())[:12]

    def is_gone(self) -> bool:
        """Whether the process surely runs no more: it was on this machine, and is not there."""
        if not self.machine or self.machine != _machine():
            return False
        seen = _began(self.process)
        return not exists(self.process) if seen is None else seen != self.began

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def exists(process: int) -> bool:
    """Whether there is a process of that number; what other users run may be hidden in /proc."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _began(process: int) -> int | None:
    """When a process of this machine began; None where there is none."""
    try:
        return int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[_AFTER_NAME])
    except (OSError, ValueError, IndexError):
        return None
