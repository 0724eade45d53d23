"""The same store, whoever builds it: this process, processes, an executor, a Dask cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from items import Deadly
from stores import builds, objects
from trees import Tree, voxels

import ctspine_zarr as cz
from ctspine_zarr.concurrency.choice import runner_of
from ctspine_zarr.concurrency.cluster import connected
from ctspine_zarr.concurrency.runners import Finished

CASES = ("a", "b", "c", "d", "e")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "tree")
    for number, case in enumerate(CASES):
        tree.add(case, voxels(number))
    tree.add("torn", b"\x1f\x8b no gzip")
    return tree


@pytest.fixture
def expected(tree: Tree, tmp_path: Path) -> dict[str, bytes]:
    """What a build in this process writes."""
    cz.build_store(cz.plan_build(tree.root, tmp_path / "serial.zarr", workers=1))
    return builds(objects(tmp_path / "serial.zarr"))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connected("local", 2) as client:
        yield client


# -- items


def test_an_item_whose_worker_dies_is_tried_three_times_and_fails_alone(tmp_path: Path) -> None:
    task = Deadly(tmp_path)
    seen = [p for p in runner_of(2).run(task, range(8)) if isinstance(p, Finished)]
    assert {p.item: p.result for p in seen} == {i: None if i == 3 else i for i in range(8)}
    assert (task.tries(3), task.tries(5)) == (3, 2)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_item_whose_dask_worker_dies_is_tried_three_times_and_fails_alone(
    tmp_path: Path, client: Any
) -> None:
    task = Deadly(tmp_path)
    seen = [p for p in runner_of(1, client).run(task, range(8)) if isinstance(p, Finished)]
    assert {p.item: p.result for p in seen} == {i: None if i == 3 else i for i in range(8)}
    # Three times alone; and three times among the others, of which one may be the death of item 5, where it
    # only waited with the same worker.
    assert task.tries(3) in {5, 6}
    # Of what died once, the result may die with a worker as well, which then does it once more.
    assert task.tries(5) >= 2


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cluster_is_closed_once_a_worker_that_died_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    with connected("local", 1) as client:
        cluster: Any = client.cluster
        close = cluster.close

        def counted(*arguments: Any, **options: Any) -> Any:
            left.append(len(cluster.scheduler.workers))
            return close(*arguments, **options)

        monkeypatch.setattr(cluster, "close", counted)
        (worker,) = client.run(os.getpid).values()
        os.kill(worker, signal.SIGKILL)
        while client.nthreads():
            pass
    assert left[0] == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cluster_that_ctrl_c_ends_waits_for_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []

    def looked() -> dict[str, int]:
        looks.append(None)
        return {"a worker": 1}

    def interrupted() -> None:
        with connected("local", 1) as client:
            monkeypatch.setattr(client, "nthreads", looked)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert looks == []
