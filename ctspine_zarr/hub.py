"""Dataset repositories on the Hugging Face Hub: list, read, download, publish.

The only module that knows huggingface_hub, which heeds HF_TOKEN, HF_HOME, HF_ENDPOINT and
HF_HUB_OFFLINE, waits as Retry-After says on 429, and asks again on 5xx and dropped connections.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import huggingface_hub
from huggingface_hub import constants, errors, utils
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

from ctspine_zarr.digest import sha256
from ctspine_zarr.errors import HubError, HubUnreachable

_LEGAL: Final = "legal: hf://datasets/USER/NAME[@REVISION][/PATH]"
_KIND: Final = "dataset"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PART: Final = 206
_UNKNOWN: Final = 401
_NO_SUCH_RANGE: Final = 416
_MAY_PASS: Final = (408, 429, 500, 502, 503, 504)
_WAITS: Final = (1, 4, 15)
_OPTIONS: Final = ("token", "endpoint")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the Hub records it.

    Attributes:
        size: in bytes.
        sha256: of large files, and of those that are binary; None of others.
        blob: git's id of the others.
    """

    size: int
    sha256: str | None
    blob: str | None = None

    def is_of(self, data: bytes) -> bool:
        """Whether the record is that of these bytes."""
        if self.sha256 is not None:
            return self.sha256 == sha256(data)
        return (self.size, self.blob) == (len(data), git_blob(data))

    def holds(self, size: int, digest: str, path: Path) -> bool:
        """Whether the record is that of a file of this size and sha256, which a local one should have."""
        if self.size != size or self.sha256 is not None:
            return (self.size, self.sha256) == (size, digest)
        data = path.read_bytes() if path.exists() else b""
        return sha256(data) == digest and self.is_of(data)


