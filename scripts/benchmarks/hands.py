"""What 1,005 cases cost whoever builds, finalizes and verifies them, apart from their voxels.

The source has the dataset's names, splits and sources where the authors' split list is at hand, else
made-up ones in the same numbers; each volume is tiny, but has 14 labels over 1,600 HU, so that records and
receipts have the size of real ones. Each step runs in a fresh process, imports not counted.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.goals import goal
from ctspine_zarr import nifti
from ctspine_zarr.datasets.ctspine1k import SPLIT_FILE, CTSpine1K, source_of
from ctspine_zarr.datasets.splits import parse_splits
from ctspine_zarr.datasets.vertebrae import LABELS

FACTS: Final = Path(__file__).parents[3] / "shared" / "ctspine1k-facts"
PARTS: Final = 4
# As the split list has them: cases of each section, and of each source with the form of their names.
SECTIONS: Final = {"trainset": 610, "test_public": 197, "test_private": 198}
NAMES: Final = {
    "1.3.6.1.4.1.9328.50.4.{:04}": 784,
    "liver_{}": 150,
    "volume-covid19-A-{:04}_ct": 40,
    "HN_P{:03}": 31,
}
# (i, j, k): a slice of each label, T4 to L5, the lowest first.
SHAPE: Final = (24, 24, 16)
TOP, LAST = LABELS["T4"], LABELS["L5"]
SPACING: Final = (4.0, 4.0, 25.0)
LOW, HIGH = -300, 1300

MEASURED: Final = """
import json, resource, sys, time
from pathlib import Path
import ctspine_zarr as cz

step, source, store, plan = sys.argv[1:]
cz.plan_build, cz.build_store, cz.finalize, cz.verify, cz.open_store, cz.Store

def run():
    if step == "plan":
        return len(cz.plan_build(source, store, plan_file=plan).pending)
    if step.startswith("part"):
        part = cz.Part.parse(step.split()[1])
        return len(cz.build_store(cz.plan_build(source, store, plan_file=plan, part=part)).built)
    if step == "finalize":
        return len(cz.finalize(store).whole)
    if step == "verify --quick":
        found = cz.verify(store, quick=True)
        return len(found.cases) if found.is_whole else sys.exit("the store is not whole")
    if step == "build again":
        return len(cz.build_store(cz.plan_build(source, store)).whole)
    return len(cz.open_store(store))

def used(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024

def cpu():
    return used(resource.RUSAGE_SELF)[0] + used(resource.RUSAGE_CHILDREN)[0]

wall, before = time.perf_counter(), cpu()
cases = run()
found = {"cases": cases, "wall": time.perf_counter() - wall, "cpu": cpu() - before}
found["own_peak"], found["worker_peak"] = used(resource.RUSAGE_SELF)[1], used(resource.RUSAGE_CHILDREN)[1]
print(json.dumps(found))
"""
STEPS: Final = (
    "plan",
    *(f"part {number}/{PARTS}" for number in range(1, PARTS + 1)),
    "finalize",
    "verify --quick",
    "build again",
    "open",
)
GOALS: Final = {"finalize": 10.0, "verify --quick": 10.0}


@dataclass(frozen=True)
class Row:
    """One step, run so many times.

    Attributes:
        name: of the step.
        cases: that it planned, built, found whole or opened.
        walls, cpus: seconds of each run; CPU time is that of its workers too.
        own_peak, worker_peak: bytes of memory of the process, and of the largest of its workers.
    """

    name: str
    cases: int
    walls: tuple[float, ...]
    cpus: tuple[float, ...]
    own_peak: int
    worker_peak: int


def run(scratch: Path, facts: Path, repeats: int) -> dict[str, Any]:
    """Measure every step, print a table, return the figures."""
    listed = facts / "data_split.txt"
    text = listed.read_text() if listed.is_file() else made_up()
    source = write_source(scratch / "hands", text)
    runs = [steps(source, scratch / f"hands-{number}") for number in range(repeats)]
    rows = [row(name, [one[name] for one in runs]) for name in STEPS]
    receipts = [path.stat().st_size for path in (scratch / "hands-0" / "spine.zarr" / "receipts").iterdir()]
    report(rows, receipts, "the authors' names" if listed.is_file() else "made-up names")
    for name, most in GOALS.items():
        print(goal(f"{name}, seconds", median(rows, name), most))
    return {"receipt_bytes": statistics.median(receipts), "rows": [asdict(one) for one in rows]}


def made_up() -> str:
    """A split list of as many cases, spread over splits as the sources come."""
    ids = [form.format(number) for form, count in NAMES.items() for number in range(count)]
    order = iter(np.random.default_rng(0).permutation(ids).tolist())
    sections = ([f"{name}:", *(next(order) for _ in range(count))] for name, count in SECTIONS.items())
    return "\n".join(line for lines in sections for line in lines)


def write_source(root: Path, split_list: str) -> Path:
    """A dataset of these cases, laid out as the real one: images differ, all masks are one file."""
    (root / SPLIT_FILE).parent.mkdir(parents=True)
    (root / SPLIT_FILE).write_text(split_list)
    affine = np.diag([*SPACING, 1.0])
    mask = np.zeros(SHAPE, np.uint8)
    mask[6:18, 6:18, 1 : LAST - TOP + 2] = np.arange(LAST, TOP - 1, -1)
    image = np.random.default_rng(0).integers(LOW, HIGH, SHAPE, dtype=np.int16)
    first = root / "mask.nii.gz"
    nifti.write(first, [nifti.encode(mask, affine)])
    for number, (case, splits) in enumerate(parse_splits(split_list).items()):
        names = splits[0], source_of(case) or "", case
        # Another image each, at no more than a copy's cost.
        nifti.write(root / CTSpine1K().image_path(*names), [nifti.encode(np.roll(image, number), affine)])
        path = root / CTSpine1K().mask_path(*names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(first)
    return root


def steps(source: Path, folder: Path) -> Mapping[str, dict[str, Any]]:
    """What each step took, one after the other, of a store that is new."""
    folder.mkdir()
    paths = [str(path) for path in (source, folder / "spine.zarr", folder / "plan.json")]
    return {name: step(name, paths) for name in STEPS}


def step(name: str, paths: list[str]) -> dict[str, Any]:
    # By a shell, for a process is said to have had what its parent's memory was when it was started.
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", MEASURED, name, *paths]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, runs: Sequence[dict[str, Any]]) -> Row:
    """The runs of one step together."""
    walls, cpus = (tuple(one[clock] for one in runs) for clock in ("wall", "cpu"))
    own, worker = (max(one[peak] for one in runs) for peak in ("own_peak", "worker_peak"))
    return Row(name, runs[0]["cases"], walls, cpus, own, worker)


def median(rows: Sequence[Row], name: str) -> float:
    """Wall time of a step."""
    return next(statistics.median(one.walls) for one in rows if one.name == name)


def report(rows: Sequence[Row], receipts: Sequence[int], names: str) -> None:
    print(f"\n{len(receipts):,} cases of {names}, receipts of {statistics.median(receipts) / 1e3:.0f} kB")
    print(f"{'':<16}{'cases':>7}{'wall, s':>9}{'spread':>8}{'CPU, s':>8}{'peak, MB':>10}{'of a worker':>13}")
    for one in rows:
        wall = statistics.median(one.walls)
        print(
            f"{one.name:<16}{one.cases:>7,}{wall:>9.2f}{(max(one.walls) - min(one.walls)) / wall:>8.0%}"
            f"{statistics.median(one.cpus):>8.2f}{one.own_peak / 1e6:>10.0f}{one.worker_peak / 1e6:>13.0f}"
        )
