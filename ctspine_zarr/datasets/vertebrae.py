"""Vertebrae as CTSpine1K and VerSe number them: 1-7 C1-C7, 8-19 T1-T12, 20-24 L1-L5, 25 L6."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_NAMES: Final = [f"{region}{i}" for region, n in (("C", 7), ("T", 12), ("L", 6)) for i in range(1, n + 1)]

VERTEBRAE: Final = MappingProxyType(dict(enumerate(_NAMES, start=1)))
"""Label value -> vertebra; 0 is background."""

LABELS: Final = MappingProxyType({name: value for value, name in VERTEBRAE.items()})
"""Vertebra -> label value."""

REGIONS: Final = MappingProxyType(
    {
        "cervical": tuple(range(1, 8)),
        "thoracic": tuple(range(8, 20)),
        "lumbar": tuple(range(20, 25)),
        "L6": (25,),
    }
)
"""Region of the spine -> its label values; a sixth lumbar vertebra is a class of its own."""
