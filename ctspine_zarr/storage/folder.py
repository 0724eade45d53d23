"""A local folder: its files are the objects, and nothing outside of it is reached through its links."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, override

from ctspine_zarr.storage.backend import LOCAL, Backend, Merging, Span
from ctspine_zarr.storage.keys import is_key
from ctspine_zarr.storage.regular import open_regular, read_all, read_at
from ctspine_zarr.text import file_kind

# Of what is being written, and stays when a process dies before it is whole: zarr's ending too.
_TORN: Final = ".partial"
_LEFT: Final = re.compile(r"\.[0-9a-f]{16,32}\.partial\Z")
# Times that a folder may be removed while something is put there.
_TRIES: Final = 8
_MOST_KNOWN: Final = 1 << 14
# The Hub's cache keeps a repository's files in `blobs`, and links to them in `snapshots/COMMIT`.
_SNAPSHOT: Final = re.compile(r"(.*)/snapshots/[0-9a-f]{40,64}(/.*)?", re.DOTALL)

type Entry = os.DirEntry[str]


@dataclass(frozen=True)
class Folder(Backend):
    """A local folder, which may itself be reached by a link.

    Folders inside it that are links are refused, whatever they lead to. A file that is a link is
    read where its target lies in the store, or, where the store is a snapshot in the Hub's cache,
    among that repository's files. Links are looked for when a folder is first used: one that takes
    a folder's place afterwards, while this object lives, is not seen.

    Attributes:
        path: absolute; made when something is put.
        read_only: nothing can be put or removed.
    """

    merging: ClassVar[Merging] = LOCAL

    path: Path = field()
    read_only: bool = field()
    _known: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Callable[..., Folder], tuple[Any, ...]]:
        return type(self), (self.path, self.read_only)

    @override
    def get(self, key: str, most: int) -> bytes | None:
        try:
            return read_all(*self.opened(key), most)
        except FileNotFoundError:
            return None

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes]:
        # Not a memory map: a file cut short under one ends the process with SIGBUS, and its pages
        # count as the process's own memory. It would save 4 % of a read.
        try:
            file, size = self.opened(key)
        except FileNotFoundError:
            yield from (b"" for _ in spans)
            return
        try:
            for start, stop in spans:
                # Room is made for no more than there is.
                length = min(stop, size) - start
                yield read_at(file, length, start) if length > 0 else b""
        finally:
            os.close(file)

    @override
    def opened(self, key: str) -> tuple[int, int]:
        """The descriptor of a key's file, open for reading, and its size.

        Raises:
            FileNotFoundError: there is nothing.
            OSError: it is no file of this store, or cannot be read.
        """
        self._require_folders(_folder(key))
        path = f"{self.path}/{key}"
        try:
            return open_regular(path)
        except OSError:
            if not os.path.islink(path):  # noqa: PTH114 - a Path takes longer
                raise
        return self._linked(path)

    @override
    def size(self, key: str) -> int | None:
        try:
            file, size = self.opened(key)
        except FileNotFoundError:
            return None
        os.close(file)
        return size

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        return {
            key: seen.st_size
            for key, entry in self._entries(prefix)
            if (seen := self._object(key, entry)) is not None
        }

    @override
    def irregular(self) -> Iterable[tuple[str, str]]:
        return [
            (key, _irregular_kind(key, entry))
            for key, entry in self._entries("")
            if self._object(key, entry) is None and (entry is None or os.path.lexists(entry.path))
        ]

    @override
    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self._require_writable()
        for number in range(_TRIES):
            # A folder that was removed in between, being empty, is made again.
            with suppress(FileNotFoundError):
                if number:
                    self._make_folders(_folder(key))
                self._write(key, data)
                return
        self._make_folders(_folder(key))
        self._write(key, data)

    @override
    def remove(self, key: str) -> None:
        self._require_writable()
        with suppress(FileNotFoundError):
            self._require_folders(_folder(key))
            (self.path / key).unlink()
            self._remove_empty(_folder(key))

    @override
    def remove_below(self, path: str, keys: Iterable[str]) -> None:
        self._require_writable()
        folder = self.path / path
        with suppress(FileNotFoundError):
            self._require_folders(_folder(path))
            if folder.is_symlink():
                folder.unlink()
            else:
                # It does not follow links.
                shutil.rmtree(folder, onexc=_mind)
        self._known.clear()

    @override
    def clean(self, folders: Collection[str]) -> None:
        for key, entry in list(self._entries("")):
            top, _, inside = key.partition("/")
            if top not in folders and (inside or entry is None):
                continue
            if entry is None:
                self._remove_empty(key)
            elif _LEFT.search(key):
                self.remove(key)
                self._remove_empty(_folder(key))
        self._known.clear()

    @override
    def free_bytes(self) -> int | None:
        return free_bytes(self.path)

    @cached_property
    def _homes(self) -> tuple[str, ...]:
        """Where a file's link may lead, with a slash: the store itself; a snapshot's repository's files."""
        real = os.path.realpath(self.path)
        cache = _SNAPSHOT.fullmatch(real)
        blobs = () if cache is None else (f"{cache[1]}/blobs/",)
        return (os.path.join(real, ""), *blobs)  # noqa: PTH118 - a Path has no slash at its end

    def _linked(self, path: str) -> tuple[int, int]:
        target = os.path.realpath(path)
        if not target.startswith(self._homes):
            message = (
                "it is a link that leads outside the store; legal: a file, or a link to one in the store"
            )
            raise OSError(message)
        try:
            return open_regular(target)
        except FileNotFoundError as error:
            message = "it is a link to nothing; legal: a file, or a link to one in the store"
            raise OSError(message) from error

    def _require_folders(self, folder: str) -> None:
        """Do nothing where a folder below the store and all between are folders, and no links.

        Raises:
            FileNotFoundError: one is not there.
            OSError: one is something else.
        """
        if not folder or folder in self._known:
            return
        below = str(self.path)
        for name in folder.split("/"):
            below = f"{below}/{name}"
            mode = os.lstat(below).st_mode
            if not stat.S_ISDIR(mode):
                message = f"{below} is {file_kind(mode)}; legal: a folder of the store itself"
                raise NotADirectoryError(errno.ENOTDIR, message)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(folder)

    def _make_folders(self, folder: str) -> None:
        self._known.discard(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        below = self.path
        for name in folder.split("/") if folder else ():
            below /= name
            with suppress(FileExistsError):
                below.mkdir()
            self._require_folders(below.relative_to(self.path).as_posix())

    def _write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self._require_folders(_folder(key))
        path = self.path / key
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_TORN}")
        try:
            with partial.open("xb") as file:
                file.write(data)
            # A link that has the name is replaced, not followed.
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder, and those it lies in, as far as they are empty."""
        self._require_writable()
        while folder:
            self._known.discard(folder)
            try:
                (self.path / folder).rmdir()
            except OSError:
                return
            folder = _folder(folder)

    def _require_writable(self) -> None:
        if self.read_only:
            message = "it was opened read-only; legal: a store that can be written"
            raise PermissionError(errno.EACCES, message)

    def _entries(self, prefix: str) -> Iterator[tuple[str, Entry | None]]:
        """Whatever lies below a prefix and is no folder, and, as None, folders without contents."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._require_folders(prefix.removesuffix("/"))
            yield from _entries(str(self.path), prefix)

    def _object(self, key: str, entry: Entry | None) -> os.stat_result | None:
        """Of an ordinary object, what its file is; None of all else."""
        if entry is None or key.endswith(_TORN) or not is_key(key):
            return None
        with suppress(FileNotFoundError):
            if entry.is_file(follow_symlinks=False):
                return entry.stat(follow_symlinks=False)
            if entry.is_symlink() and os.path.realpath(entry.path).startswith(self._homes[1:]):
                seen = entry.stat()
                return seen if stat.S_ISREG(seen.st_mode) else None
        return None


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk where a folder lies, or will be made."""
    return shutil.disk_usage(_existing(folder)).free


def share_disk(one: Path, other: Path) -> bool:
    """Whether two folders lie, or will be made, on one disk."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    for path in (folder, *folder.absolute().parents):
        with suppress(OSError):
            path.stat()
            return path
    return Path(folder.anchor)


def _folder(key: str) -> str:
    """Of a key, all before its last part."""
    return key.rpartition("/")[0]


def _entries(root: str, prefix: str) -> Iterator[tuple[str, Entry | None]]:
    unseen = [prefix]
    while unseen:
        folder = unseen.pop()
        # Another process may have removed what was seen in the folder above.
        with suppress(FileNotFoundError), os.scandir(f"{root}/{folder}") as found:
            inside = list(found)
            if not inside and folder:
                yield folder.removesuffix("/"), None
            for entry in inside:
                if entry.is_dir(follow_symlinks=False):
                    unseen.append(f"{folder}{entry.name}/")
                else:
                    yield f"{folder}{entry.name}", entry


def _irregular_kind(key: str, entry: Entry | None) -> str:
    if entry is None:
        return "an empty folder"
    mode = entry.stat(follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode):
        return file_kind(mode)
    return "a half-written object" if key.endswith(_TORN) else "a file whose name is no key"


def _mind(_: Callable[..., Any], __: str, error: BaseException) -> None:
    """What a removal says of, but for what another process has removed meanwhile."""
    if not isinstance(error, FileNotFoundError):
        raise error
