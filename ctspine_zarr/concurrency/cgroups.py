"""Control groups of Linux, versions 1 and 2: the cores and the memory that they leave to this process.

A kernel keeps them as folders: https://docs.kernel.org/admin-guide/cgroup-v2.html. A limit of a group is
one of all groups below it, so that every ancestor counts. What is not there, cannot be read or is not
as documented says nothing, and is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_GROUPS: Final = "proc/self/cgroup"
_MOUNTS: Final = "proc/self/mountinfo"
_OCTAL: Final = re.compile(r"\\([0-3][0-7]{2})")
# As `Mount.controllers` and `parse_groups` have it, of version 2, whose one hierarchy is for all of them.
_ALL: Final = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A place where a hierarchy of groups is mounted.

    Attributes:
        point: the folder, an absolute path.
        root: the group that the folder is; a container may see a part of the hierarchy alone.
        controllers: what the hierarchy is for, such as `memory`; "" alone in version 2.
    """

    point: PurePosixPath
    root: PurePosixPath
    controllers: frozenset[str]


def memory_limit(root: Path = Path("/")) -> int | None:
    """The least limit of memory in bytes of this process's group and its ancestors; None without one.

    Args:
        root: of the file system.
    """
    # For none version 2 has `max`, version 1 a number that no machine reaches.
    v2 = (_positive(_read(group / "memory.max")) for group in _groups(root, _ALL))
    v1 = (_positive(_read(group / "memory.limit_in_bytes")) for group in _groups(root, "memory"))
    return _least([*v2, *v1])


def core_limit(root: Path = Path("/")) -> int | None:
    """The least limit of whole cores of this process's group and its ancestors, at least 1; None
    without one.

    Args:
        root: of the file system.
    """
    v2 = (_whole_cores(_read(group / "cpu.max")) for group in _groups(root, _ALL))
    v1 = (
        _whole_cores(f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}")
        for group in _groups(root, "cpu")
    )
    return _least([*v2, *v1])


def parse_groups(text: str) -> dict[str, PurePosixPath]:
    """Controller -> the group that this process is in, from `/proc/self/cgroup`; "" for version 2."""
    groups: dict[str, PurePosixPath] = {}
    for line in text.splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number.isdecimal() and path.startswith("/"):
            groups |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    return groups


def parse_mounts(text: str) -> list[Mount]:
    """Where groups are mounted, from `/proc/self/mountinfo`."""
    return [mount for line in text.splitlines() for mount in _mounts_of(line.split(" "))]


def directories(mounts: Iterable[Mount], controller: str, group: PurePosixPath) -> list[PurePosixPath]:
    """The folders of a group and its ancestors, the group's own first.

    Some of them may not exist. A container may see groups by other names than its process is told, and
    then has those above the mount's own root nowhere: that root, which is above the group, is what is left.
    """
    fitting = [mount for mount in mounts if controller in mount.controllers]
    near = [mount for mount in fitting if ".." not in group.parts and group.is_relative_to(mount.root)]
    below = [(mount.point, group.relative_to(mount.root)) for mount in near]
    chosen = below or [(mount.point, PurePosixPath()) for mount in fitting[:1]]
    return [point / part for point, inside in chosen for part in (inside, *inside.parents)]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    group = parse_groups(_read(root / _GROUPS)).get(controller)
    if group is not None:
        for folder in directories(parse_mounts(_read(root / _MOUNTS)), controller, group):
            yield root / folder.relative_to("/")


def _mounts_of(fields: list[str]) -> Iterator[Mount]:
    """The mount that a line is of, if it is one of groups.

    Six fields, any number of optional ones, a dash, the type, the device, and options of the type.
    """
    if "-" not in fields[6:]:
        return
    kind, _, options = [*fields[fields.index("-", 6) + 1 :], "", "", ""][:3]
    point, root = (PurePosixPath(_unescaped(fields[place])) for place in (4, 3))
    if kind in {"cgroup", "cgroup2"} and point.is_absolute() and root.is_absolute():
        controllers = frozenset({_ALL} if kind == "cgroup2" else options.split(","))
        yield Mount(point, root, controllers)


def _unescaped(text: str) -> str:
    """A path whose spaces and line breaks the kernel has written as octal numbers."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def _whole_cores(text: str) -> int | None:
    """Whole cores of a quota and its period in microseconds; `max` and -1 are no quota."""
    quota, period = (_positive(part) for part in [*text.split(), "", ""][:2])
    return None if quota is None or period is None else max(1, quota // period)


def _positive(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number > 0 else None


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _read(path: Path) -> str:
    """The text of a file; "" where it is not to be had."""
    try:
        return path.read_text("utf-8", errors="replace")
    # A name with a zero byte is a ValueError.
    except (OSError, ValueError):
        return ""
