"""Requests that read from the Hub, whose answers are of a limited size and come before a deadline.

The Hub's own client takes an answer whole, however long it is, and waits for each part of it anew. Where
it asks again it does so unseen, after the deadline too, and closes the connections of all other threads.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final

from huggingface_hub import constants, errors
from huggingface_hub.utils import get_session, hf_raise_for_status, parse_ratelimit_headers

from ctspine_zarr.concurrency.requests import Ask, Deadline, arriving
from ctspine_zarr.hub.addresses import Addresses, origin

_OK: Final = 200
_PART: Final = 206
_NO_SUCH_RANGE: Final = 416
# Of an address that was good once: it is signed for a time, and the file may be elsewhere since.
_NO_MORE: Final = (400, 401, 403, 404, 410)
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
# Of requests to other hosts than the Hub's, which are not told who asks.
_ANONYMOUS: Final[Mapping[str, str]] = {}
_MAY_PASS: Final = (408, 429, 500, 502, 503, 504)
# Seconds before it is asked again; where the Hub says how many, those, but no more than its limits last.
_WAITS: Final = (1, 2, 4, 8, 8)
_LONGEST_LIMIT: Final = 300
_MOST_REDIRECTS: Final = 20
# Bytes of an answer that says where to look, or what is the matter.
_MOST_SAID: Final = 1 << 16
# Bytes of a page, which lists a thousand files, and pages of a listing.
_MOST_PAGE: Final = 1 << 24
_MOST_PAGES: Final = 1_000
_MOST_LISTED: Final = 1 << 30
# Characters of an address in a message.
_MOST_URL: Final = 200
# Bytes of a file that have to come in the time of a request, where as many may come as there are.
_PART_OF_FILE: Final = 1 << 20


def file_bytes(
    url: str, headers: Mapping[str, str], span: tuple[int, int], addresses: Addresses, deadline: Deadline
) -> bytes | None:
    """Bytes of a file on the Hub from start to stop, fewer where it ends; None where there is no such file.

    No more than these are brought to memory, whatever comes. What may pass is asked for again.

    Args:
        url: of the file.
        headers: of the request, by which it is known who asks; no other host is told.
        span: start and stop.
        addresses: where files were found; one that is refused there is looked for anew, once.
        deadline: kept, and put off by as long as the Hub says to wait.

    Raises:
        Exception: the client's own, or TimeoutError.
    """
    try:
        return patiently(partial(_part_anywhere, url, headers, span, addresses), deadline)
    except errors.EntryNotFoundError:
        return None


def rest_of_file(
    url: str, headers: Mapping[str, str], start: int, size: int, deadline: Deadline
) -> Iterator[memoryview]:
    """Bytes of a file on the Hub from a position on, as they come; asked for once.

    Args:
        url: of the file.
        headers: of the request.
        start: the position.
        size: of the file, as it is recorded; a byte more is taken where there is one. Fewer come where the
            connection ends without a word.
        deadline: put off with each MiB that comes.

    Raises:
        EOFError: the file is shorter, as the answer says; what it has has come.
        Exception: the client's own, or TimeoutError.
    """
    ranged = {"Range": f"bytes={start}-"} if start else {}
    with _opened(url, {**headers, **ranged}, deadline) as answer:
        if answer.status_code != _NO_SUCH_RANGE:
            _require_success(answer, deadline)
            # As in `_part`.
            skipped = 0 if answer.status_code == _PART else start
            most = skipped + size + 1 - start
            yield from _after(skipped, arriving(answer.iter_raw(), most, deadline, _PART_OF_FILE))
        if _told_size(answer, size) < size:
            message = f"{url} is shorter than the {size} bytes that are recorded of it"
            raise EOFError(message)


def find(url: str, headers: Mapping[str, str], addresses: Addresses, deadline: Deadline) -> None:
    """Have it known where a file lies, before several of its parts are asked for together.

    Args: as of `file_bytes`.

    Raises: as `file_bytes`.
    """

    def ask(deadline: Deadline) -> None:
        with _opened(url, _ranged(headers, (0, 1)), deadline, leave=False) as answer:
            if answer.next_request is None and answer.status_code != _NO_SUCH_RANGE:
                _require_success(answer, deadline)
            _keep(addresses, url, answer.next_request or answer.request, answer.headers)

    try:
        patiently(ask, deadline)
    except errors.EntryNotFoundError:
        return


def named_bytes(
    url: str, headers: Mapping[str, str], span: tuple[int, int], deadline: Deadline
) -> tuple[bytes | None, str | None]:
    """As `file_bytes`, of a URL that has a revision's name; and the commit that the Hub says it is of."""
    commits: list[str | None] = []

    def see(first: Any, _: Any) -> None:
        commits.append(_commit(first))

    try:
        data = patiently(partial(_part, url, headers, span, see), deadline)
    except errors.EntryNotFoundError as error:
        return None, _commit(getattr(error, "response", None))
    return data, commits[-1] if commits else None


