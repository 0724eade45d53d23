"""The licence of a published dataset: its text, and those of its sources. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ctspine_zarr.publishing.papers.licences import Licence
from ctspine_zarr.publishing.papers.markdown import one_line, plain, table
from ctspine_zarr.publishing.papers.publication import Publication

LICENCE_KEY: Final = "LICENSE"
LICENCES_KEY: Final = "LICENSES.md"


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

{table(["source", "cases", "licence", "where it comes from"], source_rows(about))}
"""
    return text.encode()


def source_rows(about: Publication) -> Iterator[tuple[str, str, str, str]]:
    """Name, cases, licence and address of each source that there are cases of, as Markdown."""
    for source, cases in about.of_source.items():
        known = about.spec.collections.get(source)
        if known is None:
            yield plain(source), f"{cases:,}", "not known here", "not known here"
            continue
        licence = Licence.of(known.licence)
        stated = "" if licence.is_unknown else plain(licence.name)
        terms = ". ".join(filter(None, (stated, plain(known.licence_note).rstrip("."))))
        address = known.url or (f"https://doi.org/{known.doi}" if known.doi else "")
        where = ", ".join(
            filter(None, (plain(known.title), address, known.doi and f"doi:{plain(known.doi)}"))
        )
        yield plain(source), f"{cases:,}", terms or "not known here", where


def _row(name: str, cases: int, licence: Licence) -> tuple[str, str, str, str, str]:
    shown = plain(licence.name) or "unknown"
    return name, f"{cases:,}", shown, licence.url or "not known here", licence.demands
