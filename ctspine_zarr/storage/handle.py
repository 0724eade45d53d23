"""The objects of one store, wherever they lie, with errors that say what could not be done."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ctspine_zarr.concurrency.requests import all_at_once
from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage.backend import Backend, Merging, Span
from ctspine_zarr.storage.keys import MOST_BYTES, checked, require_key, require_prefix
from ctspine_zarr.text import without_password

if TYPE_CHECKING:
    from ctspine_zarr.hub.files import RemoteFile

# obstore appends the Rust error it stems from, over many lines.
_DETAILS: Final = "\n\nDebug source"


@dataclass(frozen=True)
class Storage:
    """The objects of one store. Pickles where another process can use it.

    A key is names with slashes between them. What is none, and so might be outside the store, is a
    StorageError of every operation.

    Attributes:
        backend: what gets and puts them.
        location: what a user would type to come here.
    """

    backend: Backend
    location: str

    def get(self, key: str, most: int | None = None) -> bytes | None:
        """An object; None where there is none.

        Args:
            key: of the object.
            most: bytes that it may have; None for 4 GiB. Of one that is longer, no more than that is
                brought to memory.

        Raises:
            StorageError: it is there, or may be, and cannot be read, or is longer.
        """
        with self._naming("read", key):
            return self.backend.get(key, MOST_BYTES if most is None else most)

    def get_each(self, keys: Sequence[str], most: int | None = None) -> list[bytes | None]:
        """Objects in the order of their keys, all asked for at once; None where there is none.

        Args:
            keys: of the objects.
            most: bytes that each may have; see `get`.

        Raises:
            StorageError: as `get`.
        """
        return all_at_once(lambda key: self.get(key, most), keys)

    def ranges(self, key: str, ranges: Iterable[Span]) -> Iterator[bytes | memoryview]:
        """The bytes from start to stop for each range, in order; fewer, or none, where the object ends.

        From a disk, a range is taken when its bytes are asked for; elsewhere all are, at once.

        No handle outlives the iteration and no lock is held: any thread may read, and so may a
        process forked at any time where the backend allows it.

        Raises:
            StorageError: the object is there, or may be, and cannot be read; or a range is none, or
                longer than 4 GiB.
        """
        with self._naming("read", key):
            yield from self.backend.ranges(key, map(checked, ranges))

    @contextmanager
    def file(self, key: str) -> Iterator[tuple[int, int] | None]:
        """The descriptor of an object's file, open for reading meanwhile, and its bytes.

        None where objects are no files, or this one is not there.

        Raises:
            StorageError: it is there, or may be, and cannot be read.
        """
        opened = None
        with self._naming("read", key), suppress(FileNotFoundError):
            opened = self.backend.opened(key)
        try:
            yield opened
        finally:
            if opened is not None:
                os.close(opened[0])

    def distrust(self, key: str) -> None:
        """Say that what was read of an object fails its checks: no copy of it is used any more."""

    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """Write an object whole; a reader sees all of it or none.

        Raises:
            StorageError: it could not be written.
        """
        with self._naming("write", key):
            self.backend.put(key, data)

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""
        with self._naming("measure", key):
            return self.backend.size(key)

    def sizes(self, prefix: str = "") -> Mapping[str, int]:
        """Key -> bytes of the objects below `prefix`, empty or ending with a slash; sorted, in few requests.

        Of a local folder, its regular files, without those that a killed process left half-written;
        `irregular` has all else.
        """
        with self._naming("list", prefix, require_prefix):
            return dict(sorted(self.backend.sizes(prefix).items()))

    def recorded(self) -> Mapping[str, RemoteFile]:
        """Key -> the digest that the place itself has recorded of every object, in few requests.

        The Hub records sha256 of large and of binary files, and git's id of others, as it took them in.
        Empty of all other places: a disk and a web server record none, and of a bucket none is told that
        could be compared.
        """
        with self._naming("list", "", require_prefix):
            return self.backend.recorded()

    def irregular(self) -> list[tuple[str, str]]:
        """What lies in a local folder and is no object: its place as a key, and what it is; sorted.

        Links, empty folders, half-written objects, FIFOs and the like, and files whose names are no
        keys. None of a store that lies elsewhere.
        """
        with self._naming("list", "", require_prefix):
            return sorted(self.backend.irregular())

    def remove(self, key: str) -> None:
        """Remove one object; no error where there is none."""
        with self._naming("remove", key):
            self.backend.remove(key)

    def remove_below(self, path: str, keys: Iterable[str]) -> None:
        """Remove a group's objects; no error where there is none.

        Args:
            path: of the group.
            keys: below it, of all that may be there, so that nothing has to be listed. A local
                folder goes with all that is in it.
        """
        with self._naming("remove", path):
            listed = list(keys)
            for key in listed:
                require_key(key)
            self.backend.remove_below(path, listed)

    def clean(self, folders: Collection[str]) -> None:
        """Remove half-written objects and empty folders, which killed writers and removals leave.

        Args:
            folders: at the top, such as `train`, in which empty ones go, they themselves included.
                Half-written objects go there and at the top itself.
        """
        with self._naming("clean", "", require_prefix):
            self.backend.clean(folders)

    def free_bytes(self) -> int | None:
        """Bytes free where the store lies; None where nobody can say."""
        with self._naming("measure", "", require_prefix):
            return self.backend.free_bytes()

    @property
    def merging(self) -> Merging:
        """What `ranges` reads fastest."""
        return self.backend.merging

    @property
    def path(self) -> Path | None:
        """The local folder; None where it is not one."""
        return self.backend.path

    @property
    def is_shared(self) -> bool:
        """Whether another process that gets this handle sees the same objects."""
        return self.backend.is_shared

    @property
    def is_listable(self) -> bool:
        """Whether `sizes` can tell what is there; a web server cannot."""
        return self.backend.is_listable

    @property
    def is_fork_safe(self) -> bool:
        """Whether a process forked from one that has read can read too; else it gets an error."""
        return self.backend.is_fork_safe

    @contextmanager
    def _naming(
        self, action: str, key: str, require: Callable[[object], None] = require_key
    ) -> Iterator[None]:
        """Have a key checked, and what is raised meanwhile say what was to be done to it."""
        try:
            require(key)
            yield
        except StorageError:
            raise
        except NotImplementedError as error:
            message = f"cannot {action} {key!r} in {self.location}: it has no such operation"
            raise StorageError(message) from error
        # What a store object raises is its own affair: BadZipFile is no OSError.
        except Exception as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            advice = self.backend.advice(error)
            message = f"cannot {action} {key!r} in {self.location}: {_line(said)}{advice}"
            raise StorageError(message) from error


def _line(said: object) -> str:
    return without_password(" ".join(str(said).partition(_DETAILS)[0].split()))
