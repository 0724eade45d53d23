from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from items import dies_at_three, slow, square

from ctspine_zarr.concurrency.choice import runner_of
from ctspine_zarr.concurrency.limits import usable_cores
from ctspine_zarr.concurrency.processes import Processes
from ctspine_zarr.concurrency.runners import Finished, Started
from ctspine_zarr.errors import NoWorkers


def results(progress: object) -> dict[int, int | None]:
    return {p.item: p.result for p in progress if isinstance(p, Finished)}  # type: ignore[attr-defined]


def is_worker(child: psutil.Process) -> bool:
    """Whether it is a worker process that runs; one of another test may end while it is looked at."""
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_item_is_done_once(workers: int) -> None:
    seen = list(runner_of(workers).run(square, range(7)))
    started = [p.item for p in seen if isinstance(p, Started)]
    assert sorted(started) == list(range(7))
    assert results(seen) == {item: item * item for item in range(7)}
    assert {p.worker for p in seen} <= set(range(workers))


def test_no_more_items_are_in_flight_than_workers() -> None:
    busy = most = 0
    for progress in Processes(2).run(slow, range(6)):
        busy += 1 if isinstance(progress, Started) else -1
        most = max(most, busy)
    assert most == 2


def test_a_worker_that_dies_costs_its_item_and_no_other() -> None:
    assert results(Processes(2).run(dies_at_three, range(8))) == {i: None if i == 3 else i for i in range(8)}


def test_a_pool_that_breaks_while_nobody_looks_loses_no_item() -> None:
    seen = []
    for progress in Processes(2).run(square, range(6)):
        seen.append(progress)
        if isinstance(progress, Finished) and progress.item == 1:
            for child in psutil.Process().children():
                if is_worker(child):
                    child.kill()
            time.sleep(0.5)
    assert results(seen) == {item: item * item for item in range(6)}


def test_leaving_early_ends_the_processes_and_no_other() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        before = set(psutil.Process().children())
        progress = Processes(2).run(slow, range(100))
        next(progress)
        progress.close()  # type: ignore[attr-defined]
        left = {child for child in psutil.Process().children() if is_worker(child)}
        assert left == set()
        assert other.poll() is None
        assert before <= set(psutil.Process().children())
        other.terminate()


UNGUARDED = "from ctspine_zarr.concurrency.processes import Processes; list(Processes(2).run(abs, [1, 2]))"
ORPHANS = """
import sys, time
from ctspine_zarr.concurrency.processes import Processes
if __name__ == "__main__":
    for progress in Processes(2).run(time.sleep, [60, 60]):
        print("started", flush=True)
"""


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{NoWorkers.__name__}: worker processes cannot start; in a script, call this below" in done.stderr


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.stdout.readline()
        # One that is just being started has no command line yet.
        while sum(map(is_worker, children := psutil.Process(parent.pid).children())) < 2:
            pass
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_usable_cores_are_counted() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
