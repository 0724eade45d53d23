"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Bytes in decimal units, three digits or more: `512 bytes`, `4.65 MB`, `150 GB`."""
    unit = 0
    while abs(count) >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or abs(count) >= 100 else 1 if abs(count) >= 10 else 2
    return f"{count:,.{digits}f} {_UNITS[unit]}"
