"""Object stores and web servers, through obstore. The only module that knows it."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, override

import obstore
import obstore.store
import zarr.storage
from obstore import exceptions
from zarr.abc.store import Store

from ctspine_zarr.errors import StorageError
from ctspine_zarr.storage.backend import Backend, Span
from ctspine_zarr.storage.forks import require_own_threads
from ctspine_zarr.storage.requests import interruptibly

_WEB: Final = ("http", "https")
_WEB_OPTIONS: Final = ("client_options", "retry_config")

# 429, 5xx, timeouts, refused and dropped connections are asked again, a cut answer from where it was
# cut, after 0.1 s, 0.2 s, ... with jitter: for about half a minute.
_RETRIES: Final = {"max_retries": 13, "retry_timeout": timedelta(minutes=3)}
_TIMEOUTS: Final = {"timeout": timedelta(seconds=120), "connect_timeout": timedelta(seconds=10)}
# Of answers that obstore does not ask for again when they are cut: listings, and those of failures.
_CUT: Final = "response body"
_TRIES: Final = 4
# What obstore's stores say of a range that begins beyond the end.
_BEYOND: Final = ("416", "Wanted range")
# Asked for credentials where the environment has none.
_INSTANCE: Final = "169.254.169.254"
_CREDENTIALS: Final = (
    "; credentials come from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public "
    "bucket needs the storage option anonymous=true"
)
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Web(Backend):
    """A folder of a web server that knows ranges; it can neither be written nor listed.

    Each process makes a handle of its own, when it first asks.

    Attributes:
        url: of the folder.
        options: see `open_storage`.
    """

    url: str
    options: Mapping[str, Any] = field(repr=False)

    def __reduce__(self) -> tuple[type[Web], tuple[str, Mapping[str, Any]]]:
        return type(self), (self.url, self.options)

    @property
    @override
    def forks(self) -> bool:
        return False

    @property
    @override
    def is_listable(self) -> bool:
        return False

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
        except exceptions.BaseError as error:
            if not any(text in str(error) for text in _BEYOND):
                raise
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

    @cached_property
    def handle(self) -> Any:
        """The folder for obstore.

        Raises:
            Exception: obstore's own, where the URL or an option is not legal.
        """
        return self._open()

    def _open(self) -> Any:
        # from_url of all stores takes some web servers for buckets.
        return obstore.store.HTTPStore.from_url(
            self.url, client_options=self._client, retry_config=self._retries
        )

    @property
    def _client(self) -> Any:
        plain = {"allow_http": _is_plain(self.url, self.options)}
        return _TIMEOUTS | plain | self.options.get("client_options", {})

    @property
    def _retries(self) -> Any:
        return _RETRIES | self.options.get("retry_config", {})

    @property
    def _store(self) -> Any:
        require_own_threads()
        return self.handle


class Bucket(Web):
    """A bucket, or a folder of one."""

    @property
    @override
    def is_listable(self) -> bool:
        return True

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        return _insist(lambda: self._listed(prefix))

    @override
    def put(self, key: str, data: bytes | bytearray) -> None:
        # Several parts of a large object are sent at a time, and it appears when the last has come.
        _insist(lambda: obstore.put(self._store, key, memoryview(data)))

    @override
    def remove(self, key: str) -> None:
        # Google and Azure mind where there is nothing.
        with suppress(FileNotFoundError):
            _insist(lambda: obstore.delete(self._store, key))

    @override
    def advice(self, error: Exception) -> str:
        is_refused = isinstance(error, PermissionError | exceptions.UnauthenticatedError)
        is_refused |= isinstance(error, exceptions.PermissionDeniedError) or "403 Forbidden" in str(error)
        return _CREDENTIALS if is_refused or _INSTANCE in str(error) else ""

    @override
    def _open(self) -> Any:
        options = {key: value for key, value in self.options.items() if key not in _WEB_OPTIONS}
        if "anonymous" in options:
            options["skip_signature"] = options.pop("anonymous")
        return obstore.store.from_url(
            self.url, client_options=self._client, retry_config=self._retries, **options
        )

    def _listed(self, prefix: str) -> Mapping[str, int]:
        pages = obstore.list(self._store, prefix or None)
        return {found["path"]: found["size"] for page in pages for found in page}


def objects_at(location: str, options: Mapping[str, Any]) -> Web:
    """A bucket or web server by its URL.

    Raises:
        StorageError: the URL has no such host or bucket, or an option is not legal.
    """
    is_web = urllib.parse.urlsplit(location).scheme in _WEB
    unknown = [name for name in options if name not in _WEB_OPTIONS]
    if is_web and unknown:
        message = f"option {unknown[0]!r} for {location}; legal: {', '.join(_WEB_OPTIONS)}"
        raise StorageError(message)
    backend = Web(location, options) if is_web else Bucket(location, options)
    try:
        # A wrong option is told at once.
        _ = backend.handle
    except (KeyboardInterrupt, SystemExit):
        raise
    # What obstore does not know it may panic of, which is no Exception.
    except BaseException as error:
        given = f" (options {', '.join(options)})" if options else ""
        message = f"cannot open {location}{given}: {str(error).partition(chr(10))[0]}"
        raise StorageError(message) from error
    return backend


def _insist[T](ask: Callable[[], T]) -> T:
    """What is asked of obstore, again where it does not do so itself."""
    for _ in range(_TRIES - 1):
        try:
            return interruptibly(ask)
        except exceptions.GenericError as error:
            if _CUT not in str(error):
                raise
    return interruptibly(ask)


def _is_plain(url: str, options: Mapping[str, Any]) -> bool:
    """Whether a user asked for a connection without TLS: by the URL, an option or the environment."""
    given = (str(options.get(key, "")) for key in ("endpoint", "endpoint_url", "aws_endpoint"))
    ambient = (os.environ.get(key, "") for key in _ENDPOINTS)
    return any(text.lower().startswith("http://") for text in (url, *given, *ambient))
