"""Digests: sha256 of files and objects, which others can check; xxh3 of voxels, for its speed.

sha256 costs as much as inflating and frees the GIL, so it runs beside other work.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Buffer
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import xxhash
from numpy.typing import NDArray

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


class VoxelDigest:
    """xxh3-128 of voxels as they are read, at a tenth of sha256's cost: it shows accidents, not forgery."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def update(self, voxels: NDArray[Any]) -> None:
        """Take in C-contiguous voxels, in order of z."""
        self._hash.update(voxels.data)

    def hexdigest(self) -> str:
        """32 hex digits."""
        return self._hash.hexdigest()


def file_sha256(path: Path) -> str:
    """The digest of a file, read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


def xxh3(data: Buffer) -> bytes:
    """16 bytes that tell altered data from what it was, at the speed of memory."""
    return xxhash.xxh3_128(data).digest()


def sha256(data: Buffer) -> str:
    """The digest of bytes at hand."""
    return hashlib.sha256(data).hexdigest()
