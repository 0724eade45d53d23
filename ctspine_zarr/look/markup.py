"""HTML that notebooks show: small, of itself alone, legible on light and on dark ground. Pure.

Whatever a store or source has put into a name or message is shown as text.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from ctspine_zarr.format.catalog import Refused, counted
from ctspine_zarr.format.findings import Finding
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec, colour
from ctspine_zarr.text import shape_text, size, spacing_text, span_text

MOST_ROWS: Final = 10
"""Rows of a table of cases or messages; of the others their number is told."""

_MOST_LABELS: Final = 40
_MOST_TEXT: Final = 160
# Half clear, so that they are seen on white and on black; the colour of text is the notebook's own.
_RULE: Final = "1px solid rgba(128,128,128,0.45)"
_CELL: Final = (
    f"padding:2px 10px 2px 0;text-align:left;border-bottom:{_RULE};color:inherit;background:transparent"
)
# Characters of a cell, of which longer ones are broken.
_LONG: Final = 40
_BLOCK: Final = "display:flex;gap:16px;align-items:flex-start;font-size:13px;line-height:1.5"
# Tables that are wider than the notebook are scrolled, and not cut.
_INSIDE: Final = "min-width:0;overflow-x:auto"
_QUIET: Final = "opacity:0.7"

type Row = Sequence[object]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object, most: int = _MOST_TEXT) -> str:
    """The HTML of some text, whatever is in it, on one line and no longer than so many characters."""
    # Long ones are cut before anything is done to them.
    shown = printable(str(value)[: most + 1])
    return html.escape(shown if len(shown) <= most else f"{shown[:most]}...")


def block(title: str, facts: Iterable[str], parts: Iterable[str] = (), side: str = "") -> str:
    """A block with a heading, lines of facts and what stands below them.

    Args:
        title, facts: text.
        parts: HTML.
        side: HTML that stands to the left.
    """
    lines = "".join(f'<div style="{_QUIET}">{text(fact)}</div>' for fact in facts)
    head = f'<div style="font-weight:bold">{text(title)}</div>'
    inside = f'<div style="{_INSIDE}">{head}{lines}{"".join(parts)}</div>'
    return f'<div style="{_BLOCK}">{side}{inside}</div>'


def table(columns: Row, rows: Iterable[Row], more: int = 0) -> str:
    """A table of text; the HTML of one without rows is empty.

    Args:
        columns: their names.
        rows: cells, as many as columns.
        more: rows that are left out, which a last line tells.
    """
    body = "".join(f"<tr>{''.join(_cell('td', cell) for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(_cell("th", name) for name in columns)
    rest = f'<div style="{_QUIET}">and {more:,} more</div>' if more else ""
    style = "border-collapse:collapse;margin-top:8px;font-size:12px;color:inherit"
    return f'<table style="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}'


def bounded(columns: Row, rows: Collection[Row]) -> str:
    """A table of the first 10 rows, and how many more there are."""
    return table(columns, list(rows)[:MOST_ROWS], max(0, len(rows) - MOST_ROWS))


def lines(texts: Iterable[str]) -> str:
    """Lines of text whose columns are kept."""
    inside = "\n".join(map(text, texts))
    style = "margin:4px 0;font-size:12px;line-height:1.4;color:inherit;background:transparent"
    return f'<pre style="{style}">{inside}</pre>'


def picture(data: bytes, alternative: str) -> str:
    """A picture that is part of the page.

    Args:
        data: a PNG file.
        alternative: text for who cannot see it.
    """
    source = base64.b64encode(data).decode()
    return f'<img alt="{text(alternative)}" src="data:image/png;base64,{source}" style="max-width:220px">'


def of_store(where: str, spec: Spec, records: Mapping[str, Record], total: int, notes: Iterable[str]) -> str:
    """A store, or a selection from it.

    Args:
        where: it is.
        spec: of its dataset.
        records: of the cases, by id.
        total: cases of the whole store.
        notes: more facts.
    """
    count = (
        f"{len(records):,} cases"
        if len(records) >= total
        else f"a selection of {len(records):,} of {total:,} cases"
    )
    stored = sum(record.stored_bytes for record in records.values())
    source = sum(record.source_bytes for record in records.values())
    ratio = f", {stored / source:.3f} of the .nii.gz" if source else ""
    facts = [where, f"{count}, {size(stored)}{ratio}", *notes, f"licence {spec.licence}"]
    return block(spec.name, facts, [by_split(counted(spec, records.values())), cases(records.values())])


def by_split(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A table of splits and sources that have cases: split -> source -> how many."""
    sources = [name for name in next(iter(counts.values()), ()) if any(row[name] for row in counts.values())]
    rows = [
        (split, *(row[name] or "" for name in sources), sum(row.values()))
        for split, row in counts.items()
        if any(row.values())
    ]
    return table(("split", *sources, "all"), rows)