def pages[Page](
    url: str, headers: Mapping[str, str], parse: Callable[[bytes], Page], deadline: Deadline
) -> Iterator[Page]:
    """The documents of the Hub's API at a URL, and at those that each says to be the next.

    What may pass is asked for again. The headers say who asks, so a next one is asked for only where the
    first was: a page may be of another host, to which the Hub's redirect led.

    Args:
        url: of the first.
        headers: of the requests.
        parse: makes something of a document.
        deadline: of each page; see `file_bytes`.

    Raises:
        ValueError: a page, or all of them, are longer than any listing, or the next one is of another origin.
        Exception: the client's own, `parse`'s or TimeoutError.
    """
    following: str | None = url
    left = _MOST_LISTED
    for _ in range(_MOST_PAGES):
        if following is None:
            return
        _require_same_origin(following, url)
        page, size, following = patiently(partial(_page, following, headers, parse), deadline)
        deadline.put_off()
        left -= size
        if left < 0:
            break
        yield page
    message = f"{url} has more than {_MOST_PAGES} pages or {_MOST_LISTED} bytes; legal: fewer"
    raise ValueError(message)


def may_pass(error: BaseException) -> bool:
    """Whether an error of the Hub's client has a cause that may be gone soon."""
    if constants.is_offline_mode():
        return False
    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code in _MAY_PASS
    if isinstance(error, errors.LocalEntryNotFoundError | RuntimeError):
        # What the client makes of whatever kept it from asking for a file, or from sending one.
        return error.__cause__ is None or may_pass(error.__cause__)
    # Neither page nor answer is JSON where a proxy says something of its own.
    return isinstance(error, ConnectionError | TimeoutError | errors.HTTPError | json.JSONDecodeError)


def patiently[Answer](ask: Ask[Answer], deadline: Deadline) -> Answer:
    """What is asked for, asked again after a wait where what went wrong may pass and there is time."""
    for wait in _WAITS:
        try:
            return ask(deadline)
        except Exception as error:
            if not _has_waited(error, wait, deadline):
                raise
    return ask(deadline)


def _part_anywhere(
    url: str, headers: Mapping[str, str], span: tuple[int, int], addresses: Addresses, deadline: Deadline
) -> bytes:
    """A part of a file from where it was found before, else by way of the Hub."""

    def keep(first: Any, last: Any) -> None:
        _keep(addresses, url, last.request, first.headers)

    known = addresses.get(url)
    if known is None:
        return _part(url, headers, span, keep, deadline)
    try:
        return _part(known, _ANONYMOUS, span, _ignore, deadline)
    except Exception as error:
        addresses.drop(url)
        if not (isinstance(error, errors.HfHubHTTPError) and error.response.status_code in _NO_MORE):
            raise
    return _part(url, headers, span, keep, deadline)


def _part(
    url: str,
    headers: Mapping[str, str],
    span: tuple[int, int],
    see: Callable[[Any, Any], None],
    deadline: Deadline,
) -> bytes:
    """A part of a file; `see` is told of the first answer and of the last, which has it."""
    start, stop = span
    with _opened(url, _ranged(headers, span), deadline) as answer:
        if answer.status_code == _NO_SUCH_RANGE:
            return b""
        _require_success(answer, deadline)
        see(answer.history[0] if answer.history else answer, answer)
        # A mirror that does not know ranges gives what is before them too.
        skipped = 0 if answer.status_code == _PART else start
        return b"".join(_after(skipped, arriving(answer.iter_raw(), skipped + stop - start, deadline)))


def _page[Page](
    url: str, headers: Mapping[str, str], parse: Callable[[bytes], Page], deadline: Deadline
) -> tuple[Page, int, str | None]:
    """A page, its bytes, and where the next one is."""
    with _opened(url, headers, deadline) as answer:
        _require_success(answer, deadline)
        page = b"".join(arriving(answer.iter_raw(), _MOST_PAGE + 1, deadline))
        following = answer.links.get("next", {}).get("url")
    if len(page) > _MOST_PAGE:
        message = f"{url} is a page of more than {_MOST_PAGE} bytes; legal: fewer"
        raise ValueError(message)
    return parse(page), len(page), following


def _require_same_origin(following: str, url: str) -> None:
    if origin(following) != origin(url):
        message = f"{url} has its next page at {following[:_MOST_URL]!r}; legal: one at the same origin"
        raise ValueError(message)


