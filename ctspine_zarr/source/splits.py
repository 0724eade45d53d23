"""The authors' split list: which case belongs to which split. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ctspine_zarr.dataset import SPLITS
from ctspine_zarr.errors import SourceError

SUFFIX = ".nii.gz"


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
            message = f"split list, line {number}: {entry!r} before any of {_legal_headers()}"
            raise SourceError(message)
        elif entry and split is not None:
            yield entry.removesuffix(SUFFIX), split


def _split_of(header: str, number: int) -> str:
    if header not in SPLITS:
        message = f"split list, line {number}: unknown section {header!r}; legal: {_legal_headers()}"
        raise SourceError(message)
    return SPLITS[header]


def _legal_headers() -> str:
    return ", ".join(f"{header}:" for header in SPLITS)
