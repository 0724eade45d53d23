"""The licence of a published dataset: its text, and those of its sources. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ctspine_zarr.format.spec import UNKNOWN, SourceCollection
from ctspine_zarr.publishing.papers.licences import Licence
from ctspine_zarr.publishing.papers.markdown import one_line, plain, table
from ctspine_zarr.publishing.papers.publication import Publication

LICENCE_KEY: Final = "LICENSE"
LICENCES_KEY: Final = "LICENSES.md"

IN_SHORT: Final = ("source", "cases", "licence", "where it comes from")
IN_FULL: Final = (*IN_SHORT[:3], "what it asks, in short", "to be cited", IN_SHORT[3])
"""Columns of the table of sources."""

_NOT_KNOWN: Final = "not known here"


def licence_file(about: Publication) -> bytes:
    """The licence in full, where its text is carried along; else its name and where it stands."""
    licence, spec = about.licence, about.spec
    if licence.text is not None:
        return licence.text.encode()
    if licence.is_unknown:
        said = [f"{one_line(spec.name)} states no licence: ask its authors before it is used or passed on."]
    else:
        said = [f"{one_line(spec.name)} is under: {one_line(licence.name)}", licence.url]
    return "\n\n".join(filter(None, [*said, one_line(spec.licence_note)])).encode() + b"\n"


def licences_file(about: Publication) -> bytes:
    """The licences by source: what each is called, where it stands, what it asks."""
    spec, licence = about.spec, about.licence
    rows = [_row("all of it, as its authors state it", len(about.records), licence)]
    text = f"""# Licences of {plain(spec.name)}

{table(["part", "cases", "licence", "where it stands", "what it asks, in short"], rows)}

{plain(spec.licence_note)}

What this store adds to the dataset, its form and its documents, is under the dataset's own licence.

## By source

{sources(about)}
"""
    return text.encode()


def sources(about: Publication, columns: Sequence[str] = IN_FULL) -> str:
    """A table of the sources that there are cases of, and a note on their licences that all of them share,
    as Markdown.

    Args:
        about: what is published.
        columns: some of `IN_FULL`.
    """
    shared = _shared_note(about)
    rows = ([row[column] for column in columns] for row in _sources(about, shared))
    return "\n\n".join(filter(None, [table(columns, rows), plain(shared)]))


def _sources(about: Publication, shared: str) -> Iterator[dict[str, str]]:
    """Column of `IN_FULL` -> what stands there, as Markdown, of each source."""
    for source, cases in about.of_source.items():
        cells = (plain(source), f"{cases:,}", *_known(about.spec.collections.get(source), shared))
        yield dict(zip(IN_FULL, cells, strict=True))


def _known(source: SourceCollection | None, shared: str) -> tuple[str, str, str, str]:
    """Licence, what it asks, what is to be cited and the address of a source."""
    if source is None:
        return (_NOT_KNOWN,) * 4
    licence = Licence.of(source.licence)
    stated = UNKNOWN if licence.is_unknown else plain(licence.name)
    note = "" if source.licence_note == shared else plain(source.licence_note).rstrip(".")
    terms = ". ".join(filter(None, (stated, note)))
    cited = _NOT_KNOWN if source.citation.strip() in {"", UNKNOWN} else plain(source.citation)
    address = source.url or (f"https://doi.org/{source.doi}" if source.doi else "")
    where = filter(None, (plain(source.title), address, source.doi and f"doi:{plain(source.doi)}"))
    return terms, licence.demands, cited, ", ".join(where)


def _shared_note(about: Publication) -> str:
    """The note on its licence that every source has; empty where they have several, or one has none."""
    found = [about.spec.collections.get(source) for source in about.of_source]
    notes = {one.licence_note if one else "" for one in found}
    return notes.pop() if len(notes) == 1 else ""


def _row(name: str, cases: int, licence: Licence) -> tuple[str, str, str, str, str]:
    shown = plain(licence.name) or "unknown"
    return name, f"{cases:,}", shown, licence.url or _NOT_KNOWN, licence.demands
