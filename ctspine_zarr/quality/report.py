"""What was found of a store as text for a terminal, as JSON, and as one page of HTML. Pure.

Names and messages are a store's: they are made printable, and escaped where they stand in HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from string import Template
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from ctspine_zarr.format.findings import KINDS, Code, Severity, worst
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.quality.examined import Agreement, Examined, Told, agreement, counted, rows
from ctspine_zarr.quality.figures import AIR_HU, BONE_HU, LEAST_BONE, MOST_AIR, MOST_ASYMMETRY, MOST_RATIO

_BARS: Final = 40


class _Axis(NamedTuple):
    """How a figure is drawn: from where to where, and the bounds within which it is no finding."""

    title: str
    low: float
    high: float
    least: float
    most: float


_AXES: Final[Mapping[str, _Axis]] = {
    "bone_share": _Axis(f"Share of voxels of {BONE_HU} HU and more", 0, 1, LEAST_BONE, 1),
    "air_share": _Axis(f"Share of voxels below {AIR_HU} HU", 0, 1, 0, MOST_AIR),
    "asymmetry": _Axis("Asymmetry, right less left", -1, 1, -MOST_ASYMMETRY, MOST_ASYMMETRY),
    "volume_ratio": _Axis("Volume over that of neighbours", 0, 3, 1 / MOST_RATIO, MOST_RATIO),
}


def lines(cases: Sequence[Examined], spec: Spec, damaged: Collection[str] = ()) -> list[str]:
    """A line a finding, case by case; how often each kind was found; how lists and rules agree.

    Args:
        cases: with the findings that are to be told.
        spec: of the dataset.
        damaged: ids of the cases that could not be looked at.
    """
    told = [line for one in cases for line in _case_lines(one)]
    counts = counted(cases)
    table = [f"{'severity':<10}{'code':<18}{'cases':>7}{'findings':>10}"] if counts else []
    table += [f"{row.severity:<10}{row.code:<18}{row.cases:>7,}{row.findings:>10,}" for row in counts]
    found = [*told, *table, _summary(_Grades.of(cases, damaged)), *_agreement_lines(agreement(cases, spec))]
    return [printable(line) for line in found]


def document(
    location: str, cases: Sequence[Examined], spec: Spec, damaged: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The same as one JSON document; of damaged cases it says what is wrong."""
    known = agreement(cases, spec)
    return {
        "location": location,
        "cases": len(cases),
        "counts": [row._asdict() for row in counted(cases)],
        "known_faults": known
        and {**known._asdict(), "recall": known.recall, "precision_at_least": known.precision},
        "damaged": [{"case": case, "problem": problem} for case, problem in damaged.items()],
        "findings": [{**row._asdict(), "labels": list(row.labels)} for row in rows(cases, spec)],
    }


def page(
    location: str,
    cases: Sequence[Examined],
    told: Sequence[Examined],
    spec: Spec,
    damaged: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The same as one page of HTML, which asks for nothing else.

    Args:
        location: of the store.
        cases: whose figures are drawn.
        told: the same cases, with the findings that are to be told.
        spec: of the dataset.
        damaged: id of each case that could not be looked at -> what is wrong.
    """
    template = Template((resources.files(__package__) / "report.html").read_text(encoding="utf-8"))
    levels = [figures for one in cases for figures in one.figures.values()]
    grades = _Grades.of(told, damaged)
    parts = {
        "title": _text(f"Quality of {spec.name}"),
        "about": _text(f"{location}: {_summary(grades)}"),
        "tiles": "".join(_tile(*tile) for tile in _tiles(grades)),
        "kinds": "\n".join(_kind_rows(told)),
        "levels": f"{len(levels):,}",
        "figures": "".join(_drawn(name, levels) for name in _AXES),
        "known": _list("Known faults", _agreement_lines(agreement(told, spec))),
        "damaged": _list("Damaged cases", [f"{case}: {problem}" for case, problem in damaged.items()]),
        "findings": "\n".join(map(_row, rows(told, spec))),
    }
    return template.substitute(parts)


def _case_lines(one: Examined) -> Iterator[str]:
    if one.findings:
        yield f"{one.case}  {one.split}, {one.source}"
    for found in one.findings:
        figures = _figures(found.figures)
        more = f"  [{figures}]" * bool(figures)
        yield f"  {found.severity:<9}{found.code:<18}{found.message}{more}"


class _Grades(NamedTuple):
    """How many cases there are, and those that have errors, warnings at most, or are damaged."""

    cases: int
    errors: int
    warnings: int
    damaged: int

    @classmethod
    def of(cls, cases: Sequence[Examined], damaged: Collection[str]) -> Self:
        grades = [worst(one.findings) for one in cases]
        return cls(len(cases), grades.count(Severity.ERROR), grades.count(Severity.WARNING), len(damaged))


def _summary(grades: _Grades) -> str:
    graded = f"{grades.cases:,} cases: {grades.errors:,} with errors, {grades.warnings:,} more with warnings"
    return f"{graded}; {grades.damaged:,} more are damaged" if grades.damaged else graded


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


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _text(text: str) -> str:
    return html.escape(printable(text))


def _tiles(grades: _Grades) -> Iterator[tuple[str, int]]:
    yield "cases", grades.cases
    yield "with errors", grades.errors
    yield "with warnings at most", grades.warnings
    yield "with neither", grades.cases - grades.errors - grades.warnings
    if grades.damaged:
        yield "damaged", grades.damaged


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


def _row(row: Told) -> str:
    texts = (row.code, ", ".join(row.labels), row.message, _figures(row.figures))
    cells = "".join(f"<td>{_text(text)}</td>" for text in texts)
    return (
        f'<tr><td class="case">{_text(row.case)}</td><td>{_text(row.split)}</td><td>{_text(row.source)}</td>'
        f"{_severity(Severity(row.severity))}{cells}</tr>"
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


def _list(title: str, texts: Iterable[str]) -> str:
    """A heading and a list; nothing of nothing."""
    told = "".join(f"<li>{_text(line)}</li>" for line in texts)
    return f"<h2>{title}</h2><ul>{told}</ul>" if told else ""
