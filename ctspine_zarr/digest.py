"""sha256 beside other work: hashing costs as much as inflating, and both free the GIL."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Buffer
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

_MOST_PENDING: Final = 4


class BackgroundSha256:
    """A sha256 that is fed in order from one thread of its own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def update(self, data: Buffer) -> None:
        """Hash `data` soon; it must not change until `hexdigest`.

        A few are kept waiting, no more: a slow hash slows its feeder, not fills the memory.
        """
        self._pending.append(self._thread.submit(self._hash.update, data))
        if len(self._pending) > _MOST_PENDING:
            self._pending.popleft().result()

    def hexdigest(self) -> str:
        """The digest of everything given; no more can be."""
        while self._pending:
            self._pending.popleft().result()
        self._thread.shutdown()
        return self._hash.hexdigest()


def sha256(data: Buffer) -> str:
    """The digest of bytes at hand."""
    return hashlib.sha256(data).hexdigest()
