"""A build in parts, by many hands and by any runner: the same bytes, whatever was done, and how often."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Bucket
from executors import Ranks
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from stores import builds, objects, objects_at
from trees import Tree, voxels
from zarr.storage import MemoryStore

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.concurrency.cluster import connected
from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.datasets.ctspine1k import SPEC
from ctspine_zarr.errors import IncompleteBuild, NoWorkers, SourceError, StoreMismatch, UnknownValue
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.manifest.claims import Claim
from ctspine_zarr.storage import open_storage
from ctspine_zarr.write.document import (
    PlanDocument,
    PlannedCase,
    decode_plan,
    encode_plan,
    ids_of,
    new_document,
)

CASES = "abcdefghi"
SCRIPT = Path(__file__).parents[1] / "scripts" / "slurm_array.sh"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Nine cases of several sizes, and one that is refused."""
    tree = Tree(tmp_path / "tree")
    for number, case in enumerate(CASES):
        shape = (20, 24, 8 + 2 * number)
        tree.add(case, voxels(number, shape), voxels(number, shape) % 2 * 24)
    tree.add("torn", b"\x1f\x8b no gzip")
    return tree


@pytest.fixture
def expected(tree: Tree, tmp_path: Path) -> dict[str, bytes]:
    """What a build in this process writes."""
    cz.build_store(plan(tree, tmp_path / "serial.zarr"))
    return builds(objects(tmp_path / "serial.zarr"))


def plan(tree: Tree, location: Any, part: str | None = None, **options: Any) -> cz.Plan:
    chosen = None if part is None else cz.Part.parse(part)
    return cz.plan_build(tree.root, location, part=chosen, workers=1, **options)


def all_of(location: Any, **options: Any) -> dict[str, bytes]:
    """Every object of a store, wherever it lies."""
    return objects_at(open_storage(location, **options))


