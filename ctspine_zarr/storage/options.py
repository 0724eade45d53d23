"""Options of buckets and web servers, sorted and checked before obstore sees them.

What obstore does not expect, its Rust code may panic of, on the terminal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from ctspine_zarr.concurrency.requests import SECONDS, legal_seconds
from ctspine_zarr.errors import StorageError
from ctspine_zarr.text import without_password

_OWN: Final = ("client_options", "retry_config", "timeout", "allow_http")
# Of obstore's client. Given beside the options of a store, they would make it panic.
_CLIENT: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "default_headers",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_max_frame_size",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)
_PREFIXES: Final = ("aws_", "google_", "azure_")
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_MOST_BASE: Final = 1000


@dataclass(frozen=True)
class Options:
    """What to tell obstore, and how long to wait.

    Attributes:
        seconds: until a request is given up, whatever it did until then.
        client: of connections.
        retries: of requests that fail.
        store: of the bucket.
    """

    seconds: float
    client: dict[str, Any]
    retries: dict[str, Any]
    store: dict[str, Any]

    @classmethod
    def of(cls, url: str, given: Mapping[str, Any], *, is_web: bool) -> Options:
        """The options that a user gave for a URL.

        Raises:
            StorageError: one is not legal.
        """
        seconds = legal_seconds(given.get("timeout", SECONDS))
        client = {name: value for key, value in given.items() if (name := _client_name(key))}
        store = {key: value for key, value in given.items() if key not in _OWN and not _client_name(key)}
        if is_web and store:
            message = f"option {next(iter(store))!r} for {without_password(url)}; legal: {', '.join(_OWN)}"
            raise StorageError(message)
        if "anonymous" in store:
            store["skip_signature"] = store.pop("anonymous")
        usual = _waits(seconds) | {"allow_http": _is_plain(url, given)}
        client = usual | client | _mapping(given, "client_options")
        return cls(seconds, client, _retries(given, seconds), store)


def _client_name(key: str) -> str | None:
    """What obstore's client calls an option; None where it is another's."""
    name = key.lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name if name in _CLIENT and key != "timeout" else None


def _waits(seconds: float) -> dict[str, Any]:
    """Timeouts within a request: a connection on which nothing moves is given up in time for another."""
    third = timedelta(seconds=seconds / 3)
    connect = min(third, timedelta(seconds=10))
    # The request's own deadline is kept by who asks, for it moves with what comes.
    return {"connect_timeout": connect, "read_timeout": third, "timeout": timedelta(hours=6)}


def _retries(given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What is asked again, 429, 5xx, lost connections, after 0.1 s, 0.2 s, ... with jitter.

    For half of the time: then the last failure is told before the deadline.
    """
    own = _mapping(given, "retry_config")
    longest = timedelta(seconds=seconds / 8)
    first = min(timedelta(seconds=0.1), longest)
    usual: dict[str, Any] = {"init_backoff": first, "max_backoff": longest, "base": 2}
    own["backoff"] = _legal_backoff(usual | _mapping(own, "backoff"))
    return {"max_retries": 100, "retry_timeout": timedelta(seconds=seconds / 2)} | own


def _legal_backoff(backoff: dict[str, Any]) -> dict[str, Any]:
    try:
        base = float(backoff["base"])
        is_legal = 1 < base <= _MOST_BASE
        is_legal &= timedelta(0) < backoff["init_backoff"] <= backoff["max_backoff"]
    except (TypeError, ValueError):
        is_legal = False
    if not is_legal:
        message = (
            f"backoff {backoff} in retry_config; legal: init_backoff above 0 and at most max_backoff, both "
            f"timedelta, and base above 1, at most {_MOST_BASE}"
        )
        raise StorageError(message)
    return backoff


def _mapping(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = options.get(name, {})
    if not isinstance(found, Mapping):
        message = f"option {name} is of type {type(found).__name__}; legal: a dictionary"
        raise StorageError(message)
    return dict(found)


def _is_plain(url: str, options: Mapping[str, Any]) -> bool:
    """Whether a user asked for a connection without TLS: by the URL, an option or the environment."""
    given = (str(options.get(key, "")) for key in ("endpoint", "endpoint_url", "aws_endpoint"))
    ambient = (os.environ.get(key, "") for key in _ENDPOINTS)
    return any(text.lower().startswith("http://") for text in (url, *given, *ambient))
