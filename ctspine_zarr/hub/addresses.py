"""Where the Hub's redirects lead, for as long as each holds: to read of a large file is then one request."""

from __future__ import annotations

import re
import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_MOST_KEPT: Final = 1 << 14
# Seconds, where neither the address nor the answer says how many; and at most, whatever they say.
_USUAL: Final = 300.0
_LONGEST: Final = 3_600.0
# Before the end: a request that is sent then still has to arrive, and clocks differ.
_MARGIN: Final = 30.0
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])")
_NO_STORE: Final = re.compile(r"(?:^|[,\s])no-store(?:$|[,\s])")


class Addresses:
    """Addresses of another host that files were found at, by their URL on the Hub; None of a file that the
    Hub gives itself.

    Threads may share it; a copy by pickle is empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def __reduce__(self) -> tuple[type[Addresses], tuple[()]]:
        # An address may be a signature that others are not to see.
        return Addresses, ()

    def get(self, url: str) -> str | None:
        """The address of a file; None where none is known, or it holds no more."""
        with self._lock:
            address, until = self._kept.get(url, (None, 0.0))
        return address if time.monotonic() < until else None

    def knows(self, url: str) -> bool:
        """Whether it is known where a file lies, be it on the Hub itself."""
        with self._lock:
            return time.monotonic() < self._kept.get(url, (None, 0.0))[1]

    def keep(self, url: str, address: str, headers: Mapping[str, str]) -> None:
        """Keep where a request for a file was led: for the time that the address or the redirect says.

        Args:
            url: of the file.
            address: that was given the answer; the file's own URL, or one of its host, is none to keep.
            headers: of the redirect, or of the answer where there was none.
        """
        is_elsewhere = origin(url) != origin(address)
        seconds = lifetime(address, headers) if is_elsewhere else _USUAL
        with self._lock:
            self._kept[url] = (address if is_elsewhere else None, time.monotonic() + seconds)
            self._kept.move_to_end(url)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def drop(self, url: str) -> None:
        """Keep the address of a file no longer."""
        with self._lock:
            self._kept.pop(url, None)


def lifetime(address: str, headers: Mapping[str, str]) -> float:
    """Seconds that an address may be used: less than its signature holds, or its redirect may be kept.

    The signature's end is in its parameters: `Expires` of CloudFront, `X-Amz-Date` and `X-Amz-Expires` of S3.
    """
    given = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    parameters = {name.lower(): values[-1] for name, values in given.items()}
    ends = [end for end in (_cloudfront(parameters), _s3(parameters)) if end is not None]
    if ends:
        return max(0.0, min(min(ends) - time.time() - _MARGIN, _LONGEST))
    control = headers.get("cache-control", "").lower()
    if _NO_STORE.search(control):
        return 0.0
    told = _MAX_AGE.search(control)
    return _USUAL if told is None else min(float(told[1]), _LONGEST)


def _cloudfront(parameters: Mapping[str, str]) -> float | None:
    return _number(parameters.get("expires", ""))


def _s3(parameters: Mapping[str, str]) -> float | None:
    seconds = _number(parameters.get("x-amz-expires", ""))
    try:
        signed = datetime.strptime(parameters.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return None if seconds is None else signed.timestamp() + seconds


def _number(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def origin(url: str) -> tuple[str, str]:
    """Scheme, and host with its port, of a URL."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower()