def _after(skipped: int, parts: Iterable[memoryview]) -> Iterator[memoryview]:
    """Parts without so many bytes at their beginning; what is skipped is not held."""
    for part in parts:
        if len(part) > skipped:
            yield part[skipped:]
        skipped = max(0, skipped - len(part))


def _keep(addresses: Addresses, url: str, request: Any, headers: Mapping[str, str]) -> None:
    """Keep where a file lies, unless who asks was told there."""
    is_told = "authorization" in request.headers
    addresses.keep(url, url if is_told else str(request.url), headers)


def _ignore(first: Any, last: Any) -> None:
    """Nothing is to be kept."""


def _ranged(headers: Mapping[str, str], span: tuple[int, int]) -> dict[str, str]:
    return {**headers, "Range": f"bytes={span[0]}-{span[1] - 1}"}


def _told_size(answer: Any, otherwise: int) -> int:
    """Bytes of a file, as an answer to a request for a part of it says."""
    told = str(answer.headers.get("content-length", "")) if answer.status_code == _OK else ""
    if answer.status_code in {_PART, _NO_SUCH_RANGE}:
        told = str(answer.headers.get("content-range", "")).rpartition("/")[2]
    return int(told) if _SIZE.fullmatch(told) else otherwise


def _commit(answer: Any) -> str | None:
    """The commit that an answer of the Hub says it is of; None where it says none."""
    told = "" if answer is None else str(answer.headers.get("x-repo-commit", ""))
    return told if _COMMIT.fullmatch(told) else None


@contextmanager
def _opened(url: str, headers: Mapping[str, str], deadline: Deadline, *, leave: bool = True) -> Iterator[Any]:
    """The answer, of which only the head has come, from where redirects lead; its history has these.

    Without `leave` it may be a redirect to another host, which is not asked.
    """
    client = get_session()
    # Compressed, a part would not be that of the file, nor a limit one of what it inflates to.
    wanted = {**headers, "Accept-Encoding": "identity"}
    request = client.build_request("GET", url, headers=wanted, timeout=deadline.seconds / 3)
    passed: list[Any] = []
    for _ in range(_MOST_REDIRECTS):
        # The client itself would take all of what a redirect says.
        answer = client.send(request, stream=True, follow_redirects=False)
        following = answer.next_request
        if following is None or not (leave or origin(str(following.url)) == origin(str(request.url))):
            with closing(answer):
                _require_plain(answer)
                answer.history = passed
                yield answer
            return
        request = following
        _said(answer, deadline)
        passed.append(answer)
    message = f"{url} leads from one place to another {_MOST_REDIRECTS} times; legal: fewer"
    raise errors.HTTPError(message)


def _said(answer: Any, deadline: Deadline) -> bytes:
    """The beginning of an answer, which is then closed."""
    with closing(answer):
        return b"".join(arriving(answer.iter_raw(), _MOST_SAID, deadline))


def _require_success(answer: Any, deadline: Deadline) -> None:
    """Raise what the client makes of a failure, of which it would take all that comes."""
    if answer.is_success:
        return
    headers = {key: value for key, value in answer.headers.items() if key.lower() != "content-encoding"}
    said = _said(answer, deadline)
    hf_raise_for_status(
        type(answer)(answer.status_code, headers=headers, content=said, request=answer.request)
    )
    message = f"{answer.request.url} answers with status {answer.status_code}, which says nothing"
    raise errors.HTTPError(message)


def _require_plain(answer: Any) -> None:
    """Refuse what a server has encoded though it was not asked to: a part would be no part of the file."""
    encoding = str(answer.headers.get("content-encoding", "identity"))
    if answer.is_success and encoding.lower() != "identity":
        message = f"{answer.request.url} answers encoded as {encoding}; legal: as it is"
        raise ValueError(message)


def _has_waited(error: Exception, wait: float, deadline: Deadline) -> bool:
    """Whether something may pass and there was time to wait for it."""
    told = _told_wait(error)
    if told is not None:
        deadline.extend(told)
        wait = told
    if not may_pass(error) or deadline.left <= wait:
        return False
    time.sleep(wait)
    return True


def _told_wait(error: Exception) -> float | None:
    """Seconds that the Hub says to wait, where it does; it rounds them."""
    if not isinstance(error, errors.HfHubHTTPError) or not may_pass(error):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    told = str(headers.get("retry-after", ""))
    if limit is not None and limit.remaining == 0:
        told = str(limit.reset_in_seconds)
    is_number = told.isascii() and told.isdigit()
    return 1 + min(int(told[:9]), _LONGEST_LIMIT) if is_number else None