def cases(records: Collection[Record]) -> str:
    """A table of cases, of which there may be many."""
    columns = ("case", "split", "source", "voxels (z, y, x)", "mm", "labels", "findings")
    first = [record for _, record in zip(range(MOST_ROWS), records, strict=False)]
    return table(columns, map(_case_row, first), max(0, len(records) - MOST_ROWS))


def of_case(record: Record, spec: Spec, png: bytes | None) -> str:
    """A case.

    Args:
        record: of it.
        spec: of its dataset.
        png: a picture of it; None for none.
    """
    hu, spacing = record.intensity, spacing_text(record.spacing)
    facts = [
        f"{record.split}, {record.source}",
        f"{shape_text(record.shape)} voxels (z, y, x) of {spacing} mm, {record.image.dtype}",
        f"{hu.min:g} to {hu.max:g} HU, median {hu.p50:g}",
        f"{size(record.stored_bytes)}, {size(record.source_bytes)} as .nii.gz",
        f"labels: {spec.mask}" if record.has_mask else "no mask",
    ]
    if record.transitional:
        facts.append(f"transitional vertebra: {record.transitional}")
    facts += [f"label set {name}" for name in list(record.sets)[:MOST_ROWS]]
    side = "" if png is None else picture(png, f"{record.id} from the side")
    return block(record.id, facts, [_labels(record), findings(record.findings)], side)


def findings(found: Collection[Finding]) -> str:
    """A table of findings."""
    return bounded(
        ("finding", "severity", "message"), [(one.code, one.severity, one.message) for one in found]
    )


def refusals(refused: Iterable[Refused | tuple[str, str]]) -> str:
    """A table of cases that were refused: id and reason of each."""
    pairs = [(one.case, one.reason) if isinstance(one, Refused) else one for one in refused]
    return bounded(("refused", "reason"), pairs)


def _cell(kind: str, value: object) -> str:
    inside = value if isinstance(value, Markup) else text(value)
    style = _CELL if len(inside) > _LONG else f"{_CELL};white-space:nowrap"
    return f'<{kind} style="{style}">{inside}</{kind}>'


def _case_row(record: Record) -> Row:
    labels = span_text([label.name for label in record.labels]) if record.has_mask else "no mask"
    codes = ", ".join(dict.fromkeys(finding.code for finding in record.findings))
    size, spacing = shape_text(record.shape), spacing_text(record.spacing)
    return record.id, record.split, record.source, size, spacing, labels, codes


def _labels(record: Record) -> str:
    """A table of labels, each with its colour."""
    columns = ("label", "voxels", "mean HU", "spread", "pieces")
    rows = record.labels[:_MOST_LABELS]
    cells = [
        (_coloured(one), f"{one.voxels:,}", f"{one.hu.mean:.0f}", f"{one.hu.std:.0f}", one.pieces)
        for one in rows
    ]
    return table(columns, cells, len(record.labels) - len(rows))


def _coloured(label: Label) -> Markup:
    red, green, blue = colour(label.label)
    return Markup(f'<span style="color:rgb({red},{green},{blue})">&#9632;</span> {text(label.name)}')
