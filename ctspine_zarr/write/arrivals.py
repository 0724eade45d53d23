"""Cases whose files have come to this machine, a few of them ahead of the encoders."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from ctspine_zarr.concurrency.background import Background
from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.sources.source import Fetched, Source
from ctspine_zarr.write.plan import PendingCase


@dataclass(frozen=True, slots=True)
class Arrival:
    """A case whose files are here, or the reason why they are not."""

    pending: PendingCase
    files: Fetched | None = None
    reason: str = ""


def arrivals(source: Source, cases: Iterable[PendingCase]) -> Iterator[Arrival]:
    """Each case in order, its files fetched; at most `source.ahead` more are here or on their way.

    Raises:
        HubError: the source cannot be reached.
    """
    if not source.ahead:
        yield from (fetched(source, case) for case in cases)
        return
    fetchers, left = Background(source.ahead), threading.Event()
    coming: deque[Future[Arrival]] = deque()
    try:
        for case in cases:
            coming.append(fetchers.submit(partial(_awaited, source, case, left)))
            if len(coming) > source.ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        left.set()
        for future in coming:
            future.cancel()
        fetchers.close()


def fetched(source: Source, case: PendingCase) -> Arrival:
    """A case's arrival.

    Raises:
        HubError: the source cannot be reached.
    """
    try:
        return Arrival(case, source.fetch(case.case))
    except CaseRefused as error:
        return Arrival(case, reason=str(error))


def _awaited(source: Source, case: PendingCase, left: threading.Event) -> Arrival:
    """The same; where nobody waits for it any more, its files go again."""
    arrival = fetched(source, case)
    if left.is_set() and arrival.files is not None:
        source.release(arrival.files)
    return arrival
