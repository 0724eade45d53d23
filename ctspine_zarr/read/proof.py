"""Documents and objects of a case, proven as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from ctspine_zarr.arrays.reading import Reading
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import DamagedStore, Malformed, OtherFormat
from ctspine_zarr.format.layout import case_in
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES, StoredObject
from ctspine_zarr.storage import Storage

_PART_BYTES: Final = 1 << 26


def proven[T](
    storage: Storage, reading: Reading, key: str, digest: str, parse: Callable[[bytes | None], T]
) -> T:
    """A document of a case; one read.

    Args:
        storage: of the store.
        reading: by which a store that was updated meanwhile is told.
        key: of the document.
        digest: its sha256, as the catalog has it.
        parse: raises Malformed or OtherFormat.

    Raises:
        DamagedStore: it is missing or altered.
        StoreUpdated: it is, since the store was updated.
    """
    data = storage.get(key, most=MOST_DOCUMENT_BYTES)
    try:
        _require_digest(data, digest)
        return parse(data)
    except (Malformed, OtherFormat) as error:
        reading.require_current(storage.location)
        message = f"{storage.location}, case {case_in(key)}: {key} is damaged ({error}); run verify"
        raise DamagedStore(message) from error


def require_object(storage: Storage, key: str, written: StoredObject) -> None:
    """Do nothing where an object is what was written; it is read in parts of 64 MiB.

    Args:
        storage: of the store.
        key: of the object.
        written: what its receipt says of it.

    Raises:
        Malformed: it is missing, or is not what was written.
    """
    for _ in _proven_parts(storage, key, written):
        pass


def proven_object(storage: Storage, key: str, written: StoredObject) -> bytes | memoryview:
    """The bytes of an object, all of them in memory; one read for each 64 MiB.

    Args and raises: as `require_object`.
    """
    first, *others = _proven_parts(storage, key, written)
    return b"".join((first, *others)) if others else first


def require_size(seen: int | None, written: StoredObject) -> None:
    """Do nothing where an object has as many bytes as were written.

    Args:
        seen: bytes that it has; None where there is none.
        written: what its receipt says of it.

    Raises:
        Malformed: it has not.
    """
    if seen != written.bytes:
        message = "is missing" if seen is None else f"has {seen} bytes, {written.bytes} were written"
        raise Malformed(message)


def require_bytes(data: bytes | None, written: StoredObject) -> None:
    """Do nothing where the bytes of an object are what was written.

    Raises:
        Malformed: they are not.
    """
    require_size(None if data is None else len(data), written)
    _require_written(sha256(data or b""), written)


def _require_written(digest: str, written: StoredObject) -> None:
    if digest != written.sha256:
        message = "was altered: its sha256 is not that in its receipt"
        raise Malformed(message)


def _proven_parts(storage: Storage, key: str, written: StoredObject) -> Iterator[bytes | memoryview]:
    """The parts of an object, in order; what they are together is known when the last was taken."""
    size, digest = 0, hashlib.sha256()
    for part in _parts(storage, key, written.bytes + 1):
        size += len(part)
        digest.update(part)
        yield part
    if size != written.bytes:
        require_size(storage.size(key), written)
    _require_written(digest.hexdigest(), written)


def _parts(storage: Storage, key: str, most: int) -> Iterator[bytes | memoryview]:
    """Up to so many bytes of an object: each part is asked for when the one before was taken."""
    for start in range(0, most, _PART_BYTES):
        stop = min(start + _PART_BYTES, most)
        [part] = storage.ranges(key, [(start, stop)])
        yield part
        if len(part) < stop - start:
            return


def _require_digest(data: bytes | None, digest: str) -> None:
    if data is not None and sha256(data) != digest:
        message = "its sha256 is not that in the catalog"
        raise Malformed(message)
