"""Where names stand beside what they name, so that none covers another. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], height: float, end: float) -> list[float]:
    """Tops of lines of text, as near to where each is wanted as leaves them one below the other.

    Args:
        wanted: the tops, downwards; as many as fit: `len(wanted) * height <= end`.
        height: of a line.
        end: where the last line must have ended; the first does not begin above 0.
    """
    tops: list[float] = []
    for top in wanted:
        tops.append(max(top, tops[-1] + height if tops else 0.0))
    limit = end
    for at in reversed(range(len(tops))):
        tops[at] = max(0.0, min(tops[at], limit - height))
        limit = tops[at]
    return tops


def thinned[T](items: Sequence[T], most: int) -> list[T]:
    """Every first, second or n-th item, the least n with which there are no more than `most`."""
    if most < 1:
        return []
    return list(items[:: -(-len(items) // most) or 1])
