"""Fork safety: a forked process cannot use its parent's threads."""

from __future__ import annotations

import os

from ctspine_zarr.errors import StorageError


class _Threads:
    """Whether this process began obstore's threads, or was forked from one that had."""

    begun = False
    lost = False

    @classmethod
    def forked(cls) -> None:
        cls.lost = cls.lost or cls.begun


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Threads.forked)


def require_own_threads() -> None:
    """Do nothing where obstore has threads in this process, or can begin them; it will.

    Raises:
        StorageError: this process was forked from one that has used it: a request would hang.
    """
    if _Threads.lost:
        message = (
            "this process was forked from one that has read an object store, and reading would hang; "
            "legal: the start methods forkserver and spawn, as make_loader chooses"
        )
        raise StorageError(message)
    _Threads.begun = True
