"""What a process may use: the least of what the machine, its control groups and SLURM say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

from ctspine_zarr.concurrency import limits
from ctspine_zarr.concurrency.cgroups import Mount, core_limit, memory_limit, parse_groups, parse_mounts
from ctspine_zarr.concurrency.limits import usable_cores, usable_memory

GIB = 1 << 30
CORES, MEMORY = 64, 256 * GIB
NO_LIMIT = "9223372036854771712\n"
"""What version 1 writes for none."""

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 master:1 - cgroup cgroup rw,memory\n"
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a file system, of a machine with 64 cores and 256 GiB."""
    sizes = {"SC_PHYS_PAGES": MEMORY // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    monkeypatch.setattr(limits, "_ROOT", tmp_path)
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    limits.forget()
    yield tmp_path
    limits.forget()


def put(root: Path, mounts: str, groups: str, files: Mapping[str, str]) -> None:
    """A machine's control groups; `files` are below `/sys/fs/cgroup`."""
    places = {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups}
    for name, text in {**places, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def usable() -> tuple[int, int]:
    """Cores and GiB."""
    limits.forget()
    return usable_cores(), usable_memory() // GIB


def test_without_control_groups_the_machine_decides() -> None:
    assert usable() == (64, 256)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "400000 100000\n", "memory.max": f"{8 * GIB}\n"}, (4, 8)),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, (64, 256)),
        # A fraction of a core is not one, but a process has one at least.
        ({"cpu.max": "399999 100000\n"}, (3, 256)),
        ({"cpu.max": "50000 100000\n"}, (1, 256)),
        ({"cpu.max": "9900000 100000\n", "memory.max": f"{512 * GIB}\n"}, (64, 256)),
    ],
)
def test_a_group_of_version_2_limits(machine: Path, files: dict[str, str], expected: tuple[int, int]) -> None:
    put(machine, V2, "0::/job\n", {f"job/{name}": text for name, text in files.items()})
    assert usable() == expected


@pytest.mark.parametrize(
    ("quota", "memory", "expected"),
    [
        ("250000\n", f"{8 * GIB}\n", (2, 8)),
        ("-1\n", NO_LIMIT, (64, 256)),
        ("1000\n", f"{16 * GIB}\n", (1, 16)),
    ],
)
def test_a_group_of_version_1_limits(
    machine: Path, quota: str, memory: str, expected: tuple[int, int]
) -> None:
    files = {
        "cpu,cpuacct/job/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "memory/job/memory.limit_in_bytes": memory,
    }
    put(machine, V1, "4:memory:/job\n3:cpu,cpuacct:/job\n1:name=systemd:/other\n", files)
    assert usable() == expected


def test_in_a_hybrid_each_controller_is_looked_for_where_it_is(machine: Path) -> None:
    mounts = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    files = {
        "memory/a/memory.limit_in_bytes": f"{8 * GIB}\n",
        "unified/b/cpu.max": "300000 100000\n",
        # Groups of other controllers, and those that this process is not in, say nothing.
        "unified/a/memory.max": f"{GIB}\n",
        "memory/b/memory.limit_in_bytes": f"{GIB}\n",
    }
    put(machine, mounts, "4:memory:/a\n3:cpu,cpuacct:/\n0::/b\n", files)
    assert usable() == (3, 8)


@pytest.mark.parametrize("tightest", ["", "slurm/", "slurm/job_7/", "slurm/job_7/step_0/"])
def test_every_ancestor_limits(machine: Path, tightest: str) -> None:
    names = ["", "slurm/", "slurm/job_7/", "slurm/job_7/step_0/"]
    files = {f"{name}memory.max": f"{9 * GIB}\n" for name in names}
    files |= {f"{name}cpu.max": "900000 100000\n" for name in names}
    files |= {f"{tightest}memory.max": f"{2 * GIB}\n", f"{tightest}cpu.max": "200000 100000\n"}
    # Neither below the process's group nor beside it.
    files |= {"slurm/job_7/step_0/sub/memory.max": f"{GIB}\n", "slurm/job_8/memory.max": f"{GIB}\n"}
    put(machine, V2, "0::/slurm/job_7/step_0\n", files)
    assert usable() == (2, 2)


@pytest.mark.parametrize(
    ("root", "group", "folder"),
    [
        # The mount shows the container's own group alone, and the process is told its whole name.
        ("/docker/abc", "/docker/abc", ""),
        ("/docker/abc", "/docker/abc/sub", "sub/"),
        # The names that the process is told are not those of the mount.
        ("/", "/docker/abc", ""),
        ("/docker/abc", "/", ""),
        ("/docker/abc", "/docker/abcd", ""),
        ("/", "/../../other", ""),
        ("/../..", "/", ""),
    ],
)
def test_a_container_has_the_limits_of_its_mount(machine: Path, root: str, group: str, folder: str) -> None:
    mounts = V2.replace(" / /sys", f" {root} /sys")
    files = {f"{folder}memory.max": f"{3 * GIB}\n", f"{folder}cpu.max": "200000 100000\n"}
    put(machine, mounts, f"0::{group}\n", files)
    outside = machine / "sys/fs/other"
    outside.mkdir()
    (outside / "memory.max").write_text(f"{GIB}\n")
    assert usable() == (2, 3)


