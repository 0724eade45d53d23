"""CTSpine1K's split list: which case belongs to which split. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ctspine_zarr.datasets.naming import SUFFIX
from ctspine_zarr.errors import SourceError
from ctspine_zarr.format.names import printable

SPLITS: Final = MappingProxyType({"trainset": "train", "test_public": "validation", "test_private": "test"})
"""Section headers of `data_split.txt` and the split each one names here and on the Hub."""

type SplitList = Mapping[str, tuple[str, ...]]
"""Case id -> the splits whose section names it, in order of first appearance."""


def parse_splits(text: str) -> SplitList:
    """Read the split list: section headers `trainset:`, `test_public:`, `test_private:`.

    Line ends of any kind, blank lines and a byte-order mark are accepted; a name may bear
    `.nii.gz` or not; a name repeated within its section counts once.

    Raises:
        SourceError: a header that is none of the three, a name before the first header, or
            no name at all.
    """
    sections: dict[str, tuple[str, ...]] = {}
    for case, split in _entries(text):
        splits = sections.get(case, ())
        sections[case] = splits if split in splits else (*splits, split)
    if not sections:
        message = f"the split list names no case; legal: sections {_legal_headers()}"
        raise SourceError(message)
    return sections


def _entries(text: str) -> Iterator[tuple[str, str]]:
    split = None
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        entry = line.strip()
        if entry.endswith(":"):
            split = _split_of(entry.removesuffix(":").strip(), number)
        elif entry and split is None:
            message = f"split list, line {number}: '{printable(entry)}' before any of {_legal_headers()}"
            raise SourceError(message)
        elif entry and split is not None:
            yield entry.removesuffix(SUFFIX), split


def _split_of(header: str, number: int) -> str:
    if header not in SPLITS:
        shown = printable(header)
        message = f"split list, line {number}: unknown section '{shown}'; legal: {_legal_headers()}"
        raise SourceError(message)
    return SPLITS[header]


def _legal_headers() -> str:
    return ", ".join(f"{header}:" for header in SPLITS)
