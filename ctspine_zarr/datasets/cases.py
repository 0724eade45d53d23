"""Cases of a dataset: those whose files are there, and those that cannot be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ctspine_zarr.format.record import Cell
from ctspine_zarr.format.series import Series


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One `.nii.gz` of a case, wherever it lies.

    Attributes:
        path: below the source, '/'-separated.
        bytes: its size.
        sha256: where the source has a record of it.
        ending: its last eight bytes, hex, where it is on this machine: of a gzip, the CRC-32 and length
            of what is in it.
    """

    path: str
    bytes: int
    sha256: str | None = None
    ending: str | None = None


@dataclass(frozen=True, slots=True)
class SourceCase:
    """A case whose files are there; whether they are any good is not yet known.

    Attributes:
        id: a legal name, like no other of the listing but for upper and lower case.
        patient_id: of the patient; the case's own id where the dataset does not tell patients apart.
        split, source: two of the names in the dataset's spec.
        image: the volume.
        segmentation: the mask; None where the case has none, as in a test set.
        transitional: kind of transitional vertebra, where the dataset says so.
        spreadsheet: rows of the dataset's spreadsheet for this patient, column -> value.
        series: lines of the dataset's list of series for this case.
    """

    id: str
    patient_id: str
    split: str
    source: str
    image: CaseFile
    segmentation: CaseFile | None
    transitional: str | None = None
    spreadsheet: tuple[Mapping[str, Cell], ...] = ()
    series: tuple[Series, ...] = ()

    @property
    def files(self) -> tuple[CaseFile, ...]:
        """The volume, then the mask where there is one."""
        return (self.image,) if self.segmentation is None else (self.image, self.segmentation)

    @property
    def bytes(self) -> int:
        """Size of the files together."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A case that cannot be built and why.

    Attributes:
        case: its id, as one line of printable text.
        reason: what was asked, what was seen and what is legal, as one such line.
        split, source: as far as they are known.
        missing: names of files whose absence is the reason.
    """

    case: str
    reason: str
    split: str | None = None
    source: str | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """All cases of a dataset, or a selection of them: those to build, and those refused on sight."""

    cases: tuple[SourceCase, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def by_id(self) -> dict[str, SourceCase]:
        """Id -> case, of those to build."""
        return {case.id: case for case in self.cases}

    @property
    def ids(self) -> frozenset[str]:
        """Of all of them."""
        return frozenset([case.id for case in self.cases] + [refusal.case for refusal in self.refused])
