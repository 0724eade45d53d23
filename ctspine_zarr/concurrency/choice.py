"""The runner that a user asks for."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING

from ctspine_zarr.concurrency.cluster import is_client, on_cluster
from ctspine_zarr.concurrency.processes import Processes
from ctspine_zarr.concurrency.runners import OnExecutor, Runner, Serial
from ctspine_zarr.errors import UnknownValue, integer

if TYPE_CHECKING:
    from distributed import Client

type AnyExecutor = Executor | Client
"""What users have that runs tasks: any executor of `concurrent.futures`, or a client of a Dask cluster."""

# Where executors say how many they run at once: of mpi4py, and of the standard library and loky.
_COUNTS = ("num_workers", "_max_workers")


def runner_of(workers: int, executor: AnyExecutor | None = None) -> Runner:
    """The runner of an executor; else this process, or so many processes of its own.

    Args:
        workers: at least 1; of an executor that does not say how many items it has under way at once,
            as many.
        executor: any of `concurrent.futures`, or a client of a Dask cluster.

    Raises:
        UnknownValue: it is something else, or there are fewer workers than 1.
    """
    count = integer("workers", workers, 1)
    if executor is None:
        return Serial() if count == 1 else Processes(count)
    if is_client(executor):
        return on_cluster(executor)
    if not isinstance(executor, Executor):
        message = f"executor {executor!r}; legal: one of concurrent.futures, or a Client of distributed"
        raise UnknownValue(message)
    counts = (getattr(executor, name, None) for name in _COUNTS)
    said = next((said for said in counts if isinstance(said, int)), count)
    return OnExecutor(executor, lambda: said)
