"""A folder that a dataset's own files are brought to: one process at a time, each file whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from ctspine_zarr.concurrency.identity import Identity
from ctspine_zarr.datasets.raw import DOCUMENT, WORKPLACE, RawFile, TreeDocument
from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import CtspineError, StorageError
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.names import printable
from ctspine_zarr.hub.files import git_hash
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.sources.folder import read_tree
from ctspine_zarr.text import file_kind

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        # A byte that is locked cannot be read: one that is not there.
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        # It ends with the process, however that ends.
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


_BLOCK: Final = 1 << 20
_MOST_HOLDER: Final = 300
_BEYOND: Final = 1 << 30
_LOCK: Final = "lock"
# Times that another process may end between a look at its lock and taking it.
_TRIES: Final = 8


class Stopped(CtspineError):
    """What is under way is not wanted any more."""


@dataclass(frozen=True)
class Tree:
    """A folder with files of a dataset's repository.

    Attributes:
        root: the folder.
        lock: the open file that keeps other processes out.
    """

    root: Path
    lock: BinaryIO = field(repr=False)

    @property
    def workplace(self) -> Path:
        """The folder for what is not whole yet."""
        return self.root / WORKPLACE

    def document(self) -> TreeDocument | None:
        """What the tree says of itself; None where it says nothing.

        Raises:
            SourceError: it cannot be read, or is no such document.
        """
        return read_tree(self.root)

    def write_document(self, document: TreeDocument) -> None:
        """Have the tree say something else of itself.

        Raises:
            StorageError: it cannot be written.
        """
        with whole_file(self.root / DOCUMENT) as file:
            file.write(encode(document) + b"\n")

    def has_size(self, path: str, size: int) -> bool:
        """Whether a regular file of that size is there."""
        with suppress(OSError):
            seen = (self.root / path).lstat()
            return stat.S_ISREG(seen.st_mode) and seen.st_size == size
        return False

    def digest_of(self, file: RawFile) -> str | None:
        """The sha256 of a file that is there as the Hub records it; None where it is not.

        Raises:
            StorageError: it cannot be read, or something else has its name, or that of a folder of it.
        """
        self._require_place(file.path)
        if not self.has_size(file.path, file.size):
            return None
        digests = Digests(file)
        path = self.root / file.path
        with _naming("read", path), path.open("rb") as found:
            digests.take_all(found)
        return digests.proven()

    def make_place(self, file: RawFile) -> None:
        """Make the folder of a file.

        Raises:
            StorageError: it cannot be made.
        """
        folder = (self.root / file.path).parent
        with _naming("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._require_place(file.path)

    def partial_path(self, file: RawFile) -> Path:
        """Where a file lies until it is whole: a name of this very content."""
        record = f"{file.path} {file.size} {file.sha256} {file.blob}"
        return self.workplace / f"{sha256(record.encode('utf-8', 'replace'))[:32]}.partial"

    def clean(self) -> None:
        """Remove what is half-written, when nothing is under way."""
        for path in self.workplace.glob("*.partial"):
            with suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Let other processes have it."""
        # Where it cannot be removed, as while it is open on Windows, it harms nobody.
        with suppress(OSError):
            (self.workplace / _LOCK).unlink()
        with suppress(OSError):
            self.workplace.rmdir()
        self.lock.close()

    def _require_place(self, path: str) -> None:
        """Do nothing where a file can have a path, whose folders are none that a link leads out of."""
        below = self.root
        *folders, name = path.split("/")
        for folder in folders:
            below /= folder
            with suppress(FileNotFoundError):
                mode = below.lstat().st_mode
                if not stat.S_ISDIR(mode):
                    message = f"{below} is {file_kind(mode)}; legal: a folder of the tree itself"
                    raise StorageError(message)
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = (below / name).lstat().st_mode
            if not stat.S_ISREG(mode):
                message = f"{below / name} is {file_kind(mode)}; legal: a file, or a name that nothing has"
                raise StorageError(message)


class Digests:
    """The digests of a file by which the Hub records it, fed in order.

    Args:
        file: as the Hub records it.
    """

    def __init__(self, file: RawFile) -> None:
        self._file = file
        self.size = 0
        self._sha256 = hashlib.sha256()
        # Of what git holds itself its id is the Hub's only record.
        self._blob = git_hash(file.size)

    def take(self, part: bytes | memoryview) -> None:
        """Take in some bytes."""
        self.size += len(part)
        self._sha256.update(part)
        if self._file.sha256 is None:
            self._blob.update(part)

    def take_all(self, file: BinaryIO) -> None:
        """Take in what a file has from here on."""
        while part := file.read(_BLOCK):
            self.take(part)

    def proven(self) -> str | None:
        """The sha256 where it is the file that the Hub records; else None."""
        file, digest = self._file, self._sha256.hexdigest()
        is_it = digest == file.sha256 if file.sha256 else self._blob.hexdigest() == file.blob
        return digest if is_it and self.size == file.size else None


