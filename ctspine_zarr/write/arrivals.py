"""Cases whose files have come to this machine, a few of them ahead of the encoders."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from ctspine_zarr.errors import CaseRefused
from ctspine_zarr.source.cases import Fetched, Source, SourceCase


@dataclass(frozen=True, slots=True)
class Arrival:
    """A case whose files are here, or the reason why they are not."""

    case: SourceCase
    files: Fetched | None = None
    reason: str = ""


def arrivals(source: Source, cases: Iterable[SourceCase]) -> Iterator[Arrival]:
    """Each case in order, its files fetched; at most `source.ahead` more are here or on their way.

    Raises:
        HubError: the source cannot be reached.
    """
    coming: deque[Future[Arrival]] = deque()
    for case in cases:
        coming.append(_begun(source, case))
        if len(coming) > source.ahead:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _begun(source: Source, case: SourceCase) -> Future[Arrival]:
    future: Future[Arrival] = Future()
    if source.ahead:
        # Not of a pool's, which the interpreter's end would wait for: Ctrl-C ends a download too.
        threading.Thread(target=_fetch, args=(source, case, future), daemon=True).start()
    else:
        _fetch(source, case, future)
    return future


def _fetch(source: Source, case: SourceCase, future: Future[Arrival]) -> None:
    try:
        future.set_result(Arrival(case, source.fetch(case)))
    except CaseRefused as error:
        future.set_result(Arrival(case, reason=str(error)))
    except BaseException as error:  # noqa: BLE001 - it is raised where the case is taken
        future.set_exception(error)
