"""A local folder that keeps blocks of the objects read from elsewhere, up to a number of bytes.

Blocks are named after what they are of, the catalog's sha256 included: those of a store that was
built anew are others. Each holds its own digest: one that was cut or altered is fetched again.
Any number of processes may use one folder, at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, override

from ctspine_zarr.digest import sha256, xxh3
from ctspine_zarr.errors import UnknownValue, integer
from ctspine_zarr.storage.backend import Span
from ctspine_zarr.storage.handle import Storage
from ctspine_zarr.storage.keys import checked
from ctspine_zarr.storage.regular import read_regular

DEFAULT_BYTES: Final = 20_000_000_000

# A slab of 512 x 512 is a dozen of these; a patch's rows lie in one or two.
_BLOCK: Final = 1 << 18
# A process measures and trims the folder before its first block, and after each such part of the limit.
_SLACK: Final = 0.05
_ENDING: Final = ".ctspine_zarr"
_OURS: Final = re.compile(r"[0-9a-f]{64}\.ctspine_zarr(\.\d+-\d+\.partial)?")
_DIGEST_BYTES: Final = len(xxh3(b""))


class Blocks:
    """A folder of blocks on a local disk; a copy by pickle is the same folder.

    Args:
        folder: it is made where it does not exist.
        limit: bytes; each process that writes may pass it by a twentieth before it trims the folder.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._written = 0.0

    def __reduce__(self) -> tuple[type[Blocks], tuple[Path, int]]:
        return Blocks, (self.folder, self.limit)

    def get(self, name: str) -> bytes | None:
        """A block, now the one used last; None where it is not there whole."""
        path = self._path(name)
        try:
            data = read_regular(str(path), _DIGEST_BYTES + _BLOCK)
            os.utime(path)
        except (OSError, ValueError):
            return None
        kept = data[_DIGEST_BYTES:]
        return kept if data[:_DIGEST_BYTES] == xxh3(kept) else None

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep a block; a disk that is full or read-only keeps none, and is no error."""
        if not self._written:
            self._trim()
        path = self._path(name)
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(xxh3(data) + bytes(data))
            partial.replace(path)
        self._written += len(data)
        if self._written > self.limit * _SLACK:
            self._written = 0

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}{_ENDING}"

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
        # What else a user has there is neither counted nor touched.
        for path in (path for path in self.folder.glob("*/*") if _OURS.fullmatch(path.name)):
            # Another process may have removed it meanwhile.
            with contextlib.suppress(OSError):
                seen = path.lstat()
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
    _anew: dict[str, set[int]] = field(default_factory=dict, repr=False, compare=False)

    @override
    def distrust(self, key: str) -> None:
        self._anew[key] = set()

    @override
    def ranges(self, key: str, ranges: Iterable[Span]) -> Iterator[bytes | memoryview]:
        with self._naming("read", key):
            spans = [checked(span) for span in ranges]
        wanted = _wanted(spans)
        held: dict[int, bytes | memoryview] = {}
        for number, least in wanted.items():
            data = self._kept(key, number)
            # One that ends before what is wanted is of an object that was cut then.
            if data is not None and len(data) >= least:
                held[number] = data
        held |= self._fetched(key, [number for number in wanted if number not in held])
        for start, stop in spans:
            joined = b"".join(held[number] for number in _numbers(start, stop))
            first = start // _BLOCK * _BLOCK
            yield joined[start - first : stop - first]

    def _fetched(self, key: str, numbers: list[int]) -> dict[int, bytes | memoryview]:
        runs = list(_runs(numbers, self.merging.longest // _BLOCK))
        spans = [(run[0] * _BLOCK, (run[-1] + 1) * _BLOCK) for run in runs]
        found: dict[int, bytes | memoryview] = {}
        for run, data in zip(runs, super().ranges(key, spans), strict=True):
            view = memoryview(data)
            for place, number in enumerate(run):
                found[number] = view[place * _BLOCK : (place + 1) * _BLOCK]
                if found[number]:
                    self.blocks.put(self._name(key, number), found[number])
                if key in self._anew:
                    self._anew[key].add(number)
        return found

    def _kept(self, key: str, number: int) -> bytes | None:
        """A block from the folder, but of a distrusted object only one fetched since."""
        is_trusted = key not in self._anew or number in self._anew[key]
        return self.blocks.get(self._name(key, number)) if is_trusted else None

    def _name(self, key: str, number: int) -> str:
        return sha256(f"{self.location} {self.tag} {key} {number}".encode())


def cached(storage: Storage, folder: Path, limit: int, tag: str) -> Storage:
    """The same storage with a folder that keeps what is read of it; see `CachedStorage`.

    Raises:
        UnknownValue: a limit that is no number of bytes, or no folder.
    """
    try:
        place = None if str(folder) in {"", "."} or "\0" in str(folder) else folder.expanduser().absolute()
    # A home that nobody has, a working directory that is gone.
    except (RuntimeError, OSError):
        place = None
    if place is None:
        message = f"disk_cache {str(folder)!r}; legal: a folder that is named"
        raise UnknownValue(message)
    blocks = Blocks(place, integer("disk_cache_bytes", limit, 1))
    return CachedStorage(storage.backend, storage.location, blocks, tag)


def _wanted(spans: Iterable[Span]) -> dict[int, int]:
    """The blocks that spans touch, in order, and how many bytes of each at least."""
    wanted: dict[int, int] = {}
    for start, stop in spans:
        for number in _numbers(start, stop):
            wanted[number] = max(wanted.get(number, 0), min(stop - number * _BLOCK, _BLOCK))
    return dict(sorted(wanted.items()))


def _numbers(start: int, stop: int) -> range:
    return range(start // _BLOCK, -(-stop // _BLOCK))


def _runs(numbers: list[int], longest: int) -> Iterator[list[int]]:
    """Neighbours together, as far as `longest` of them."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        for part in itertools.batched((number for _, number in run), longest):
            yield list(part)
