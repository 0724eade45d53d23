"""The interface of a kind of storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from ctspine_zarr.hub.files import RemoteFile

type Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Merging:
    """Which byte ranges of an object are better read as one.

    Attributes:
        gap: ranges at most this many unwanted bytes apart.
        longest: bytes of the result, unless one range alone is longer.
        waste: most bytes that are read for each one that is wanted.
        small_bytes: objects of at most this many bytes are best read complete, and kept.
        at_once: whether all ranges of a read are best asked for together.
        surplus: bytes that may be read in vain to save a round trip.
    """

    gap: int
    longest: int
    waste: float
    small_bytes: int
    at_once: bool
    surplus: int = 0


# From the page cache, short reads find their bytes in the processor's cache again.
LOCAL: Final = Merging(gap=1 << 12, longest=1 << 18, waste=2.0, small_bytes=0, at_once=False)
# Each request is a round trip, in which a connection of 1 Gbit/s moves megabytes: a 96-cube's rows of
# chunks, 200 kB apart in a slab, are one request, its slabs are not. Nearly every mask is small enough
# to come with its index. What is read in vain to save a round trip takes 17 ms there.
DISTANT: Final = Merging(
    gap=1 << 19, longest=1 << 24, waste=2.5, small_bytes=1 << 19, at_once=True, surplus=1 << 21
)


class Backend(ABC):
    """Objects by key.

    `Storage` checks keys, prefixes and spans, and turns whatever is raised here, as where something is
    no object, into a StorageError that names them. Pickles where another process can use it.

    Attributes:
        path: the local folder, where it is one.
        merging: what `ranges` reads fastest.
    """

    merging: ClassVar[Merging] = DISTANT
    path: Path | None = None

    @property
    def is_shared(self) -> bool:
        """Whether another process sees the same objects."""
        return True

    @property
    def is_fork_safe(self) -> bool:
        """Whether a process that was forked from one that has read can read too."""
        return True

    @property
    def is_listable(self) -> bool:
        """Whether `sizes` can tell what is there."""
        return True

    @abstractmethod
    def get(self, key: str, most: int) -> bytes | None:
        """An object of up to `most` bytes; None where there is none.

        No more than that many bytes are brought to memory, whatever another end says or sends.

        Raises:
            ValueError: it is longer.
        """

    @abstractmethod
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes | memoryview]:
        """The bytes from start to stop for each span of one object, in order.

        Fewer where the object ends before, none where there is none.
        """

    def opened(self, key: str) -> tuple[int, int] | None:  # noqa: ARG002 - of other kinds
        """The descriptor of an object's file, open for reading, and its size; None where objects are no
        files. Whoever gets it closes it.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return None

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """Key -> bytes of every object below a prefix, which is empty or ends with a slash."""
        raise NotImplementedError

    def recorded(self) -> Mapping[str, RemoteFile]:
        """Key -> what is recorded of every object beside its size; none where no digests are."""
        return {}

    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """Write an object whole; a reader sees all of it or none."""
        raise NotImplementedError

    def remove(self, key: str) -> None:
        """Remove an object, and the folders that are empty then; no error where there is none."""
        raise NotImplementedError

    def remove_below(self, path: str, keys: Iterable[str]) -> None:
        """Remove a group's objects, by their keys below it; a folder goes with all that is in it."""
        for key in keys:
            self.remove(f"{path}/{key}")

    def irregular(self) -> Iterable[tuple[str, str]]:
        """What is there and is no object: its place as a key, and what it is."""
        return ()

    def clean(self, folders: Collection[str]) -> None:  # noqa: B027 - most have nothing to clean
        """Remove what killed writers and removals leave; nothing where objects are whole or absent.

        Args:
            folders: at the top: in no other is anything removed.
        """

    def advice(self, error: Exception) -> str:  # noqa: ARG002 - of other kinds
        """What a user may do about an error; empty where nobody can say."""
        return ""

    def free_bytes(self) -> int | None:
        """Bytes free; None where nobody can say."""
        return None
