"""Clusters of Dask, this machine as one included. The only module that knows distributed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from ctspine_zarr.concurrency.runners import TRIES, OnExecutor, Runner
from ctspine_zarr.errors import MissingDependency, NoWorkers, UnknownValue

if TYPE_CHECKING:
    from distributed import Client

HERE: Final = "local"
"""The scheduler of a cluster that is made on this machine, and ends with the run."""

_SCHEMES: Final = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
_LEGAL: Final = f"legal: {HERE}, or tcp://HOST:PORT of a Dask scheduler"
# Seconds for a scheduler to answer, and for workers to come back; and between two looks whether they have.
_PATIENCE: Final = 30
_LOOK: Final = 0.05
_FAILURES: Final = "distributed.scheduler.allowed-failures"


def is_client(executor: object) -> TypeGuard[Client]:
    """Whether an object is a client of a Dask cluster."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(executor, distributed.Client)


def on_cluster(client: Client) -> Runner:
    """The runner of a cluster: an item for each thread of its workers at once.

    An item whose worker dies is tried on another one, as often as the scheduler's own setting
    `distributed.scheduler.allowed-failures` says: 3 times by default. The scheduler blames whatever a
    worker had, also what only waited there; so an item is given up only where its workers died as often
    once more, with no other item under way.
    """
    from distributed import KilledWorker

    executor: Executor = client.get_executor(pure=False)
    return OnExecutor(executor, lambda: sum(client.nthreads().values()), (KilledWorker,))


@contextmanager
def connected(scheduler: str, workers: int) -> Iterator[Client]:
    """A client of the cluster that a scheduler's address names.

    Args:
        scheduler: `local`, or tcp://HOST:PORT.
        workers: processes of a local cluster, of a thread each.

    Raises:
        UnknownValue: it is no address.
        MissingDependency: distributed is not installed.
        NoWorkers: no scheduler answers there.
    """
    if scheduler != HERE and not scheduler.startswith(_SCHEMES):
        message = f"scheduler {scheduler!r}; {_LEGAL}"
        raise UnknownValue(message)
    opened = _here(workers) if scheduler == HERE else _there(scheduler)
    with opened as client:
        yield client


@contextmanager
def _here(workers: int) -> Iterator[Client]:
    distributed = _library()
    import dask

    # What a case takes is planned for: nothing else ends a worker for its memory.
    with (
        dask.config.set({_FAILURES: TRIES - 1}),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
        # A cluster fails to close while a worker that died as it had just started is started again: its
        # nanny takes the new process for the old one. What was built would be called failed. Of one that
        # Ctrl-C ended, which reaches workers as well, nobody comes back.
        _wait_for(client, workers)


def _wait_for(client: Client, workers: int) -> None:
    """Return once a cluster has so many workers, or none has come back for long.

    The client's own wait has its cluster forget a worker whose end it is still to be told of: it fails then.
    """
    given_up = time.monotonic() + _PATIENCE
    while len(client.nthreads()) < workers and time.monotonic() < given_up:
        time.sleep(_LOOK)


@contextmanager
def _there(scheduler: str) -> Iterator[Client]:
    distributed = _library()
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        message = f"no Dask scheduler answers at {scheduler} ({error}); {_LEGAL}"
        raise NoWorkers(message) from error
    with client:
        yield client


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        message = "a Dask cluster needs distributed: pip install 'ctspine-zarr[dask]'"
        raise MissingDependency(message) from error
    return distributed
