"""Who may ask the viewer's server: who knows its whole address, which begins with a random token."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ctspine_zarr.publishing.web import Answer, Asked
from ctspine_zarr.viewer.answers import HEADERS

_BYTES: Final = 16
_REFUSAL: Final = Answer(
    b"no token, or not this server's; legal: the whole address that was said when it began\n",
    403,
    {**HEADERS, "Content-Type": "text/plain; charset=utf-8"},
)


def new_token() -> str:
    """A token that nobody guesses: 128 random bits, as 22 characters that a URL may have."""
    return secrets.token_urlsafe(_BYTES)


def below_token(token: str, answer: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """What answers below `/TOKEN/` as `answer` does below `/`, and anywhere else with status 403.

    A port of this machine is open to everybody who is logged in there, and its number is no secret.

    Args:
        token: as `new_token` makes them.
        answer: is asked without it.
    """

    def guarded(asked: Asked) -> Answer:
        first, slash, rest = asked.path.removeprefix("/").partition("/")
        # In a time that tells nothing of the characters that were right.
        is_known = secrets.compare_digest(first.encode(), token.encode())
        return answer(replace(asked, path=f"/{rest}")) if slash and is_known else _REFUSAL

    return guarded
