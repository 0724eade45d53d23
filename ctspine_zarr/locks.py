"""Locks that a forked process finds free, whoever held them in its parent."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Self


class Lock:
    """A lock for as long as this process lives."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()


STRUCTURES: Final = Lock()
"""Held while msgspec learns the types of a structure: two threads at that at once end the process (0.22)."""
