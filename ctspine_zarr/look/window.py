"""The HU that are shown as black and white. Pure."""

from __future__ import annotations

from ctspine_zarr.errors import UnknownValue, number


def require_window(window: tuple[float, float]) -> tuple[float, float]:
    """The window, where it has two HU, the lower first.

    Raises:
        UnknownValue: it has not.
    """
    try:
        low, high = window
    except (TypeError, ValueError):
        message = f"window {window!r}; legal: two HU, the lower first"
        raise UnknownValue(message) from None
    legal = "two HU of at most 1e6, the lower first"
    high = number("window", high, legal, lambda hu: abs(hu) <= 1e6)
    return number("window", low, legal, lambda hu: -1e6 <= hu < high), high
