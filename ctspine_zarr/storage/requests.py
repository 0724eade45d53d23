"""Requests that are under way together, in threads that no other process sees."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from ctspine_zarr.background import Background

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
        asked.extend(_threads().submit(partial(ask, item)) for item in items)
        return [one.result() for one in asked]
    finally:
        while asked:
            asked.pop().cancel()


def interruptibly[Answer](ask: Callable[[], Answer]) -> Answer:
    """What `ask` says; in the main thread Ctrl-C is heeded meanwhile, which it is not within obstore."""
    if threading.current_thread() is not threading.main_thread():
        return ask()
    return all_at_once(lambda _: ask(), [None])[0]


class _Own:
    """The threads of this process: a forked child has none of its parent's."""

    process = 0
    threads = Background(_MOST_AT_ONCE)


def _threads() -> Background:
    if _Own.process != os.getpid():
        _Own.threads, _Own.process = Background(_MOST_AT_ONCE), os.getpid()
    return _Own.threads
