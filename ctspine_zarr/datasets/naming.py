"""Files of cases found by their names. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ctspine_zarr.errors import CaseRefused

SUFFIX: Final = ".nii.gz"
"""What the name of a volume or mask ends in."""

CASE: Final = r"(?P<case>[^/.][^/]*)"
"""Part of a pattern: a case's id. Not `._x`, in which macOS keeps what other systems have no place for."""

ENDING: Final = r"(?P<ending>(?i:\.nii(?:\.gz)?))"
"""Part of a pattern: the end of a name, legal or not, so that `x.nii` and `x.NII.GZ` can be named."""


class FilesMissing(CaseRefused):
    """A case lacks files: `names` are the ones that would be legal."""

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message, names)
        self.names = names


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file whose name says what it is.

    Attributes:
        path: below the source.
        parts: the named groups of the pattern that it matches, `place`, `case` and `ending` among them.
    """

    path: str
    parts: Mapping[str, str]

    @property
    def place(self) -> str:
        """The folder, or part of it, that may hold one file for a case."""
        return self.parts["place"]


type Found = Mapping[str, Sequence[NamedFile]]
"""Case id -> the files that are named after it, in order of path."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that a case must have.

    Attributes:
        what: `volume` or `mask`.
        expected: the path it should have.
        found: the files that are named after the case.
        place: what there may be only one of, such as `source`.
    """

    what: str
    expected: str
    found: Sequence[NamedFile]
    place: str

    @property
    def name(self) -> str:
        """The name that the file should have."""
        return self.expected.rpartition("/")[2]

    @property
    def legal(self) -> Sequence[NamedFile]:
        """The files found whose names end as they should."""
        return [file for file in self.found if file.parts["ending"] == SUFFIX]


def find(paths: Iterable[str], pattern: re.Pattern[str]) -> Found:
    """The files whose whole path matches a pattern with the groups `place`, `case` and `ending`."""
    found: dict[str, list[NamedFile]] = defaultdict(list)
    for path in paths:
        match = pattern.fullmatch(path)
        if match:
            found[match["case"]].append(NamedFile(path, match.groupdict()))
    return dict(found)


def require_files(volume: Wanted, mask: Wanted | None) -> tuple[NamedFile, NamedFile | None]:
    """The one volume and the one mask of a case, from the same place; no mask where none is wanted.

    Raises:
        FilesMissing: one of them is not there; files that are named otherwise are told.
        CaseRefused: one is there several times, or they are not in the same place.
    """
    wanted = [volume] if mask is None else [volume, mask]
    absent = [one for one in wanted if not one.legal]
    if absent:
        raise FilesMissing("; ".join(map(_absence, absent)), tuple(one.name for one in absent))
    first, *second = (_sole(one) for one in wanted)
    if second and second[0].place != first.place:
        message = f"volume in {first.place}, mask in {second[0].place}; legal: one"
        raise CaseRefused(message)
    return first, second[0] if second else None


def _sole(wanted: Wanted) -> NamedFile:
    if len(wanted.legal) > 1:
        places = " and ".join(file.place for file in wanted.legal)
        message = f"{wanted.what} {wanted.name} is in {places}; legal: one {wanted.place}"
        raise CaseRefused(message)
    return wanted.legal[0]


def _absence(wanted: Wanted) -> str:
    others = ", ".join(file.path for file in wanted.found)
    seen = f"; seen: {others}; legal: a name that ends in {SUFFIX}" if others else ""
    return f"{wanted.what} missing: no {wanted.expected}{seen}"
