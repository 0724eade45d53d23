"""Limits: the cores and the memory that this process may use.

Three have a say: the machine, with the affinity of the process; its control groups, as of a container or a
batch job; and SLURM, whose variables hold what a job asked for where no group enforces it. The address
space that a process may have (RLIMIT_AS) is none of memory: files that are mapped and what threads reserve
count there.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final

from ctspine_zarr.concurrency.cgroups import core_limit, memory_limit

# Of the file system.
_ROOT: Final = Path("/")
# SLURM's unit of memory.
_MEGABYTE: Final = 1 << 20


def usable_cores() -> int:
    """Processor cores that this process may use, at least 1; a part of a core counts as none.

    Affinity and SLURM's variables are looked at each time, control groups once: see `forget`.
    """
    return min(limit for limit in (_cores(), _group_cores(), _slurm_cores()) if limit is not None)


def usable_memory() -> int:
    """Bytes of memory that this process, and those that it starts, may use together.

    What others use of it is not subtracted. Control groups are looked at once: see `forget`.
    """
    limits = (_physical_memory(), _group_memory(), _slurm_memory())
    return min(limit for limit in limits if limit is not None)


def forget() -> None:
    """Look at the control groups again when next asked."""
    _group_cores.cache_clear()
    _group_memory.cache_clear()


@functools.cache
def _group_cores() -> int | None:
    # Each read of an array asks: the files of every ancestor would take it longer than a slice does.
    return core_limit(_ROOT)


@functools.cache
def _group_memory() -> int | None:
    # Each case of a build asks.
    return memory_limit(_ROOT)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _slurm_cores() -> int | None:
    """Cores of this task; where the job names none for a task, those that it has on this node.

    https://slurm.schedmd.com/sbatch.html: SLURM_CPUS_PER_TASK is set if --cpus-per-task is given alone.
    """
    return _slurm("SLURM_CPUS_PER_TASK") or _slurm("SLURM_CPUS_ON_NODE")


def _slurm_memory() -> int | None:
    """Bytes that the job has on this node, or for the cores of this task; --mem=0 is all there are."""
    of_node, of_core = _slurm("SLURM_MEM_PER_NODE"), _slurm("SLURM_MEM_PER_CPU")
    if of_node is not None:
        return of_node * _MEGABYTE
    return None if of_core is None else of_core * (_slurm_cores() or 1) * _MEGABYTE


def _slurm(name: str) -> int | None:
    """A positive number among SLURM's variables; None where there is no such."""
    text = os.environ.get(name, "")
    return (int(text) or None) if text.isascii() and text.isdecimal() and len(text) < 19 else None
