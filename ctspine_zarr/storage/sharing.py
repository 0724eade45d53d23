"""Who sees the objects of a store: the processes that work on it must."""

from __future__ import annotations

from ctspine_zarr.concurrency.runners import Runner
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.storage.handle import Storage


def require_shared(storage: Storage, runner: Runner) -> None:
    """Do nothing where whoever runs the cases sees the same objects.

    Raises:
        UnknownValue: it does not.
    """
    if not (runner.is_alone or storage.is_shared):
        message = (
            f"an executor or several workers for {storage.location}, which other processes do not see; "
            "legal: none"
        )
        raise UnknownValue(message)
