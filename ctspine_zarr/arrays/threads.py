"""The threads of one read: this one and helpers from a pool that no other process sees."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Final

from ctspine_zarr.concurrency.background import pool
from ctspine_zarr.concurrency.limits import usable_cores
from ctspine_zarr.errors import integer

_MOST_HELPERS: Final = 64


def require_threads(threads: int | None) -> None:
    """Do nothing where the number is legal.

    Raises:
        UnknownValue: it is not.
    """
    if threads is not None:
        integer("threads", threads, 1, ", or None")


def default_threads() -> int:
    """Every usable core; but 1 in a process that multiprocessing started.

    Such a process, as a DataLoader's worker, is one of many that share the cores already.
    """
    return usable_cores() if multiprocessing.parent_process() is None else 1


def share_out[T](work: Callable[[Iterator[T]], None], items: Sequence[T], threads: int) -> None:
    """Call `work` on the items, in this thread and in helpers: each on a share of neighbours, then
    on what is left at the far end of other shares.

    So this thread never waits for a helper to begin, nor for one that is held up; and threads
    write to parts of the result that lie apart, which reads a volume 7 % faster than turns do.

    Args:
        work: may raise; its exception is raised here, once no helper is at work any more.
        items: each is taken once; after an exception, some may not be taken at all.
        threads: how many at most, this one included.
    """
    edges = [len(items) * share // threads for share in range(threads + 1)]
    shares = [deque(items[start:stop]) for start, stop in itertools.pairwise(edges)]
    helpers: list[Future[None]] = []
    try:
        # Where no thread can begin, as at the interpreter's end, this one does everything.
        with contextlib.suppress(RuntimeError):
            for number in range(1, threads):
                taken = _taken(shares[number:] + shares[:number])
                helpers.append(pool("reading", _MOST_HELPERS).submit(functools.partial(work, taken)))
        work(_taken(shares))
    finally:
        for share in shares:
            share.clear()
        at_work = [helper for helper in helpers if not helper.cancel()]
        # Ctrl-C does not wait for a helper: what it reads may hang.
        if not isinstance(sys.exception(), KeyboardInterrupt):
            wait(at_work)
        ended = (helper.exception() for helper in at_work if helper.done())
        errors = [error for error in ended if error is not None]
        # An exception that is kept must not keep itself alive, by this frame and the helpers.
        helpers.clear()
        at_work.clear()
    if errors:
        raise errors.pop()


def _taken[T](shares: Sequence[deque[T]]) -> Iterator[T]:
    mine, *others = shares
    for take in (mine.popleft, *(other.pop for other in others)):
        with contextlib.suppress(IndexError):
            while True:
                yield take()