# -- parts


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow), "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    if request.param == "folder":
        return tmp_path / "parts.zarr", {}
    if request.param == "memory":
        return MemoryStore(), {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.new(), {"storage_options": bucket.options}


@pytest.mark.parametrize("seed", [1])
def test_parts_in_any_order_and_twice_give_the_same_bytes(
    tree: Tree, expected: dict[str, bytes], place: tuple[Any, dict[str, Any]], seed: int
) -> None:
    location, options = place
    parts = [f"{number}/7" for number in range(1, 8)]
    order = [*parts, *parts]
    random.Random(seed).shuffle(order)
    done: set[str] = set()
    for part in order:
        cz.build_store(plan(tree, location, part, **options))
        done.add(part)
        if done < set(parts):
            with pytest.raises(
                IncompleteBuild, match="cases are not built yet: .*run the build, or its parts"
            ) as caught:
                cz.finalize(location, **options)
            assert set(caught.value.missing) < {*CASES, "torn"}
    for _ in range(2):
        result = cz.finalize(location, **options)
        assert {entry.record.id for entry in result.whole} == set(CASES)
        assert [refusal.case for refusal in result.refused] == ["torn"]
        found = all_of(location, options=options.get("storage_options"))
        assert builds(found) == expected
    # And a part that comes late has nothing to do but the case that was refused.
    cz.build_store(plan(tree, location, parts[0], **options))
    cz.finalize(location, **options)
    assert builds(all_of(location, options=options.get("storage_options"))) == expected


def test_finalize_names_what_is_missing_and_changes_nothing(tree: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    cz.build_store(plan(tree, location, "1/2"))
    before = objects(location)
    with pytest.raises(IncompleteBuild) as caught:
        cz.finalize(location)
    built = {Path(key).stem for key in before if key.startswith("receipts/")}
    assert set(caught.value.missing) - {"torn"} == set(CASES) - built
    assert built
    assert objects(location) == before
    assert cz.open_store(location).is_partial


def test_an_update_in_parts_leaves_the_state_before_until_it_is_finalized(tree: Tree, tmp_path: Path) -> None:
    location = tmp_path / "s.zarr"
    cz.build_store(plan(tree, location))
    before = cz.open_store(location)
    tree.add("a", voxels(77), section=None)
    for part in ("2/2", "1/2"):
        cz.build_store(plan(tree, location, part))
        assert cz.open_store(location).digest == before.digest
    cz.finalize(location)
    assert cz.open_store(location).digest != before.digest
    assert cz.verify(location).is_whole
    assert cz.open_store(location)["a"].record.is_replaced


def test_finalize_removes_what_a_killed_part_has_left(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / "s.zarr"
    storage = open_storage(location)
    for part in ("1/2", "2/2"):
        cz.build_store(plan(tree, location, part))
    elsewhere = Identity(host="elsewhere", machine="another", process=1, began=1)
    seal = plan(tree, location).document.seal
    killed = Claim(writer=elsewhere, at=time.time(), plan=seal, purpose="a build", part="2/2")
    storage.put(f"builds/claim-{'0' * 16}.json", encode(killed))
    cz.finalize(location)
    # It may live for all that is known.
    assert builds(objects(location)) != expected
    monkeypatch.setattr("ctspine_zarr.manifest.signs.LEASE", 0)
    cz.finalize(location)
    assert builds(objects(location)) == expected


def test_a_whole_build_ends_the_parts_of_its_plan(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path
) -> None:
    location = tmp_path / "s.zarr"
    cz.build_store(plan(tree, location, "1/3"))
    cz.build_store(plan(tree, location))
    assert builds(objects(location)) == expected


def test_what_is_no_part_is_refused() -> None:
    for text in ("0/3", "4/3", "1/0", "a/b", "1", "", "1/2/3", "-1/3", "\uff11/2"):
        with pytest.raises(UnknownValue, match="legal: "):
            cz.Part.parse(text)


@pytest.mark.parametrize(
    ("ids", "array"),
    [
        (range(1, 8), {"MIN": 1, "STEP": 1, "COUNT": 7}),
        (range(0, 30, 10), {"MIN": 0, "STEP": 10, "COUNT": 3}),
    ],
)
def test_every_task_of_a_job_array_has_a_part_of_its_own(ids: range, array: dict[str, int]) -> None:
    environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in array.items()}
    found = [str(cz.Part.parse("slurm", environment | {"SLURM_ARRAY_TASK_ID": str(task)})) for task in ids]
    assert found == [f"{number}/{len(ids)}" for number in range(1, len(ids) + 1)]


def test_a_job_array_that_makes_no_parts_is_refused() -> None:
    with pytest.raises(UnknownValue, match=r"a task of a job array \(sbatch --array=1-100\)"):
        cz.Part.parse("slurm", {})
    uneven = {"ID": "9", "MIN": "1", "STEP": "1", "COUNT": "3"}
    with pytest.raises(UnknownValue, match="an array of even steps"):
        cz.Part.parse("slurm", {f"SLURM_ARRAY_TASK_{name}": value for name, value in uneven.items()})


@given(sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=40), count=st.integers(1, 50))
def test_parts_have_each_case_once_and_about_equal_bytes(sizes: list[int], count: int) -> None:
    document = a_document(sizes)
    parts = [ids_of(cz.Part(number, count), document) for number in range(1, count + 1)]
    assert sorted(itertools.chain(*parts)) == sorted(document.ids)
    size = {planned.case.id: planned.case.bytes for planned in document.cases}
    loads = [sum(size[case] for case in part) for part in parts]
    # As each goes to the least loaded, no load exceeds another by more than a case.
    assert max(loads) - min(loads) <= max(size.values())


def a_document(sizes: list[int]) -> PlanDocument:
    cases = [
        PlannedCase(SourceCase(f"c{n}", f"c{n}", "train", "MSD-T10", CaseFile(f"{n}", size), None), size)
        for n, size in enumerate(sizes)
    ]
    return new_document("a folder", "portable", (16, 64, 64), SPEC, cases=cases, refused=(), elsewhere=())


# -- the plan as a document


def test_a_plan_is_read_as_it_was_written(tree: Tree, tmp_path: Path) -> None:
    document = plan(tree, tmp_path / "s.zarr").document
    data = encode_plan(document)
    assert decode_plan(data) == document
    assert encode_plan(decode_plan(data)) == data
    assert set(document.ids) == {*CASES, "torn"}


def test_parts_go_by_the_plan_whatever_the_source_has_become(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path
) -> None:
    location, kept = tmp_path / "s.zarr", tmp_path / "plan.json"
    cz.build_store(plan(tree, location, "1/2", plan_file=kept))
    tree.add("later")
    with pytest.raises(cz.StoreInUse, match=r"seen a build of 10 cases .* part 1/2, by process \d+ on "):
        cz.build_store(plan(tree, location, "2/2"))
    cz.build_store(plan(tree, location, "2/2", plan_file=kept))
    cz.finalize(location)
    assert builds(objects(location)) == expected


def test_a_file_that_changed_since_the_plan_is_refused_by_name(tree: Tree, tmp_path: Path) -> None:
    planned = plan(tree, tmp_path / "s.zarr")
    tree.add("a", voxels(77), section=None)
    result = cz.build_store(planned)
    reasons = {refusal.case: refusal.reason for refusal in result.refused}
    assert reasons["a"] == "a.nii.gz: it has changed since the build was planned; legal: a new plan"
    assert "a" not in cz.open_store(tmp_path / "s.zarr")
    cz.build_store(plan(tree, tmp_path / "s.zarr"))
    assert cz.verify(tmp_path / "s.zarr").is_whole


def test_a_plan_file_that_is_none_is_refused(tree: Tree, tmp_path: Path) -> None:
    kept = tmp_path / "plan.json"
    location = tmp_path / "s.zarr"
    document = plan(tree, location, plan_file=kept).document
    data = kept.read_bytes()
    assert decode_plan(data) == document
    for altered in (b"", b"{}", data[:-9], data.replace(b'"portable"', b'"compact!"')):
        kept.write_bytes(altered)
        with pytest.raises(SourceError, match="legal: one that --plan wrote"):
            plan(tree, location, plan_file=kept)
    kept.write_bytes(encode_plan(another_version(document)))
    with pytest.raises(StoreMismatch, match=r"made with numpy 0\.1, here .*; legal: the same versions"):
        plan(tree, location, plan_file=kept)
    kept.write_bytes(data)
    for wish in ({"codec": "compact"}, {"selection": cz.Selection(cases="a")}, {"licence": "CC0"}):
        with pytest.raises(UnknownValue, match="for a plan that was made before; legal: what it says"):
            plan(tree, location, plan_file=kept, **wish)
    assert not location.exists()


def another_version(document: PlanDocument) -> PlanDocument:
    return structs.replace(document, libraries={**document.libraries, "numpy": "0.1"})


# -- whoever runs the cases


@dataclass
class Places:
    """Stores to build into, in turn on a disk and in a bucket."""

    folder: Path
    bucket: Bucket
    number: int = field(default=0)

    def both(self) -> list[tuple[Any, dict[str, Any]]]:
        self.number += 1
        return [
            (self.folder / f"{self.number}.zarr", {}),
            (self.bucket.new(), {"storage_options": self.bucket.options}),
        ]


@pytest.fixture
def places(tmp_path: Path, bucket: Bucket) -> Places:
    return Places(tmp_path, bucket)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_bytes_are_the_same_whoever_runs_the_cases(
    tree: Tree, expected: dict[str, bytes], places: Places
) -> None:
    ranks = Ranks()
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(2, get_context("forkserver")))
        runners: list[Any] = [ranks, pool, stack.enter_context(connected("local", 2))]
        for runner in runners:
            for location, options in places.both():
                result = cz.build_store(plan(tree, location, **options), executor=runner)
                assert [refusal.case for refusal in result.refused] == ["torn"]
                found = all_of(location, options=options.get("storage_options"))
                assert builds(found) == expected, runner
                assert cz.verify(location, executor=runner, **options).is_whole
    assert ranks.done == 2 * (len(CASES) + 1) + 2 * len(CASES)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_dask_worker_killed_amid_a_case_has_it_built_elsewhere(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "large")
    # Half a second each.
    for number, case in enumerate("abc"):
        tree.add(case, voxels(number, (256, 256, 100)), np.zeros((256, 256, 100), "uint8"))
    cz.build_store(plan(tree, tmp_path / "serial.zarr"))
    location, killed = tmp_path / "s.zarr", list[str]()
    with connected("local", 2) as client:
        workers: Any = client.cluster

        def kill(event: object) -> None:
            if isinstance(event, cz.CaseStarted) and not killed:
                while not (busy := [name for name, tasks in client.processing().items() if tasks]):
                    time.sleep(0.01)
                time.sleep(0.1)
                [worker] = [one for one in workers.workers.values() if one.worker_address == busy[0]]
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(event.case.id)

        result = cz.build_store(plan(tree, location), kill, executor=client)
    assert (len(killed), result.refused) == (1, ())
    assert builds(objects(location)) == builds(objects(tmp_path / "serial.zarr"))


