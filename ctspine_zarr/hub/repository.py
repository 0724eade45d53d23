"""Dataset repositories on the Hugging Face Hub: list, read, download, publish.

Beside `answers`, `changes`, `reasons` and the published card the only module that knows huggingface_hub,
which heeds HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE, waits as Retry-After says on 429, and asks
again on 5xx and dropped connections.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import huggingface_hub
from huggingface_hub import constants, errors, utils
from huggingface_hub.utils import build_hf_headers

from ctspine_zarr.concurrency.requests import SECONDS, Ask, Deadline, legal_seconds, within
from ctspine_zarr.errors import CtspineError, HubError, HubUnreachable, StorageError
from ctspine_zarr.hub.addresses import Addresses
from ctspine_zarr.hub.answers import file_bytes, find, may_pass, named_bytes, pages, patiently, rest_of_file
from ctspine_zarr.hub.changes import Change
from ctspine_zarr.hub.files import LocalFile, RemoteFile, Sink, commit_of, files_of
from ctspine_zarr.hub.reasons import reason

_LEGAL: Final = "legal: hf://datasets/USER/NAME[@REVISION][/PATH]"
_KIND: Final = "dataset"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OPTIONS: Final = ("token", "endpoint", "timeout")


@dataclass(frozen=True)
class Repository:
    """A folder of a dataset repository, at one commit: what it holds never changes.

    Attributes:
        id: USER/NAME.
        revision: what was asked for: a branch, tag or commit; None for the main branch.
        folder: below the repository's root; empty for the root itself.
        options: `token` and `endpoint`, where they are not those of the environment; `timeout`, see
            `seconds`.
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
            legal_seconds(options.get("timeout", SECONDS))
        except StorageError as error:
            raise HubError(str(error)) from error
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
        at = f"@{_quoted(self.revision)}" if self.revision else ""
        return f"hf://datasets/{self.id}{at}{'/' * bool(self.folder)}{self.folder}"

    @property
    def seconds(self) -> float:
        """Seconds until what is asked for or sent is given up, or the next 16 MiB of it; 60 by default.

        What is downloaded to a file has as long as it takes.
        """
        return legal_seconds(self.options.get("timeout", SECONDS))

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
        if self.is_offline:
            with self._naming("find"):
                return self._snapshot.name
        [commit] = self._in_time("find", [self._found_commit])
        return commit

    @cached_property
    def files(self) -> Mapping[str, RemoteFile]:
        """Path below the folder -> file, for every file of the folder, in one listing.

        Offline, the files that are in the cache.

        Raises:
            HubError: as `commit`.
        """
        inside = f"{self.folder}/" if self.folder else ""
        if self.is_offline:
            with self._naming("list"):
                found = dict(self._cached_files())
        else:
            # Asked for here, it is not waited for by what is itself in time.
            [found] = self._in_time("list", [partial(self._listed_files, self.commit)])
        return {path.removeprefix(inside): file for path, file in found.items() if path.startswith(inside)}

    def pin(self, path: str, most: int) -> bytes | None:
        """A file of the folder, from whose answer it is known which commit the revision names.

        So whoever reads it first asks the Hub once, not twice. None where there is no such file or it has
        more than `most` bytes, and where the commit is known already or has to be asked for by itself.

        Raises:
            HubError: as `commit`.
        """
        if self.is_offline or "commit" in self.__dict__:
            _ = self.commit
            return None
        url = self._url(path, self.revision)
        [(data, commit)] = self._in_time("find", [partial(named_bytes, url, self._headers, (0, most + 1))])
        if commit is None:
            _ = self.commit
            return None
        self.__dict__["commit"] = commit
        return data if data is not None and len(data) <= most else None

    def newest(self) -> Repository:
        """The same, at the commit that the revision names now."""
        return dataclasses.replace(self)

    def read(self, path: str, span: tuple[int, int]) -> bytes | None:
        """Bytes of a file of the folder; see `read_each`."""
        [data] = self.read_each(path, [span])
        return data

    def read_each(self, path: str, spans: Iterable[tuple[int, int]]) -> list[bytes | None]:
        """Bytes of a file of the folder from start to stop, for each span, all asked for at once.

        Fewer where the file ends before; None where there is no such file.

        Raises:
            HubError: the Hub cannot be reached, refuses, or does not give them in time.
        """
        url, action, asked = self.url(path), f"read {path} of", list(spans)
        if len(asked) > 1 and not self._addresses.knows(url):
            self._in_time(action, [partial(find, url, self._headers, self._addresses)])
        asks = [partial(file_bytes, url, self._headers, span, self._addresses) for span in asked]
        return self._in_time(action, asks)

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
        return self._download(path, self.commit, force_download=again, **where)

    def receive(self, path: str, size: int, sink: Sink) -> bool:
        """Bring what a sink lacks of a file of the folder, in parts, as they come; False where it is shorter.

        What breaks off for a cause that may pass is gone on with, from where it broke off.

        Args:
            path: below the folder.
            size: of the file.
            sink: told no more than a byte beyond that, by which it sees that the file is another.

        Raises:
            HubError: the Hub cannot be reached, or refuses; the sink has what came before.
        """

        def ask(deadline: Deadline) -> None:
            deadline.put_off()
            for part in rest_of_file(url, self._headers, sink.size, size, deadline):
                sink.take(part)
            if sink.size < size:
                message = f"it ended after {sink.size} of {size} bytes"
                raise ConnectionError(message)

        url = self.url(path)
        with self._naming(f"download {path} of"), suppress(EOFError):
            patiently(ask, Deadline(self.seconds))
            return True
        return False

    def remember(self, path: str) -> None:
        """Have the cache know which commit the revision names, so that it can be found offline.

        Args:
            path: of a small file, which is brought there.

        Raises:
            HubError: as `download`.
        """
        self._download(path, self.revision)

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

        def create(_: Deadline) -> None:
            self._api.create_repo(self.id, repo_type=_KIND, private=private, exist_ok=True)

        self._in_time("create", [partial(patiently, create)])

    def change(self, put: Mapping[str, bytes | LocalFile], removed: Collection[str], message: str) -> None:
        """Put and remove files of the folder, in one commit; none where there is nothing to do.

        What of a large file is there already is not sent again. A commit that was made, but whose answer was
        lost, is seen by what is there, and is not made again.

        Args:
            put: path -> contents, or where they lie.
            removed: paths.
            message: of the commit.

        Raises:
            HubError: the Hub cannot be reached, or refuses, or a file has been altered.
        """
        inside = {self._inside(path): data for path, data in put.items()}
        asked = Change(inside, [self._inside(path) for path in removed])
        tries = itertools.count()

        def commit(deadline: Deadline) -> None:
            left = asked
            if next(tries):
                left = asked.left(self._listed_files(self._found_commit(deadline), deadline))
            if not left.is_nothing:
                sent = left.operations(str(self))
                self._api.create_commit(
                    self.id, sent, commit_message=message, repo_type=_KIND, revision=self.revision
                )

        if not asked.is_nothing:
            self._in_time("commit to", [partial(patiently, commit)], self.seconds * asked.parts)

    @cached_property
    def _api(self) -> huggingface_hub.HfApi:
        return huggingface_hub.HfApi(
            endpoint=self.options.get("endpoint"),
            token=self.options.get("token"),
            library_name="ctspine-zarr",
        )

    @cached_property
    def _api_url(self) -> str:
        """Where the API knows of the repository."""
        return f"{self._api.endpoint}/api/datasets/{self.id}"

    @property
    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(token=self.options.get("token"), library_name="ctspine-zarr"))

    @cached_property
    def _snapshot(self) -> Path:
        """The folder of the cache that has the revision's files."""
        return Path(
            huggingface_hub.snapshot_download(
                self.id,
                repo_type=_KIND,
                revision=self.revision,
                local_files_only=True,
                allow_patterns=[],
            )
        )

    def _cached_files(self) -> Iterator[tuple[str, RemoteFile]]:
        for path in sorted(self._snapshot.rglob("*")):
            if path.is_file():
                # The cache names its files after the Hub's record of them.
                blob = path.resolve().name
                sha256 = blob if _SHA256.fullmatch(blob) else None
                yield path.relative_to(self._snapshot).as_posix(), RemoteFile(path.stat().st_size, sha256)

    def _found_commit(self, deadline: Deadline) -> str:
        at = f"/revision/{_quoted(self.revision)}" if self.revision else ""
        return next(pages(f"{self._api_url}{at}?expand=sha", self._headers, commit_of, deadline))

    def _listed_files(self, commit: str, deadline: Deadline) -> dict[str, RemoteFile]:
        inside = f"/{urllib.parse.quote(self.folder)}" if self.folder else ""
        url = f"{self._api_url}/tree/{_quoted(commit)}{inside}?recursive=true&expand=false"
        with suppress(errors.EntryNotFoundError):
            return dict(itertools.chain.from_iterable(pages(url, self._headers, files_of, deadline)))
        return {}

    def _download(self, path: str, revision: str | None, **options: Any) -> Path:
        name = self._inside(path)
        with self._naming(f"download {path} of"):
            found = self._api.hf_hub_download(
                self.id, name, repo_type=_KIND, revision=revision, tqdm_class=_Silent, **options
            )
        return Path(found)

    def _inside(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path

    @cached_property
    def _addresses(self) -> Addresses:
        return Addresses()

    def url(self, path: str) -> str:
        """Where a file of the folder is, at the commit; ASCII, without a token."""
        return self._url(path, self.commit)

    def _url(self, path: str, revision: str | None) -> str:
        url = huggingface_hub.hf_hub_url(
            self.id,
            self._inside(path),
            repo_type=_KIND,
            revision=revision,
            endpoint=self.options.get("endpoint"),
        )
        return str(url)

    def _in_time[T](self, action: str, asks: Sequence[Ask[T]], seconds: float | None = None) -> list[T]:
        """What is asked for at once, until a deadline: by default after `self.seconds`."""
        seconds = self.seconds if seconds is None else seconds
        try:
            with self._naming(action):
                return within(seconds, asks)
        except HubUnreachable as error:
            told = f"; given up: a request may take {seconds:g} s"
            if isinstance(error.__cause__, TimeoutError):
                told = "; the option timeout=SECONDS allows more"
            message = f"{error}{told}"
            raise HubUnreachable(message) from error.__cause__

    @contextmanager
    def _naming(self, action: str) -> Iterator[None]:
        try:
            yield
        except CtspineError:
            raise
        except Exception as error:
            message = f"cannot {action} {self}: {reason(error)}"
            raise (HubUnreachable if may_pass(error) else HubError)(message) from error


def download_folder() -> Path:
    """Where what is downloaded for a while lies: beside the Hub's cache, on the disk chosen for it."""
    return Path(constants.HF_HOME).expanduser() / "ctspine_zarr"


def cache_folder() -> Path:
    """The Hub's cache on this machine."""
    return Path(constants.HF_HUB_CACHE)


def _quoted(revision: str) -> str:
    return urllib.parse.quote(revision, safe="")


class _Silent(utils.tqdm):
    """No bar for each file: a build shows its own progress."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"disable": True})  # type: ignore[no-untyped-call]
