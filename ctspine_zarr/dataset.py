"""Facts of CTSpine1K: its splits, sources, labels, transitional cases, licence and citation.

Counted from the authors' split list and stated by the dataset's card and paper
(Deng et al., arXiv:2105.14711).
"""

from __future__ import annotations

import re
from types import MappingProxyType

NAME = "CTSpine1K"
LICENCE = "CC-BY-NC-SA-4.0"
LICENCE_NOTE = (
    "Attribution, non-commercial, share-alike: a store derived from CTSpine1K carries the same licence."
)
CITATION = (
    "Deng, Y., Wang, C., Hui, Y., et al. CTSpine1K: A Large-Scale Dataset for Spinal Vertebrae "
    "Segmentation in Computed Tomography. arXiv:2105.14711."
)

SPLITS = MappingProxyType({"trainset": "train", "test_public": "validation", "test_private": "test"})
"""Section headers of `data_split.txt` and the split each one names here and on the Hub."""

SPLIT_NAMES = tuple(SPLITS.values())

SOURCE_PATTERNS = MappingProxyType(
    {
        "COLONOG": re.compile(r"1\.3\.6\.1\.4\.1\.9328\.50\.4\.\d+|CTC-\d+"),
        "COVID-19": re.compile(r"volume-covid19-.+_ct"),
        "HNSCC-3DCT-RT": re.compile(r"HN_\w+"),
        "MSD-T10": re.compile(r"liver_\d+"),
    }
)
"""The four source datasets and the form of their case ids."""

SOURCE_NAMES = tuple(SOURCE_PATTERNS)

VERTEBRAE = MappingProxyType(
    dict(
        enumerate(
            [f"C{i}" for i in range(1, 8)] + [f"T{i}" for i in range(1, 13)] + [f"L{i}" for i in range(1, 7)],
            start=1,
        )
    )
)
"""Label value -> vertebra: 1-7 C1-C7, 8-19 T1-T12, 20-24 L1-L5, 25 L6; 0 is background."""

LABELS = MappingProxyType({name: number for number, name in VERTEBRAE.items()})
"""Vertebra -> label value."""

MAX_LABEL = max(VERTEBRAE)

REGIONS = MappingProxyType(
    {
        "cervical": range(1, 8),
        "thoracic": range(8, 20),
        "lumbar": range(20, 25),
        "L6": range(25, 26),
    }
)
"""Region of the spine -> its label values; a sixth lumbar vertebra is a class of its own."""

_COLONOG = "1.3.6.1.4.1.9328.50.4."
_LUMBARIZED = "0004 0067 0149 0167 0175 0189 0215 0261 0267 0344 0401 0587 0666 0672 0699 0737"
_SACRALIZED = "0064 0104 0107 0110 0537 0554 0555 0615 0721"
TRANSITIONAL = MappingProxyType(
    {"liver_106": "lumbarization", "liver_83": "sacralization", "liver_93": "sacralization"}
    | {_COLONOG + number: "lumbarization" for number in _LUMBARIZED.split()}
    | {_COLONOG + number: "sacralization" for number in _SACRALIZED.split()}
)
"""Case id -> kind of transitional vertebra, as the card lists them.

The `verse*` names it lists besides belong to another dataset and are in no split.
"""


def source_of(case: str) -> str | None:
    """The source dataset that `case` is named after, or None where its form is unknown."""
    matches = (name for name, pattern in SOURCE_PATTERNS.items() if pattern.fullmatch(case))
    return next(matches, None)
