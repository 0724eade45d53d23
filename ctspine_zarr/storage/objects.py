"""Buckets and web servers, through obstore. The only module that knows it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final, override

import obstore
import obstore.store
from obstore import exceptions

from ctspine_zarr.concurrency.requests import PART, Ask, Deadline, arriving, within
from ctspine_zarr.errors import StorageError
from ctspine_zarr.memory.reuse import received
from ctspine_zarr.storage.backend import Backend, Span
from ctspine_zarr.storage.fork_safety import require_own_threads
from ctspine_zarr.storage.keys import require_size
from ctspine_zarr.storage.options import Options
from ctspine_zarr.text import without_password

_WEB: Final = ("http", "https")

# Of answers that obstore does not ask for again when they are cut: listings, and those of failures.
_CUT: Final = "response body"
# Of an answer, in bytes: a larger one is taken in parts of no less.
_SMALL: Final = 1 << 18
_TRIES: Final = 4
_PAGE: Final = 1000
# What obstore's stores say of a range that begins beyond the end.
_BEYOND: Final = ("416", "Wanted range")
_RETRIED: Final = "retry_timeout"
# What buckets that are shown as websites tell browsers, which run no script and show no page of another kind.
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
}
# Asked for credentials where the environment has none.
_INSTANCE: Final = "169.254.169.254"
_LEGAL: Final = "legal: a bucket's or host's URL, and options that obstore knows of its kind"
_CREDENTIALS: Final = (
    "; credentials come from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public "
    "bucket needs the storage option anonymous=true"
)


@dataclass(frozen=True)
class Remote(Backend):
    """Objects that are asked for over HTTP.

    A request that has not ended after `timeout` seconds, retries included, is given up. Where it
    moves more than 16 MiB, it has that time for each 16 MiB.

    Each process makes a handle of its own, when it first asks.

    Attributes:
        url: of the bucket, web server or a folder there.
        options: see `open_storage`.
    """

    url: str
    options: Mapping[str, Any] = field(repr=False)

    def __reduce__(self) -> tuple[type[Remote], tuple[str, Mapping[str, Any]]]:
        return type(self), (self.url, self.options)

    @property
    @override
    def is_fork_safe(self) -> bool:
        return False

    @override
    def get(self, key: str, most: int) -> bytes | None:
        try:
            return bytes(self._ask(partial(self._read, key, None, most)))
        except FileNotFoundError:
            return None

    @override
    def ranges(self, key: str, spans: Iterable[Span]) -> Iterator[bytes | memoryview]:
        asks = [partial(self._span, key, span) for span in spans]
        yield from within(self.known.seconds, [self._insisting(ask) for ask in asks])

    @override
    def size(self, key: str) -> int | None:
        try:
            return self._ask(lambda _: self._size(key))
        except FileNotFoundError:
            return None

    @override
    def advice(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return "; the option timeout=SECONDS allows more"
        is_retried = _RETRIED in str(error)
        return f"; given up: a request may take {self.known.seconds:g} s" if is_retried else ""

    @cached_property
    def known(self) -> Options:
        """The options as obstore takes them.

        Raises:
            StorageError: one is not legal.
        """
        return Options.of(self.url, self.options, is_web=isinstance(self, Web))

    @cached_property
    def handle(self) -> Any:
        """The folder for obstore.

        Raises:
            Exception: obstore's own, where the URL or an option is not legal.
        """
        return self._open(self.known.client)

    @property
    def _store(self) -> Any:
        require_own_threads()
        return self.handle

    @abstractmethod
    def _open(self, client: Any) -> Any:
        """A handle whose connections have these options."""

    def _span(self, key: str, span: Span, deadline: Deadline) -> bytes | memoryview:
        start, stop = span
        if start == stop:
            return b""
        try:
            return self._read(key, span, stop - start, deadline)
        except FileNotFoundError:
            return b""
        except exceptions.BaseError as error:
            if not any(text in str(error) for text in _BEYOND) or self._size(key) > start:
                raise
            return b""

    def _size(self, key: str) -> int:
        return int(obstore.head(self._store, key)["size"])

    def _read(self, key: str, span: Span | None, most: int, deadline: Deadline) -> bytes | memoryview:
        """An object of up to `most` bytes, or a span of that length.

        Its bytes are taken as they come: no room is made for what is only announced.
        """
        options: Any = {} if span is None else {"range": span}
        stream = None
        found = obstore.get(self._store, key, options=options)
        try:
            if span is None:
                require_size(found.meta["size"], most)
            first, last = found.range
            left = min(last - first, most)
            stream = found.stream(min_chunk_size=1 if left <= _SMALL else _SMALL)
            # Documents are few, and kept: memory that serves again is for what many spans bring.
            join = b"".join if span is None else partial(received, most=left)
            return join(arriving(stream, left, deadline))
        finally:
            # Whoever keeps the error keeps this frame, which must not keep the connection.
            del found, stream

    def _ask[T](self, ask: Ask[T], *, parts: int = 1) -> T:
        [answer] = within(self.known.seconds * parts, [self._insisting(ask)])
        return answer

    @staticmethod
    def _insisting[T](ask: Ask[T]) -> Ask[T]:
        """The same, asked again where obstore does not do so itself."""

        def insist(deadline: Deadline) -> T:
            for _ in range(_TRIES - 1):
                try:
                    return ask(deadline)
                except exceptions.GenericError as error:
                    if _CUT not in str(error):
                        raise
            return ask(deadline)

        return insist


class Web(Remote):
    """A folder of a web server that knows ranges; it can neither be written nor listed."""

    @property
    @override
    def is_listable(self) -> bool:
        return False

    @override
    def _open(self, client: Any) -> Any:
        # from_url of all stores takes some web servers for buckets.
        retries: Any = self.known.retries
        return obstore.store.HTTPStore.from_url(self.url, client_options=client, retry_config=retries)


class Bucket(Remote):
    """A bucket, or a folder of one."""

    @override
    def sizes(self, prefix: str) -> Mapping[str, int]:
        def listed(deadline: Deadline) -> Mapping[str, int]:
            sizes: dict[str, int] = {}
            for page in obstore.list(self._store, prefix or None, chunk_size=_PAGE):
                sizes |= {found["path"]: found["size"] for found in page}
                deadline.put_off()
            return sizes

        return self._ask(listed)

    @override
    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        def send(_: Deadline) -> None:
            # Several parts of a large object are sent at a time, and it appears when the last has come.
            obstore.put(self._store, key, memoryview(data), attributes=_attributes(key))

        self._ask(send, parts=1 + len(data) // PART)

    @override
    def remove(self, key: str) -> None:
        def delete(_: Deadline) -> None:
            obstore.delete(self._store, key)

        # Google and Azure mind where there is nothing.
        with suppress(FileNotFoundError):
            self._ask(delete)

    @override
    def advice(self, error: Exception) -> str:
        is_refused = isinstance(error, PermissionError | exceptions.UnauthenticatedError)
        is_refused |= isinstance(error, exceptions.PermissionDeniedError) or "403 Forbidden" in str(error)
        return _CREDENTIALS if is_refused or _INSTANCE in str(error) else super().advice(error)

    @override
    def _open(self, client: Any) -> Any:
        retries: Any = self.known.retries
        return obstore.store.from_url(
            self.url, client_options=client, retry_config=retries, **self.known.store
        )


def _attributes(key: str) -> dict[str, str]:
    """What a bucket is told of an object beside its bytes."""
    kind = _TYPES.get(key.rpartition(".")[2])
    return {} if kind is None else {"Content-Type": kind}


def objects_at(location: str, options: Mapping[str, Any]) -> Remote:
    """A bucket or web server by its URL.

    Raises:
        StorageError: the URL has no such host or bucket, or an option is not legal.
    """
    kind = Web if location.partition("://")[0] in _WEB else Bucket
    backend = kind(location, options)
    try:
        # A wrong option is told at once.
        _ = backend.handle
    except (KeyboardInterrupt, SystemExit, StorageError):
        raise
    # What obstore does not know it may panic of, which is no Exception.
    except BaseException as error:
        given = f" (options {', '.join(options)})" if options else ""
        said = f"cannot open {location}{given}: {str(error).partition(chr(10))[0]}"
        message = f"{without_password(said)}; {_LEGAL}"
        raise StorageError(message) from error
    return backend