def test_a_mount_of_the_processs_group_goes_before_one_of_another(machine: Path) -> None:
    other = V2.replace(" / /sys/fs/cgroup", " /job_8 /sys/fs/cgroup/other")
    files = {"other/memory.max": f"{GIB}\n", "job_7/memory.max": f"{5 * GIB}\n"}
    put(machine, other + V2, "0::/job_7\n", files)
    assert usable() == (64, 5)


def test_names_may_hold_spaces_and_colons(machine: Path) -> None:
    mounts = V2.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/the\040groups")
    put(machine, mounts, "0::/a:b c\n", {"the groups/a:b c/memory.max": f"{5 * GIB}\n"})
    assert usable() == (64, 5)


GARBAGE = ("", "\n", "x", "-", "0", "-5", "max max", "max 2 3", "1e3 1", "\x00\xff", "9" * 5000, "0::", "::/")


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_not_as_documented_says_nothing(machine: Path, garbage: str) -> None:
    files = {"memory.max": f"{8 * GIB}\n", "cpu.max": "400000 100000\n"}
    inner = {"job/cpu.max": garbage, "job/memory.max": garbage}
    put(machine, f"{garbage}\n{V2}{garbage}\n", f"{garbage}\n0::/job\n{garbage}\n", files | inner)
    assert usable() == (4, 8)
    put(machine, garbage, garbage, {})
    assert usable() == (64, 256)
    put(machine, V2, garbage, {})
    assert usable() == (64, 256)


def test_a_mount_that_is_no_path_says_nothing(machine: Path) -> None:
    bad = V2.replace("/sys/fs/cgroup", r"/sys/\000")
    put(machine, bad, "0::/job\n", {})
    assert usable() == (64, 256)


@pytest.mark.parametrize("name", ["job/memory.max", "memory.max"])
def test_what_cannot_be_read_leaves_the_next_best(machine: Path, name: str) -> None:
    files = {"memory.max": f"{9 * GIB}\n", "job/memory.max": f"{8 * GIB}\n", "cpu.max": "400000 100000\n"}
    put(machine, V2, "0::/job\n", files)
    path = machine / "sys/fs/cgroup" / name
    path.unlink()
    # Whoever runs the tests, root included, cannot read a folder.
    path.mkdir()
    assert usable() == (4, 8 if name == "memory.max" else 9)


def test_a_quota_without_its_period_says_nothing(machine: Path) -> None:
    put(machine, V1, "3:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "200000\n"})
    assert core_limit(machine) is None


def test_parsing_finds_each_field() -> None:
    groups = {"cpu": "/a", "cpuacct": "/a", "memory": "/b:c", "": "/d"}
    assert parse_groups("3:cpu,cpuacct:/a\n4:memory:/b:c\n0::/d\n") == {
        name: PurePosixPath(path) for name, path in groups.items()
    }
    cpu, memory = parse_mounts(V1)
    assert cpu == Mount(
        PurePosixPath("/sys/fs/cgroup/cpu,cpuacct"), PurePosixPath("/"), frozenset({"rw", "cpu", "cpuacct"})
    )
    assert memory.controllers == {"rw", "memory"}
    assert parse_mounts(V2)[0].controllers == {""}


def test_where_there_are_no_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert (core_limit(tmp_path), memory_limit(tmp_path)) == (None, None)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CPUS_ON_NODE": "16"}, (16, 256)),
        ({"CPUS_ON_NODE": "16", "CPUS_PER_TASK": "4"}, (4, 256)),
        ({"CPUS_PER_TASK": "128"}, (64, 256)),
        ({"MEM_PER_NODE": "32768"}, (64, 32)),
        ({"CPUS_ON_NODE": "8", "MEM_PER_CPU": "2048"}, (8, 16)),
        ({"CPUS_ON_NODE": "8", "CPUS_PER_TASK": "4", "MEM_PER_CPU": "2048"}, (4, 8)),
        ({"MEM_PER_CPU": "2048"}, (64, 2)),
        # --mem=0 asks for all there is.
        ({"MEM_PER_NODE": "0"}, (64, 256)),
        ({"CPUS_PER_TASK": "0", "CPUS_ON_NODE": "x", "MEM_PER_NODE": "32G", "MEM_PER_CPU": ""}, (64, 256)),
        ({"CPUS_PER_TASK": "-4", "CPUS_ON_NODE": "4.5", "MEM_PER_NODE": "9" * 5000}, (64, 256)),
        ({"CPUS_PER_TASK": "²"}, (64, 256)),
    ],
)
def test_a_job_of_slurm_has_what_it_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[int, int]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert usable() == expected


def test_the_least_of_all_holds(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine, V2, "0::/\n", {"cpu.max": "400000 100000\n", "memory.max": f"{8 * GIB}\n"})
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    assert usable() == (4, 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 9})
    assert usable() == (2, 4)


def test_affinity_is_looked_at_each_time_and_groups_once(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine, V2, "0::/\n", {"cpu.max": "800000 100000\n"})
    assert usable_cores() == 8
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("a read of an array reads files"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores() == 3


def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable() == (12, 256)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable() == (1, 256)