def test_an_executor_that_breaks_ends_the_build_and_whole_cases_are_kept(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path
) -> None:
    location = tmp_path / "s.zarr"

    def stop(event: object) -> None:
        if isinstance(event, cz.CaseBuilt):
            for process in pool._processes.values():
                process.kill()

    pool = ProcessPoolExecutor(2, get_context("forkserver"))
    with pool, pytest.raises(NoWorkers, match="the executor broke"):
        cz.build_store(plan(tree, location), stop, executor=pool)
    assert cz.open_store(location).is_partial
    assert len(cz.open_store(location)) >= 1
    cz.build_store(plan(tree, location))
    assert builds(objects(location)) == expected


def test_what_cannot_be_shared_or_is_no_executor_is_refused(tree: Tree) -> None:
    with pytest.raises(UnknownValue, match="which other processes do not see; legal: none"):
        cz.build_store(plan(tree, MemoryStore()), executor=Ranks())
    with pytest.raises(UnknownValue, match="legal: one of concurrent.futures, or a Client of distributed"):
        cz.build_store(plan(tree, MemoryStore()), executor=print)  # type: ignore[arg-type]


# -- the command


def test_the_command_builds_parts_and_finalizes(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path
) -> None:
    location, kept = str(tmp_path / "s.zarr"), str(tmp_path / "plan.json")
    run = CliRunner().invoke
    assert run(cli, ["finalize", location]).exit_code == 1
    first = run(cli, ["build", str(tree.root), location, "--plan", kept, "--part", "1/2"])
    assert "part 1/2 is done: finalize" in first.output
    early = run(cli, ["finalize", location])
    assert (early.exit_code, "cases are not built yet" in early.output) == (1, True)
    run(cli, ["build", str(tree.root), location, "--plan", kept, "--part", "2/2"])
    done = run(cli, ["finalize", location])
    assert done.exit_code == 3
    assert "9 cases are whole, 1 refused" in done.output
    assert "refused torn: " in done.output
    assert builds(objects(tmp_path / "s.zarr")) == expected
    assert run(cli, ["build", str(tree.root), location, "--part", "slurm"]).exit_code == 2
    assert run(cli, ["build", str(tree.root), location, "--scheduler", "nowhere"]).exit_code == 2


