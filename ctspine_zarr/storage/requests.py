"""Requests that are under way together, in threads that no other process sees."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

_MOST_AT_ONCE: Final = 64


def all_at_once[Asked, Answer](ask: Callable[[Asked], Answer], items: Sequence[Asked]) -> list[Answer]:
    """What `ask` says of each item, in order; at most 64 are under way in a process.

    The threads ask, this one waits: Ctrl-C is heeded while a request hangs.

    Args:
        ask: must not call this function itself.
        items: what to ask for.
    """
    asked: list[Future[Answer]] = []
    try:
        asked.extend(_threads(os.getpid()).submit(ask, item) for item in items)
        return [future.result() for future in asked]
    finally:
        for future in asked:
            future.cancel()


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - the key
    """A process's own: a forked child has none of its parent's threads, only their names."""
    return ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="ctspine_zarr-requests")
