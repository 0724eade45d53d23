"""Vertebrae as CTSpine1K and VerSe number them: 1-7 C1-C7, 8-19 T1-T12, 20-24 L1-L5, 25 L6."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from ctspine_zarr.format.label_map import VERSE

_LAST: Final = 25

VERTEBRAE: Final = MappingProxyType({value: name for name, value in VERSE.items() if value <= _LAST})
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