SBATCH = """#!/usr/bin/env bash
# As SLURM's: the tasks of an array one after the other, in turned order, then what depends on it.
set -u
array= wrap=
while [ "$#" -gt 0 ]; do
    case $1 in
        --array=1-*) array=${1#--array=1-} ;;
        --wrap) wrap=$2; shift ;;
        *) echo "$1" >> "$NOTES" ;;
    esac
    shift
done
export SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_STEP=1 SLURM_ARRAY_TASK_COUNT=$array
for task in $(seq "${array:-1}" -1 1); do
    SLURM_ARRAY_TASK_ID=$task bash -c "$wrap" >> "$NOTES" 2>&1
done
echo "7;cluster"
"""


@pytest.mark.slow
def test_the_script_submits_parts_and_their_finalization(
    tree: Tree, expected: dict[str, bytes], tmp_path: Path
) -> None:
    sbatch, notes = tmp_path / "sbatch", tmp_path / "notes"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    location = tmp_path / "a place" / "s.zarr"
    location.parent.mkdir()
    environment = os.environ | {
        "SBATCH": str(sbatch),
        "NOTES": str(notes),
        "COMMAND": str(Path(sys.executable).with_name("ctspine-zarr")),
    }
    command = ["bash", str(SCRIPT), str(tree.root), str(location), "2", "--mem=8G"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    said = notes.read_text()
    assert said.count("--mem=8G") == 2
    assert "--dependency=afterany:7\n" in said
    assert said.index("part 2/2 is done") < said.index("part 1/2 is done")
    assert "9 cases are whole, 1 refused" in said
    assert builds(objects(location)) == expected
    assert json.loads((tmp_path / "s.zarr.plan.json").read_text())["codec"] == "portable"
