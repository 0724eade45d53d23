"""sha256 beside other work: hashing costs as much as inflating, and both free the GIL."""

from __future__ import annotations

import hashlib
from collections.abc import Buffer
from concurrent.futures import ThreadPoolExecutor


class BackgroundSha256:
    """A sha256 that is fed in order from one thread of its own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)

    def update(self, data: Buffer) -> None:
        """Hash `data` soon; it must not change until `hexdigest`."""
        self._thread.submit(self._hash.update, data)

    def hexdigest(self) -> str:
        """The digest of everything given; no more can be."""
        self._thread.shutdown()
        return self._hash.hexdigest()


def sha256(data: Buffer) -> str:
    """The digest of bytes at hand."""
    return hashlib.sha256(data).hexdigest()
