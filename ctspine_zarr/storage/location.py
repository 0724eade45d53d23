"""A location as a user types it to the storage there."""

from __future__ import annotations

import re
import stat
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ctspine_zarr.errors import HubError, NotAStore, StorageError
from ctspine_zarr.storage.backend import Backend
from ctspine_zarr.storage.folder import Folder
from ctspine_zarr.storage.handle import Storage
from ctspine_zarr.text import file_kind, without_password

if TYPE_CHECKING:
    from zarr.abc.store import Store

type Location = str | Path | Store

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BUCKETS: Final = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_WEB: Final = ("http", "https")
_READ_ONLY: Final = (*_WEB, "hf")
_ELSEWHERE: Final = (*_BUCKETS, *_READ_ONLY, "memory", "file")
_ONE_SLASH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_FOLDER: Final = "legal: a folder, there or to be made"
_LEGAL: Final = (
    "a local path, file://PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, memory://NAME, "
    "to read http(s)://HOST/PATH and hf://datasets/USER/NAME[@REVISION]/PATH, or a zarr Store object"
)


def open_storage(
    location: Location, *, read_only: bool = False, options: Mapping[str, Any] | None = None
) -> Storage:
    """The storage at a location; nothing is created before the first put.

    Nothing is asked of it either, but of the Hub its `zarr.json`, by which it is known which commit a
    revision names.

    Args:
        location: a local path, a URL of s3, gs, az, http, https, hf, file or memory, or a zarr
            Store object.
        read_only: nothing will be put.
        options: for buckets `anonymous`, `endpoint`, `region` and all else that obstore's stores
            know; for them and for web servers `timeout`, the seconds after which a request is given
            up, retries included (60), `allow_http`, and obstore's `client_options` and
            `retry_config`; for hf `token`, `endpoint` and `timeout`. What is not here comes from
            the environment.

    Raises:
        NotAStore: read-only and there is no such folder.
        StorageError: a kind of location that is not supported, a file, a path that leads nowhere,
            an option that does not exist, or a store that cannot be written where it must be.
    """
    if not isinstance(location, str | Path):
        # zarr takes a quarter of a second to import, which a local store need not wait for.
        from ctspine_zarr.storage.zarrs import given, is_store

        if not is_store(location):
            message = f"location {location!r}; legal: {_LEGAL}"
            raise StorageError(message)
        _require_none(options, location)
        return given(location, read_only=read_only)
    scheme = _scheme(location)
    if scheme != "file":
        url = f"{scheme}://{str(location).partition('://')[2].rstrip('/')}"
        return Storage(_remote(url, scheme, options or {}, read_only=read_only), without_password(url))
    _require_none(options, location)
    return _local(_local_path(location), read_only=read_only)


def _scheme(location: str | Path) -> str:
    """Of a URL, in lower case; `file` for a path."""
    if not str(location):
        message = f"the store's location is empty; legal: {_LEGAL}"
        raise StorageError(message)
    if (typo := _ONE_SLASH.match(str(location))) is not None and typo[1].lower() in _ELSEWHERE:
        seen = without_password(str(location))
        message = f"location {seen}; legal: {typo[1]}://..., with two slashes and as a str, not a Path"
        raise StorageError(message)
    found = _SCHEME.match(location) if isinstance(location, str) else None
    return "file" if found is None else found[1].lower()


def _remote(url: str, scheme: str, options: Mapping[str, Any], *, read_only: bool) -> Backend:
    if scheme in _READ_ONLY and not read_only:
        message = f"cannot write to {without_password(url)}: {scheme}:// can only be read; legal: {_LEGAL}"
        raise StorageError(message)
    if scheme == "hf":
        return _repository(url, options)
    if "?" in url or "#" in url:
        message = (
            f"cannot open {without_password(url)}: a store has objects below it; legal: a URL without ? and #"
        )
        raise StorageError(message)
    if scheme in (*_BUCKETS, *_READ_ONLY):
        # It takes a fifth of a second to import, which a local store need not wait for.
        from ctspine_zarr.storage.objects import objects_at

        return objects_at(url, options)
    if scheme == "memory":
        from ctspine_zarr.storage.zarrs import ZarrStore, memory

        _require_none(options, url)
        return ZarrStore(memory(url))
    message = f"cannot open {without_password(url)}: {scheme}:// is not supported; legal: {_LEGAL}"
    raise StorageError(message)


def _repository(url: str, options: Mapping[str, Any]) -> Backend:
    # The same: half a second.
    from ctspine_zarr.hub.repository import Repository
    from ctspine_zarr.storage.repository import RepositoryFiles

    try:
        return RepositoryFiles.at_one_commit(Repository.at(url, options))
    except HubError as error:
        raise StorageError(str(error)) from error


def _require_none(options: Mapping[str, Any] | None, location: Location) -> None:
    if options:
        message = f"options {', '.join(options)} for {location}; legal: none for a store of this kind"
        raise StorageError(message)


def _local(path: Path, *, read_only: bool) -> Storage:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        _require_nothing(path, error, read_only=read_only)
    except (OSError, ValueError) as error:
        message = f"cannot open {str(path)!r}: {getattr(error, 'strerror', None) or error}; {_FOLDER}"
        raise StorageError(message) from error
    else:
        if not stat.S_ISDIR(mode):
            message = f"{path} is {file_kind(mode)}; {_FOLDER}"
            raise StorageError(message)
    return Storage(Folder(path, read_only), str(path))


def _require_nothing(path: Path, seen: FileNotFoundError, *, read_only: bool) -> None:
    """Do nothing where a folder can be made at a path."""
    if path.is_symlink():
        message = f"{path} is a link to {path.readlink()}, where nothing is; {_FOLDER}"
        raise (NotAStore if read_only else StorageError)(message) from seen
    if read_only:
        message = f"no store at {path}: there is no such folder"
        raise NotAStore(message) from seen


def _local_path(location: str | Path) -> Path:
    try:
        if isinstance(location, Path) or _SCHEME.match(location) is None:
            return Path(location).expanduser().absolute()
        parts = urllib.parse.urlsplit(location)
        host, path = parts.netloc, urllib.request.url2pathname(parts.path)
    # A home that nobody has, a working directory that is gone, a URL that is none.
    except (RuntimeError, OSError, ValueError) as error:
        message = (
            f"cannot open {str(location)!r}: {getattr(error, 'strerror', None) or error}; legal: {_LEGAL}"
        )
        raise StorageError(message) from error
    if host not in {"", "localhost"}:
        seen = without_password(str(location))
        message = f"cannot open {seen}: a file:// URL of another machine; legal: {_LEGAL}"
        raise StorageError(message)
    return Path(path).absolute()
