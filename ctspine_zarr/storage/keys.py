"""Keys, the names of a store's objects, and what one read may ask for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ctspine_zarr.storage.backend import Span

MOST_BYTES: Final = 1 << 32
"""The longest object or range that is read where nobody says how long it may be."""

_ILLEGAL: Final = re.compile(
    r"(?:\A|/)\.{0,2}(?:/|\Z)"  # an absolute path, and a name that is empty, '.' or '..'
    r"|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]"  # what breaks a line, a file system or UTF-8
)
_LEGAL: Final = (
    "legal: names with '/' between them, none empty, '.' or '..', without backslashes and control characters"
)


@lru_cache(maxsize=1 << 14)
def is_key(key: str) -> bool:
    """Whether a text names an object of a store, and so nothing outside of it, wherever the store lies."""
    return _ILLEGAL.search(key) is None


def require_key(key: object) -> None:
    """Do nothing where `key` is one.

    Raises:
        ValueError: it is not; see `is_key`.
    """
    if not isinstance(key, str) or not is_key(key):
        message = f"it is no key of a store; {_LEGAL}"
        raise ValueError(message)


def require_prefix(prefix: object) -> None:
    """Do nothing where `prefix` is empty, or a key and a slash.

    Raises:
        ValueError: it is neither.
    """
    if prefix != "" and not (isinstance(prefix, str) and prefix.endswith("/") and is_key(prefix[:-1])):
        message = f"it is no prefix of keys; legal: nothing, or a key and a slash; of a key, {_LEGAL}"
        raise ValueError(message)


def checked(span: Span) -> Span:
    """The span, where it is one that a read may ask for.

    Raises:
        ValueError: it is not.
    """
    start, stop = span
    if not 0 <= start <= stop <= start + MOST_BYTES:
        message = f"bytes {start} to {stop} are asked for; legal: up to {MOST_BYTES}, from 0 on and in order"
        raise ValueError(message)
    return span


def require_size(size: int, most: int) -> None:
    """Do nothing where an object of `size` bytes may be read.

    Raises:
        ValueError: it is longer than `most` bytes.
    """
    if size > most:
        message = f"it has {size} bytes; legal: at most {most}"
        raise ValueError(message)
