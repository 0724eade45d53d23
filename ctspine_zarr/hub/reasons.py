"""The reasons for which the Hub does not give what is asked for, as a person is told them."""

from __future__ import annotations

from typing import Final

from huggingface_hub import constants, errors

_NOT_ALLOWED: Final = (401, 403)


def reason(error: Exception) -> str:
    """What is the matter with a request, in a line, and what to do about it."""
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision; a slash in its name is written %2F"
    if isinstance(error, errors.GatedRepoError):
        return (
            "it is gated: accept its conditions on its page, then run `hf auth login` or set HF_TOKEN to a "
            "token of yours"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such dataset, or it is private or gated: run `hf auth login` or set HF_TOKEN"
    if constants.is_offline_mode():
        return (
            f"it is not in the cache at {constants.HF_HUB_CACHE}, and the Hub is not asked (HF_HUB_OFFLINE)"
        )
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in _NOT_ALLOWED:
        return f"{told}; run `hf auth login`, or set HF_TOKEN to a token that may do that"
    # Of what kept it from sending a file the client itself says no more than that.
    cause = error.__cause__ if isinstance(error, RuntimeError) else None
    return f"{told} {reason(cause)}" if isinstance(cause, Exception) else told
