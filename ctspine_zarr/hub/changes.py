"""What is to be put into a repository and removed from it, and what of that is not done yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from ctspine_zarr.concurrency.requests import PART
from ctspine_zarr.errors import HubError
from ctspine_zarr.hub.files import LocalFile, RemoteFile, size_of


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that is to be made.

    Attributes:
        put: path below the repository's root -> contents, or where they lie.
        removed: paths of files.
    """

    put: Mapping[str, bytes | LocalFile]
    removed: Collection[str]

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.put or self.removed)

    @property
    def parts(self) -> int:
        """Times that a request's time is allowed for it: one for each part that is sent, begun or whole."""
        return 1 + sum(map(size_of, self.put.values())) // PART

    def left(self, there: Mapping[str, RemoteFile]) -> Change:
        """The same without what is done: files that are there by the Hub's record, removals that are gone.

        Args:
            there: path -> file, for all files that the commit names and that are there.
        """
        put = {
            path: data
            for path, data in self.put.items()
            if path not in there or not _is_of(there[path], data)
        }
        return Change(put, [path for path in self.removed if path in there])

    def operations(self, to: str) -> list[CommitOperationAdd | CommitOperationDelete]:
        """The same as the Hub's client takes it.

        Args:
            to: the repository, as errors name it.

        Raises:
            HubError: a file has been altered.
        """
        adds = [_addition(path, data, to) for path, data in self.put.items()]
        return [*adds, *map(CommitOperationDelete, self.removed)]


def _is_of(file: RemoteFile, data: bytes | LocalFile) -> bool:
    if isinstance(data, bytes):
        return file.is_of(data)
    return file.holds(size_of(data), data.sha256, data.path.read_bytes)


def _addition(path: str, data: bytes | LocalFile, to: str) -> CommitOperationAdd:
    found = CommitOperationAdd(path, data if isinstance(data, bytes) else data.path)
    if isinstance(data, LocalFile) and found.upload_info.sha256.hex() != data.sha256:
        message = f"cannot commit to {to}: {data.path} was altered meanwhile; run verify"
        raise HubError(message)
    return found
