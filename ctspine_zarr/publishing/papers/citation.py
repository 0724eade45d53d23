"""How a published dataset is cited, as a Citation File Format document, version 1.2.0. Pure.

See https://github.com/citation-file-format/citation-file-format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ctspine_zarr.format.spec import UNKNOWN
from ctspine_zarr.publishing.papers.markdown import one_line, quoted
from ctspine_zarr.publishing.papers.publication import Publication

CITATION: Final = "CITATION.cff"

_MESSAGE: Final = (
    "Cite the dataset's own publication, and say which state of the data was used: its version is the seal "
    "of the store."
)
# As the format's schema has them; others it would refuse.
_DOI: Final = re.compile(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")
_DAY: Final = re.compile(r"\d{4}-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])")
_PAGE: Final = re.compile(r"https?://.+")
_TOO_NEW: Final = frozenset({"CDLA-Permissive-2.0"})


def citation_file(about: Publication) -> bytes:
    """The document. What is not known is left out; without authors, they are named as the dataset's."""
    spec, licence = about.spec, about.licence
    found: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": _MESSAGE,
        "type": "dataset",
        "title": f"{spec.name} as one Zarr v3 store",
        "abstract": spec.title,
        "authors": authors(about),
        "version": about.root.seal,
        "keywords": ["CT", "segmentation", "Zarr", "OME-Zarr"],
    }
    if _DAY.fullmatch(about.written):
        found["date-released"] = about.written
    if licence.spdx and licence.spdx not in _TOO_NEW:
        found["license"] = licence.spdx
    elif licence.url:
        found["license-url"] = licence.url
    if _PAGE.fullmatch(page := about.place.url or spec.url):
        found["url"] = page
    if spec.citation.strip() not in {"", UNKNOWN}:
        found["preferred-citation"] = _publication(about)
    return ("\n".join(_lines(found)) + "\n").encode()


def authors(about: Publication) -> list[dict[str, str]]:
    """Persons, in order; or a name that stands for those that are not known."""
    spec = about.spec
    found = [
        {"family-names": one.family} | ({"given-names": one.given} if one.given else {})
        for one in spec.authors
    ]
    if not found:
        return [{"name": f"The authors of {spec.name}"}]
    return [*found, *([{"name": "et al."}] if spec.et_al else [])]


def _publication(about: Publication) -> dict[str, Any]:
    """What the dataset asks to be cited by. Its own text is the whole of it."""
    spec = about.spec
    found: dict[str, Any] = {
        "type": "article" if spec.doi else "generic",
        "title": spec.paper or spec.title or spec.name,
        "authors": authors(about),
        "notes": spec.citation,
    }
    if spec.year is not None:
        found["year"] = spec.year
    if _DOI.fullmatch(spec.doi):
        found["doi"] = spec.doi
    if spec.url:
        found["url"] = spec.url
    return found


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A mapping as YAML, every text in quotes."""
    for key, one in value.items():
        if isinstance(one, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(one, f"{indent}  ")
        elif isinstance(one, str | int):
            yield f"{indent}{key}: {_scalar(one)}"
        else:
            yield f"{indent}{key}:"
            yield from _items(one, f"{indent}  ")


def _items(values: Sequence[Any], indent: str) -> Iterator[str]:
    for one in values:
        if isinstance(one, Mapping):
            first, *others = _lines(one, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from others
        else:
            yield f"{indent}- {_scalar(one)}"


def _scalar(value: str | int) -> str:
    return quoted(one_line(value)) if isinstance(value, str) else str(value)
