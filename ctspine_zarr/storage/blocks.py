"""A local folder that keeps blocks of the objects read from elsewhere, up to a number of bytes.

Blocks are named after what they are of, the catalog's sha256 included: those of a store that was
built anew are others. Each holds its own checksum: one that was cut or altered is fetched again.
Any number of processes may use one folder, at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, override

from ctspine_zarr.digest import checksum, sha256
from ctspine_zarr.errors import integer
from ctspine_zarr.storage.backend import Span
from ctspine_zarr.storage.handle import Storage

DEFAULT_BYTES: Final = 20_000_000_000

# A slab of 512 x 512 is a dozen of these; a patch's rows lie in one or two.
_BLOCK: Final = 1 << 18
# After this part of the limit was written, the folder is measured and trimmed.
_SLACK: Final = 0.05


@dataclass(frozen=True)
class Blocks:
    """The folder.

    Attributes:
        folder: it is made where it does not exist.
        limit: bytes; each process may pass it by a twentieth before it trims the folder.
    """

    folder: Path
    limit: int
    _written: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)

    def get(self, name: str) -> bytes | None:
        """A block, now the one used last; None where it is not there whole."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        size = len(checksum(b""))
        return data[size:] if data[:size] == checksum(data[size:]) else None

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep a block; a disk that is full or read-only keeps none, and is no error."""
        path = self._path(name)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(checksum(data) + bytes(data))
            partial.replace(path)
        self._written[0] += len(data)
        if self._written[0] > self.limit * _SLACK:
            self._written[0] = 0
            self._trim()

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _trim(self) -> None:
        """Remove what was used least recently until the limit holds."""
        found = sorted(self._files())
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.glob("*/*"):
            # Another process may have removed it meanwhile.
            with contextlib.suppress(OSError):
                seen = path.stat()
                yield seen.st_mtime, seen.st_size, path


@dataclass(frozen=True)
class CachedStorage(Storage):
    """A storage whose ranges are kept in blocks.

    Attributes:
        blocks: where.
        tag: tells this store's objects from those that were or will be at its location.
    """

    blocks: Blocks
    tag: str

    @override
    def ranges(self, key: str, ranges: Iterable[Span]) -> Iterator[bytes | memoryview]:
        spans = list(ranges)
        wanted = sorted({number for start, stop in spans for number in _numbers(start, stop)})
        held: dict[int, bytes | memoryview] = {}
        for number in wanted:
            if (data := self.blocks.get(self._name(key, number))) is not None:
                held[number] = data
        held |= self._fetched(key, [number for number in wanted if number not in held])
        for start, stop in spans:
            joined = b"".join(held[number] for number in _numbers(start, stop))
            first = start // _BLOCK * _BLOCK
            yield joined[start - first : stop - first]

    def _fetched(self, key: str, numbers: list[int]) -> dict[int, bytes | memoryview]:
        runs = list(_runs(numbers))
        spans = [(run[0] * _BLOCK, (run[-1] + 1) * _BLOCK) for run in runs]
        found: dict[int, bytes | memoryview] = {}
        for run, data in zip(runs, super().ranges(key, spans), strict=True):
            view = memoryview(data)
            for place, number in enumerate(run):
                found[number] = view[place * _BLOCK : (place + 1) * _BLOCK]
                self.blocks.put(self._name(key, number), found[number])
        return found

    def _name(self, key: str, number: int) -> str:
        return sha256(f"{self.location} {self.tag} {key} {number}".encode())


def cached(storage: Storage, folder: Path, limit: int, tag: str) -> Storage:
    """The same storage with a folder that keeps what is read of it; see `CachedStorage`.

    Raises:
        UnknownValue: a limit that is no number of bytes.
    """
    blocks = Blocks(folder.expanduser().absolute(), integer("disk_cache_bytes", limit, 1))
    return CachedStorage(storage.backend, storage.location, blocks, tag)


def _numbers(start: int, stop: int) -> range:
    return range(start // _BLOCK, -(-stop // _BLOCK))


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """Neighbours together."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in run]
