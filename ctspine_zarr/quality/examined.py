"""What was found of the cases of a store, counted, and compared with the lists of known faults. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from ctspine_zarr.format.findings import KINDS, About, Code, Finding, Severity, at_least
from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.quality.figures import figures_of
from ctspine_zarr.quality.lists import list_of
from ctspine_zarr.quality.masks import mask_findings
from ctspine_zarr.quality.rules import label_findings
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.text import some_names

_FAULTS: Final = at_least(Severity.WARNING)


@dataclass(frozen=True)
class Examined:
    """A case and what is found of it.

    Attributes:
        case, split, source: as its record has them.
        findings: in the order of `Code`.
        figures: name of each level -> name of a figure -> value, as far as they are known.
    """

    case: str
    split: str
    source: str
    findings: tuple[Finding, ...]
    figures: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(
        cls, record: Record, spec: Spec, histograms: Mapping[int, Histogram], *, is_own: bool = True
    ) -> Self:
        """What the rules of this version find, and what only the build could see: headers of files.

        Args:
            record: of the case.
            spec: of its dataset.
            histograms: value of a label -> counts of the HU of its voxels.
            is_own: whether the labels are those of its own mask, which lists know, not of a label set.
        """
        spine = Spine.of(record, spec, histograms)
        kept = [one for one in record.findings if one.about is not About.LABELS]
        anew = mask_findings(record.id, spine, has_mask=record.has_mask) if is_own else label_findings(spine)
        figures = {spec.labels[label]: found for label, found in figures_of(spine).items()}
        return cls(record.id, record.split, record.source, _ordered([*kept, *anew]), figures)

    def having(self, findings: Iterable[Finding]) -> Self:
        """The same with more findings."""
        return replace(self, findings=_ordered([*self.findings, *findings]))

    def at_least(self, severity: Severity) -> Self:
        """The same with those findings alone that weigh as much, or more."""
        kept = at_least(severity)
        return replace(self, findings=tuple(one for one in self.findings if one.severity in kept))


class Told(NamedTuple):
    """One finding of a case, as a row of a table.

    Attributes:
        case, split, source: as the case's record has them.
        code, severity, message: of the finding.
        labels: names that it concerns.
        figures: name -> value.
    """

    case: str
    split: str
    source: str
    code: str
    severity: str
    message: str
    labels: tuple[str, ...]
    figures: dict[str, float]


def rows(cases: Iterable[Examined], spec: Spec) -> Iterator[Told]:
    """A row a finding, case by case."""
    for one in cases:
        for found in one.findings:
            about = (found.code, str(found.severity), found.message)
            labels = tuple(spec.labels.get(label, str(label)) for label in found.labels)
            yield Told(one.case, one.split, one.source, *about, labels, dict(found.figures))


class Counted(NamedTuple):
    """How often a kind of finding was found.

    Attributes:
        code: which kind.
        severity: how much it weighs.
        cases, findings: how many.
    """

    code: str
    severity: Severity
    cases: int
    findings: int


def counted(cases: Iterable[Examined]) -> list[Counted]:
    """The kinds of findings that there are, the gravest first, then by cases."""
    found, having = Counter[str](), Counter[str]()
    severities: dict[str, Severity] = {}
    for one in cases:
        found.update(finding.code for finding in one.findings)
        having.update({finding.code for finding in one.findings})
        severities |= {finding.code: finding.severity for finding in one.findings}
    gravest = list(reversed(Severity))
    rows = [Counted(code, severities[code], having[code], found[code]) for code in found]
    return sorted(rows, key=lambda row: (gravest.index(row.severity), -row.cases, row.code))


class Agreement(NamedTuple):
    """What rules find, beside what lists of known faults name, of the cases that are here.

    Attributes:
        listed: cases here that lists name.
        found: of those, the ones of which a rule finds what a list says: a warning or error about one of
            the labels that a line names, or about any where it names none.
        flagged: cases here with a warning or error by a rule about labels.
        confirmed: of those, the ones that a list names.
    """

    listed: int
    found: int
    flagged: int
    confirmed: int

    @property
    def recall(self) -> float | None:
        """Share of listed cases that are found; None where none is listed."""
        return self.found / self.listed if self.listed else None

    @property
    def precision(self) -> float | None:
        """Share of flagged cases that are listed: a lower bound, and a low one, for lists here are parts."""
        return self.confirmed / self.flagged if self.flagged else None


def agreement(cases: Sequence[Examined], spec: Spec) -> Agreement | None:
    """How far rules and lists agree; None where lists name no case that is here."""
    known = list_of(spec.name)
    if not any(one.case in known for one in cases):
        return None
    told = {one.case: set(_told(one)) for one in cases}
    values = {name: label for label, name in spec.labels.items()}
    listed = [case for case in told if case in known]
    found = [
        case
        for case in listed
        if any(
            told[case] & {values.get(name) for name in line.labels} if line.labels else told[case]
            for line in known[case]
        )
    ]
    flagged = [case for case, labels in told.items() if labels]
    return Agreement(len(listed), len(found), len(flagged), sum(case in known for case in flagged))


def leak_findings(rows: Sequence[tuple[str, str, int, str]]) -> dict[str, Finding]:
    """Case -> that it lies in a group with cases of other splits.

    Args:
        rows: case, split, number of its group, and why it belongs to it, of all cases of such groups.
    """
    groups = defaultdict[int, list[tuple[str, str]]](list)
    for case, split, group, _ in rows:
        groups[group].append((case, split))
    found: dict[str, Finding] = {}
    for case, split, group, why in rows:
        elsewhere = [f"{other} ({place})" for other, place in groups[group] if place != split]
        message = f"in {split}, and by its {why} beside {some_names(elsewhere, _MOST_NAMED)}"
        found[case] = Finding(Code.LEAK, message, figures={"cases": float(len(groups[group]))})
    return found


_MOST_NAMED: Final = 10


def _told(one: Examined) -> Iterator[int | None]:
    """The labels of which rules tell a fault, and None where they tell one of no label."""
    for finding in one.findings:
        if finding.about is About.LABELS and finding.code != Code.LISTED and finding.severity in _FAULTS:
            yield from finding.labels or (None,)


_PLACES: Final = {str(code): place for place, code in enumerate(KINDS)}


def _ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: _PLACES.get(one.code, len(_PLACES))))