class Partial:
    """A file that is not whole yet, gone on with where an earlier run left it.

    Args:
        tree: where it will be.
        file: as the Hub records it.
        stop: once it is set, nothing more is taken.

    Raises:
        StorageError: it cannot be written; the same of every method.
    """

    def __init__(self, tree: Tree, file: RawFile, stop: Event) -> None:
        self._file, self._stop = file, stop
        self._target, self._path = tree.root / file.path, tree.partial_path(file)
        self._digests = Digests(file)
        with self._naming():
            self._open = _opened(self._path)
            self._digests.take_all(self._open)
        if self.size > file.size:
            self.begin_anew()

    @property
    def size(self) -> int:
        """Bytes that it has."""
        return self._digests.size

    def take(self, part: bytes | memoryview) -> None:
        """Add some bytes.

        Raises:
            Stopped: they are not wanted any more.
        """
        self.require_wanted()
        with self._naming():
            self._open.write(part)
        self._digests.take(part)

    def require_wanted(self) -> None:
        """Do nothing where it is still wanted.

        Raises:
            Stopped: it is not.
        """
        if self._stop.is_set():
            raise Stopped

    def begin_anew(self) -> None:
        """Forget what it has."""
        with self._naming():
            self._open.seek(0)
            self._open.truncate()
        self._digests = Digests(self._file)

    def finish(self) -> str | None:
        """The sha256 of the file, which now has its name; None where it is not what the Hub records."""
        digest = self._digests.proven()
        if digest is None:
            return None
        with self._naming():
            self._open.flush()
            # Else a power cut could leave a file of its name and size, and other bytes.
            os.fsync(self._open.fileno())
            self._open.close()
            self._path.replace(self._target)
        return digest

    def discard(self) -> None:
        """Have nothing of it left."""
        self.close()
        with self._naming():
            self._path.unlink()

    def close(self) -> None:
        """Leave it as it is."""
        # What a full disk does not take is told of already.
        with suppress(OSError):
            self._open.close()

    def _naming(self) -> AbstractContextManager[None]:
        return _naming("write", self._target)


def open_tree(root: Path) -> Tree:
    """A folder, made where it is not there yet, for this process alone until it is closed.

    Raises:
        StorageError: another process has it, or it cannot be written.
    """
    place = root / WORKPLACE / _LOCK
    for _ in range(_TRIES):
        with _naming("write", place):
            lock = _opened_lock(place)
        if lock is None:
            continue
        try:
            if _is_locked(lock, place):
                return Tree(root, lock)
        except BaseException:
            lock.close()
            raise
        lock.close()
    message = f"{root} is downloaded to by others, one after another; run it again"
    raise StorageError(message)


def _is_locked(lock: BinaryIO, place: Path) -> bool:
    """Whether a file is locked now, and still the one that others will find in its place."""
    try:
        with _naming("lock", place):
            _lock(lock)
    except StorageError as error:
        if not isinstance(error.__cause__, BlockingIOError | PermissionError):
            raise
        lock.seek(0)
        holder = printable(lock.read(_MOST_HOLDER).decode("utf-8", "replace")) or "another process"
        message = f"{place.parent.parent}: {holder} downloads to it; legal: one at a time"
        raise StorageError(message) from error
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock.fileno()), place.stat()):
            lock.truncate(0)
            lock.write(str(Identity.own()).encode())
            lock.flush()
            return True
    return False


def _opened(path: Path) -> BinaryIO:
    """A half-written file, to read and to add to; made where it is not there."""
    with suppress(FileNotFoundError):
        if stat.S_ISREG(path.lstat().st_mode):
            return path.open("r+b")
        path.unlink()
    return path.open("x+b")


def _opened_lock(place: Path) -> BinaryIO | None:
    """The file of a lock; None where whoever had it has ended just now, and removed its folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for path in (place.parent, place):
        if path.is_symlink():
            message = f"{path} is a link; legal: a folder and a file of the tree itself"
            raise StorageError(message)
    try:
        return place.open("a+b")
    except FileNotFoundError:
        return None


@contextmanager
def _naming(action: str, path: Path) -> Iterator[None]:
    """What the system says of a file, as an error that names it."""
    try:
        yield
    except OSError as error:
        room = "; free some, then run it again: what came is kept" if error.errno == errno.ENOSPC else ""
        message = f"cannot {action} {path}: {error.strerror or error}{room}"
        raise StorageError(message) from error
