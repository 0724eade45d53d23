"""What was found of a store as text for a terminal, as JSON, and as one page of HTML. Pure.

Names and messages are a store's: they are made printable, and escaped where they stand in HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any, Final, NamedTuple

from ctspine_zarr.format.findings import KINDS, Code, Finding, Severity, worst
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.quality.examined import Agreement, Examined, agreement, counted
from ctspine_zarr.quality.figures import LEAST_BONE, MOST_AIR, MOST_ASYMMETRY, MOST_RATIO

_BARS: Final = 40


class _Axis(NamedTuple):
    """How a figure is drawn: from where to where, and the bounds within which it is no finding."""

    title: str
    low: float
    high: float
    least: float
    most: float


_AXES: Final[Mapping[str, _Axis]] = {
    "bone_share": _Axis("Share of voxels of 200 HU and more", 0, 1, LEAST_BONE, 1),
    "air_share": _Axis("Share of voxels below -300 HU", 0, 1, 0, MOST_AIR),
    "asymmetry": _Axis("Asymmetry, right less left", -1, 1, -MOST_ASYMMETRY, MOST_ASYMMETRY),
    "volume_ratio": _Axis("Volume over that of neighbours", 0, 3, 1 / MOST_RATIO, MOST_RATIO),
}


def lines(cases: Sequence[Examined], spec: Spec) -> list[str]:
    """A line a finding, case by case; how often each kind was found; how lists and rules agree."""
    told = [line for one in cases for line in _case_lines(one)]
    counts = counted(cases)
    table = [f"{'severity':<10}{'code':<18}{'cases':>7}{'findings':>10}"] if counts else []
    table += [f"{row.severity:<10}{row.code:<18}{row.cases:>7,}{row.findings:>10,}" for row in counts]
    found = [*told, *table, _summary(cases), *_agreement_lines(agreement(cases, spec))]
    return [printable(line) for line in found]


def document(location: str, cases: Sequence[Examined], spec: Spec) -> dict[str, Any]:
    """The same as one JSON document."""
    known = agreement(cases, spec)
    return {
        "location": location,
        "cases": len(cases),
        "counts": [row._asdict() for row in counted(cases)],
        "known_faults": known
        and {**known._asdict(), "recall": known.recall, "precision_at_least": known.precision},
        "findings": [_finding(one, found, spec) for one in cases for found in one.findings],
    }


def page(location: str, cases: Sequence[Examined], told: Sequence[Examined], spec: Spec) -> str:
    """The same as one page of HTML, which asks for nothing else.

    Args:
        location: of the store.
        cases: whose figures are drawn.
        told: the same cases, with the findings that are to be told.
        spec: of the dataset.
    """
    template = Template((resources.files(__package__) / "report.html").read_text(encoding="utf-8"))
    levels = [figures for one in cases for figures in one.figures.values()]
    parts = {
        "title": _text(f"Quality of {spec.name}"),
        "about": _text(f"{location}: {_summary(told)}"),
        "tiles": "".join(_tile(*tile) for tile in _tiles(told)),
        "kinds": "\n".join(_kind_rows(told)),
        "levels": f"{len(levels):,}",
        "figures": "".join(_drawn(name, levels) for name in _AXES),
        "known": _known(agreement(told, spec)),
        "findings": "\n".join(_row(one, found, spec) for one in told for found in one.findings),
    }
    return template.substitute(parts)


def _case_lines(one: Examined) -> Iterator[str]:
    if one.findings:
        yield f"{one.case}  {one.split}, {one.source}"
    for found in one.findings:
        figures = _figures(found)
        more = f"  [{figures}]" * bool(figures)
        yield f"  {found.severity:<9}{found.code:<18}{found.message}{more}"


def _summary(cases: Iterable[Examined]) -> str:
    grades = [worst(one.findings) for one in cases]
    errors, warnings = grades.count(Severity.ERROR), grades.count(Severity.WARNING)
    return f"{len(grades):,} cases: {errors:,} with errors, {warnings:,} more with warnings"


def _agreement_lines(known: Agreement | None) -> list[str]:
    if known is None:
        return []
    recall, precision = _share(known.recall), _share(known.precision)
    listed = f"of {known.listed} cases here that lists name, rules find what is said of {known.found}"
    flagged = f"of {known.flagged} cases that rules flag, lists name {known.confirmed}"
    return [
        f"{listed}: recall {recall}",
        f"{flagged}: precision at least {precision}, for lists here are parts",
    ]


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def _names(found: Finding, spec: Spec) -> list[str]:
    return [spec.labels.get(label, str(label)) for label in found.labels]


def _figures(found: Finding) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in found.figures.items())


def _finding(one: Examined, found: Finding, spec: Spec) -> dict[str, Any]:
    return {
        "case": one.case,
        "split": one.split,
        "source": one.source,
        "code": found.code,
        "severity": str(found.severity),
        "message": found.message,
        "labels": _names(found, spec),
        "figures": dict(found.figures),
    }


def _text(text: str) -> str:
    return html.escape(printable(text))


def _tiles(cases: Sequence[Examined]) -> Iterator[tuple[str, int]]:
    grades = [worst(one.findings) for one in cases]
    yield "cases", len(grades)
    yield "with errors", grades.count(Severity.ERROR)
    yield "with warnings at most", grades.count(Severity.WARNING)
    yield "with neither", len(grades) - grades.count(Severity.ERROR) - grades.count(Severity.WARNING)


def _tile(name: str, count: int) -> str:
    return f'<div class="tile"><b>{count:,}</b>{_text(name)}</div>'


def _kind_rows(cases: Sequence[Examined]) -> Iterator[str]:
    for row in counted(cases):
        meaning = KINDS[Code(row.code)].meaning if row.code in KINDS else "Of a later version."
        yield (
            f"<tr><td>{_text(row.code)}</td>{_severity(row.severity)}"
            f'<td class="number" data-key="{row.cases}">{row.cases:,}</td>'
            f'<td class="number" data-key="{row.findings}">{row.findings:,}</td>'
            f'<td class="long">{_text(meaning)}</td></tr>'
        )


def _severity(severity: Severity) -> str:
    place = list(Severity).index(severity)
    return f'<td class="{severity}" data-key="{place}">{severity}</td>'


def _row(one: Examined, found: Finding, spec: Spec) -> str:
    labels = ", ".join(_names(found, spec))
    cells = "".join(
        f"<td>{_text(text)}</td>" for text in (found.code, labels, found.message, _figures(found))
    )
    return (
        f'<tr><td class="case">{_text(one.case)}</td><td>{_text(one.split)}</td><td>{_text(one.source)}</td>'
        f"{_severity(found.severity)}{cells}</tr>"
    )


def _drawn(name: str, levels: Sequence[Mapping[str, float]]) -> str:
    axis = _AXES[name]
    counts = [0] * _BARS
    for value in (figures[name] for figures in levels if name in figures):
        place = math.floor((value - axis.low) / (axis.high - axis.low) * _BARS)
        counts[min(max(place, 0), _BARS - 1)] += 1
    bars = "".join(_bars(axis, counts))
    return (
        f'<figure><figcaption>{_text(axis.title)}</figcaption><div class="bars">{bars}</div>'
        f'<div class="scale"><span>{axis.low:g}</span><span>{axis.high:g}</span></div></figure>'
    )


def _bars(axis: _Axis, counts: Sequence[int]) -> Iterator[str]:
    width = (axis.high - axis.low) / _BARS
    most = max([*counts, 1])
    for place, count in enumerate(counts):
        start = axis.low + place * width
        # By its middle: a bar that holds a bound is on neither side.
        beyond = ' class="beyond"' if not axis.least <= start + width / 2 <= axis.most else ""
        title = f"{start:.3g} to {start + width:.3g}: {count:,}"
        yield f'<div{beyond} style="height:{100 * math.sqrt(count / most):.1f}%" title="{title}"></div>'


def _known(known: Agreement | None) -> str:
    if known is None:
        return ""
    told = "".join(f"<li>{_text(line)}</li>" for line in _agreement_lines(known))
    return f"<h2>Known faults</h2><ul>{told}</ul>"
