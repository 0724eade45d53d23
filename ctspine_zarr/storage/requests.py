"""Requests that are under way together, in threads that no other process sees, and until a deadline."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

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
        asked.extend(_threads(os.getpid()).submit(partial(ask, item)) for item in items)
        return [one.result() for one in asked]
    finally:
        while asked:
            asked.pop().cancel()


type Ask[Answer] = Callable[[asyncio.Timeout], Coroutine[Any, Any, Answer]]


def within[Answer](seconds: float, asks: Sequence[Ask[Answer]]) -> list[Answer]:
    """What coroutines give, all at once and in order; at most 64 are under way in a process.

    One that has not ended so many seconds after its begin is cancelled, and so are all when one
    fails. Any thread may wait; Ctrl-C is heeded meanwhile, and cancels them too.

    Args:
        seconds: until each deadline.
        asks: each is told its deadline, which it may put off, and makes a coroutine.

    Raises:
        TimeoutError: a deadline passed.
    """
    loop, gate = _loop(os.getpid())
    future = asyncio.run_coroutine_threadsafe(_all(seconds, asks, gate), loop)
    try:
        return future.result()
    finally:
        future.cancel()


async def _all[Answer](seconds: float, asks: Sequence[Ask[Answer]], gate: asyncio.Semaphore) -> list[Answer]:
    tasks = [asyncio.ensure_future(_in_time(seconds, ask, gate)) for ask in asks]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _in_time[Answer](seconds: float, ask: Ask[Answer], gate: asyncio.Semaphore) -> Answer:
    async with gate:
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await ask(deadline)
        except TimeoutError as error:
            message = f"given up, for it did not end within {seconds:g} s"
            raise TimeoutError(message) from error


# Threads are of one process: a forked child has none of its parent's.
@functools.cache
def _threads(process: int) -> Background:  # noqa: ARG001 - the key
    return Background(_MOST_AT_ONCE)


@functools.cache
def _loop(process: int) -> tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]:  # noqa: ARG001 - the key
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="ctspine_zarr requests").start()
    return loop, asyncio.Semaphore(_MOST_AT_ONCE)
