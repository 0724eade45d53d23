"""Object stores and web servers, through obstore. The only module that knows it."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Final, override

import obstore
import obstore.store
import zarr.storage
from obstore import exceptions
from zarr.abc.store import Store

from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage.backend import Backend, Span
from ctspine_zarr.storage.forks import require_own_threads

_WEB: Final = ("http", "https")

# 429, 5xx, timeouts, refused and dropped connections are asked again, a cut answer from where it was
# cut, after 0.1 s, 0.2 s, ... with jitter.
_RETRIES: Final = {"max_retries": 8, "retry_timeout": timedelta(minutes=3)}
_TIMEOUTS: Final = {"timeout": timedelta(seconds=120), "connect_timeout": timedelta(seconds=10)}
# Asked for credentials where the environment has none.
_INSTANCE: Final = "169.254.169.254"
_CREDENTIALS: Final = (
    "; credentials come from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public "
    "bucket needs the storage option anonymous=true"
)
# Of answers that obstore does not ask for again when they are cut: listings, and those of failures.
_CUT: Final = "response body"
_TRIES: Final = 4
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Objects(Backend):
    """A bucket, or a folder of one.

    Each process makes a handle of its own, when it first asks.

    Attributes:
        url: of the folder.
        options: see `open_storage`.
    """

    forks: ClassVar[bool] = False

    _make: ClassVar[Callable[..., Any]] = staticmethod(obstore.store.from_url)

    url: str
    options: Mapping[str, Any] = field(repr=False)

    def __reduce__(self) -> tuple[type[Objects], tuple[str, Mapping[str, Any]]]:
        return type(self), (self.url, self.options)

    @property
    @override
    def zarr(self) -> Store:
        return zarr.storage.ObjectStore(self._store, read_only=True)

    @override
    def get(self, key: str) -> bytes | None:
        try:
            return _insist(lambda: bytes(obstore.get(self._store, key).bytes()))
        except FileNotFoundError:
            return None

    @override
    def span(self, key: str, span: Span) -> bytes | memoryview:
        start, stop = span
        try:
            return _insist(lambda: memoryview(obstore.get_range(self._store, key, start=start, end=stop)))
        except FileNotFoundError:
            return b""
        except Exception:
            # A range beyond the end is another error with every kind of store.
            size = self.size(key)
            if size is None or size <= start:
                return b""
            raise

    @override
    def size(self, key: str) -> int | None:
        try:
            return _insist(lambda: obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        return _insist(lambda: self._listed(prefix))

    def _listed(self, prefix: str) -> Mapping[str, int]:
        pages = obstore.list(self._store, prefix or None)
        return {found["path"]: found["size"] for page in pages for found in page}

    @override
    def put(self, key: str, data: bytes | bytearray) -> None:
        # Several parts of a large object are sent at a time, and it appears when the last has come.
        _insist(lambda: obstore.put(self._store, key, memoryview(data)))

    @override
    def remove(self, key: str) -> None:
        _insist(lambda: obstore.delete(self._store, key))

    @override
    def advice(self, error: Exception) -> str:
        is_refused = isinstance(error, PermissionError | exceptions.UnauthenticatedError)
        is_refused |= isinstance(error, exceptions.PermissionDeniedError)
        return _CREDENTIALS if is_refused or _INSTANCE in str(error) else ""

    @property
    def _store(self) -> Any:
        require_own_threads()
        return self._opened

    @cached_property
    def _opened(self) -> Any:
        options = dict(self.options)
        if "anonymous" in options:
            options["skip_signature"] = options.pop("anonymous")
        plain = {"allow_http": _is_plain(self.url, options)}
        client = _TIMEOUTS | plain | options.pop("client_options", {})
        retry = _RETRIES | options.pop("retry_config", {})
        return self._make(self.url, client_options=client, retry_config=retry, **options)


class Web(Objects):
    """A folder of a web server that knows ranges; it can neither be written nor listed."""

    # from_url takes some web servers for buckets.
    _make: ClassVar[Callable[..., Any]] = staticmethod(obstore.store.HTTPStore.from_url)

    @override
    def put(self, key: str, data: bytes | bytearray) -> None:
        raise NotImplementedError

    @override
    def remove(self, key: str) -> None:
        raise NotImplementedError

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        raise NotImplementedError


def objects_at(location: str, options: Mapping[str, Any]) -> Objects:
    """A bucket or web server by its URL.

    Raises:
        StorageError: the URL has no such host or bucket, or an option is not legal.
    """
    is_web = urllib.parse.urlsplit(location).scheme in _WEB
    backend = Web(location, options) if is_web else Objects(location, options)
    try:
        _ = backend._opened  # noqa: SLF001 - a handle is made here, that a wrong option is told at once
    except Exception as error:
        message = f"cannot open {location}: {str(error).partition(chr(10))[0]}"
        raise StorageError(message) from error
    return backend


def _insist[T](ask: Callable[[], T]) -> T:
    for _ in range(_TRIES - 1):
        try:
            return ask()
        except exceptions.GenericError as error:
            if _CUT not in str(error):
                raise
    return ask()


def _is_plain(url: str, options: Mapping[str, Any]) -> bool:
    """Whether a user asked for a connection without TLS: by the URL, an option or the environment."""
    given = (str(options.get(key, "")) for key in ("endpoint", "endpoint_url", "aws_endpoint"))
    ambient = (os.environ.get(key, "") for key in _ENDPOINTS)
    return any(text.startswith("http://") for text in (url, *given, *ambient))