@dataclass(frozen=True)
class Repository:
    """A folder of a dataset repository, at one commit: what it holds never changes.

    Attributes:
        id: USER/NAME.
        revision: what was asked for: a branch, tag or commit; None for the main branch.
        folder: below the repository's root; empty for the root itself.
        options: `token` and `endpoint`, where they are not those of the environment.
    """

    id: str
    revision: str | None
    folder: str
    options: Mapping[str, Any] = field(repr=False)

    @classmethod
    def at(cls, location: str, options: Mapping[str, Any]) -> Repository:
        """The repository that a location names; nothing is asked yet.

        Raises:
            HubError: it is no dataset's location, or an option is not legal.
        """
        for name in options:
            if name not in _OPTIONS:
                message = f"option {name!r} for {location}; legal: {', '.join(_OPTIONS)}"
                raise HubError(message)
        try:
            uri = huggingface_hub.parse_hf_uri("hf://" + location.partition("://")[2])
        except errors.HfUriError as error:
            message = f"location {location}; {_LEGAL}"
            raise HubError(message) from error
        if uri.type != _KIND:
            message = f"location {location} is a {uri.type}; {_LEGAL}"
            raise HubError(message)
        return cls(uri.id, uri.revision, uri.path_in_repo.strip("/"), options)

    def __str__(self) -> str:
        at = f"@{urllib.parse.quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://datasets/{self.id}{at}{'/' * bool(self.folder)}{self.folder}"

    @property
    def is_offline(self) -> bool:
        """Whether HF_HUB_OFFLINE allows nothing but what is in the cache."""
        return bool(constants.is_offline_mode())

    @cached_property
    def commit(self) -> str:
        """The commit that the revision names when it is first needed.

        Raises:
            HubError: there is no such repository or revision, or the Hub cannot be reached.
        """

        def find() -> str:
            if self.is_offline:
                return self._snapshot.name
            return str(self._api.repo_info(self.id, repo_type=_KIND, revision=self.revision).sha)

        return self._ask("find", find)

    @cached_property
    def files(self) -> Mapping[str, RemoteFile]:
        """Path below the folder -> file, for every file of the folder, in one listing.

        Offline, the files that are in the cache.

        Raises:
            HubError: as `commit`.
        """
        inside = f"{self.folder}/" if self.folder else ""
        found = self._ask(
            "list", lambda: dict(self._cached_files() if self.is_offline else self._listed_files())
        )
        return {path.removeprefix(inside): file for path, file in found.items() if path.startswith(inside)}

    def newest(self) -> Repository:
        """The same, at the commit that the revision names now."""
        return dataclasses.replace(self)

    def read(self, path: str, span: tuple[int, int] | None = None) -> bytes | None:
        """A file of the folder, or its bytes from start to stop; None where there is no such file.

        Raises:
            HubError: the Hub cannot be reached, or refuses.
        """
        # Compressed, a part would not be that of the file.
        headers = {**build_hf_headers(token=self.options.get("token")), "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        with self._naming(f"read {path} of"):
            answer = http_backoff(
                "GET", self._url(path), headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            )
            if answer.status_code == _NO_SUCH_RANGE:
                return b""
            try:
                hf_raise_for_status(answer)
            except errors.EntryNotFoundError:
                return None
            content: bytes = answer.content
        if span is None or answer.status_code == _PART:
            return content
        # A mirror that does not know ranges gave all of it.
        return content[slice(*span)]

    def download(self, path: str, to: Path | None, *, again: bool = False) -> Path:
        """Where a file of the folder now lies on this machine.

        Args:
            path: below the folder.
            to: a folder for it; None for the Hub's cache.
            again: also where it is there already.

        Raises:
            HubError: as `read`, or there is no such file.
        """
        where: dict[str, Any] = {} if to is None else {"local_dir": to}
        with self._naming(f"download {path} of"):
            found = self._api.hf_hub_download(
                self.id,
                self._inside(path),
                repo_type=_KIND,
                revision=self.commit,
                force_download=again,
                tqdm_class=_Silent,
                **where,
            )
        return Path(found)

    def remember(self, path: str) -> None:
        """Have the cache know which commit the revision names, so that it can be found offline.

        Args:
            path: of a small file, which is brought there.

        Raises:
            HubError: as `download`.
        """
        with self._naming(f"download {path} of"):
            self._api.hf_hub_download(
                self.id, self._inside(path), repo_type=_KIND, revision=self.revision, tqdm_class=_Silent
            )

    def cached(self, path: str) -> Path | None:
        """Where a file of the folder lies in the Hub's cache; None where it does not."""
        found = huggingface_hub.try_to_load_from_cache(
            self.id, self._inside(path), repo_type=_KIND, revision=self.commit
        )
        return Path(found) if isinstance(found, str) else None

    def create(self, *, private: bool) -> None:
        """Make the repository where it is not there yet.

        Raises:
            HubError: the Hub cannot be reached, or refuses.
        """
        self._ask(
            "create",
            lambda: self._api.create_repo(self.id, repo_type=_KIND, private=private, exist_ok=True),
        )

    def change(self, put: Mapping[str, bytes | Path], removed: Collection[str], message: str) -> None:
        """Put and remove files of the folder, in one commit; none where there is nothing to do.

        What of a large file is there already is not sent again.

        Args:
            put: path -> contents, or where they lie.
            removed: paths.
            message: of the commit.

        Raises:
            HubError: the Hub cannot be reached, or refuses.
        """

        def commit() -> None:
            adds = [
                huggingface_hub.CommitOperationAdd(self._inside(path), data) for path, data in put.items()
            ]
            deletes = [huggingface_hub.CommitOperationDelete(self._inside(path)) for path in removed]
            self._api.create_commit(
                self.id, [*adds, *deletes], commit_message=message, repo_type=_KIND, revision=self.revision
            )

        if put or removed:
            self._ask("commit to", commit)

    @cached_property
    def _api(self) -> huggingface_hub.HfApi:
        return huggingface_hub.HfApi(
            endpoint=self.options.get("endpoint"),
            token=self.options.get("token"),
            library_name="ctspine-zarr",
        )

    @cached_property
    def _snapshot(self) -> Path:
        """The folder of the cache that has the revision's files."""
        return Path(
            huggingface_hub.snapshot_download(
                self.id,
                repo_type=_KIND,
                revision=self.revision,
                local_files_only=True,
                allow_patterns=["metadata/*"],
            )
        )

    def _cached_files(self) -> Iterator[tuple[str, RemoteFile]]:
        for path in sorted(self._snapshot.rglob("*")):
            if path.is_file():
                # The cache names its files after the Hub's record of them.
                blob = path.resolve().name
                sha256 = blob if _SHA256.fullmatch(blob) else None
                yield path.relative_to(self._snapshot).as_posix(), RemoteFile(path.stat().st_size, sha256)

    def _listed_files(self) -> Iterator[tuple[str, RemoteFile]]:
        entries = self._api.list_repo_tree(
            self.id, self.folder or None, recursive=True, revision=self.commit, repo_type=_KIND
        )
        with suppress(errors.EntryNotFoundError):
            for entry in entries:
                if isinstance(entry, huggingface_hub.hf_api.RepoFile):
                    digest = entry.lfs.sha256 if entry.lfs else None
                    yield entry.path, RemoteFile(entry.size, digest, entry.blob_id)

    def _inside(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path

    def _url(self, path: str) -> str:
        url = huggingface_hub.hf_hub_url(
            self.id,
            self._inside(path),
            repo_type=_KIND,
            revision=self.commit,
            endpoint=self.options.get("endpoint"),
        )
        return str(url)

    def _ask[T](self, action: str, work: Callable[[], T]) -> T:
        """What the client does not ask again by itself."""

        def ask() -> T:
            with self._naming(action):
                return work()

        return patiently(ask, _WAITS)

    @contextmanager
    def _naming(self, action: str) -> Iterator[None]:
        try:
            yield
        except HubError:
            raise
        except Exception as error:
            message = f"cannot {action} {self}: {_reason(error)}"
            raise (HubUnreachable if _may_pass(error) else HubError)(message) from error


def git_blob(data: bytes) -> str:
    """Git's own id of a file, the Hub's only record of small ones."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def patiently[T](work: Callable[[], T], waits: Iterable[float]) -> T:
    """What `work` gives, tried again after each of these many seconds where the cause may pass.

    Raises:
        HubError: as `work` does; HubUnreachable only after the last wait.
    """
    for wait in waits:
        try:
            return work()
        except HubUnreachable:
            time.sleep(wait)
    return work()


def download_folder() -> Path:
    """Where what is downloaded for a while lies: beside the Hub's cache, on the disk chosen for it."""
    return Path(constants.HF_HOME).expanduser() / "ctspine_zarr"


def cache_folder() -> Path:
    """The Hub's cache on this machine."""
    return Path(constants.HF_HUB_CACHE)


class _Silent(utils.tqdm):
    """No bar for each file: a build shows its own progress."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"disable": True})  # type: ignore[no-untyped-call]


def _may_pass(error: BaseException) -> bool:
    if constants.is_offline_mode():
        return False
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in _MAY_PASS
    if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError):
        # What the client makes of whatever kept it from asking for a file, or from sending one.
        return error.__cause__ is None or _may_pass(error.__cause__)
    # The client reads some answers without a look at their status.
    return isinstance(error, ConnectionError | TimeoutError | errors.HTTPError | json.JSONDecodeError)


def _reason(error: Exception) -> str:
    """What is the matter, in a line, and what to do about it."""
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision; a slash in its name is written %2F"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such dataset, or it is private or gated: run `hf auth login` or set HF_TOKEN"
    if constants.is_offline_mode():
        return (
            f"it is not in the cache at {constants.HF_HUB_CACHE}, and the Hub is not asked (HF_HUB_OFFLINE)"
        )
    return " ".join(str(error).split()) or type(error).__name__
