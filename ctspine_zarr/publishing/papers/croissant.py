"""A published dataset as MLCommons Croissant 1.0 describes datasets, with its RAI fields. Pure.

See https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ctspine_zarr.format import layout
from ctspine_zarr.format.catalog import encode_root
from ctspine_zarr.format.layout import CASES_TABLE, VERTEBRAE_TABLE
from ctspine_zarr.format.receipt import StoredObject
from ctspine_zarr.publishing.papers import statements
from ctspine_zarr.publishing.papers.markdown import one_line
from ctspine_zarr.publishing.papers.publication import Publication

CROISSANT: Final = "croissant.json"

_CONFORMS_TO: Final = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
# As the specification has it, every term of it.
_OF_CR: Final = (
    *("citeAs", "column", "extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes"),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "sc": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "equivalentProperty": "cr:equivalentProperty",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        **{term: f"cr:{term}" for term in _OF_CR},
    }
)
# Kind of a column of a table -> type of a field.
_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "text": "sc:Text",
        "texts": "sc:Text",
        "float": "sc:Float",
        "integer": "sc:Integer",
        "flag": "sc:Boolean",
        "picture": "sc:ImageObject",
    }
)
# What a split's name says -> the term for it.
_SPLITS: Final[Mapping[str, str]] = MappingProxyType(
    {"train": "cr:TrainingSplit", "validation": "cr:ValidationSplit", "test": "cr:TestSplit"}
)
_TABLES: Final[Mapping[str, str]] = MappingProxyType(
    {CASES_TABLE: "A row for each case.", VERTEBRAE_TABLE: "A row for each label of each case."}
)
_PARQUET: Final = "application/x-parquet"
_GIT: Final = "git+https"
# The Hub's own documents have this in place of a digest of a repository.
_NO_DIGEST: Final = "https://github.com/mlcommons/croissant/issues/80"


def croissant(about: Publication) -> bytes:
    """The document: what the dataset is, its files with their digests, and a record set for each table."""
    spec, place = about.spec, about.place
    found: dict[str, Any] = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": list(_CONFORMS_TO),
        "name": spec.name,
        "description": one_line(spec.title),
        "url": place.url or spec.url,
        "license": about.licence.url or one_line(spec.licence),
        "citeAs": one_line(spec.citation),
        # Of the store's format; what changes with every state is the seal.
        "version": f"{about.root.format}.0.0+{about.root.seal[:16]}",
        "datePublished": about.written,
        "creator": _creators(about),
        "keywords": ["CT", "segmentation", "medical", "Zarr", "OME-Zarr"],
        **_responsible(about),
        "distribution": list(_files(about)),
        "recordSet": list(_record_sets(about)),
    }
    found = {key: value for key, value in found.items() if value not in ("", [])}
    return (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode()


def _creators(about: Publication) -> list[dict[str, str]]:
    names = [" ".join(filter(None, (one.given, one.family))) for one in about.spec.authors]
    if not names:
        return [{"@type": "sc:Organization", "name": f"The authors of {about.spec.name}"}]
    return [{"@type": "sc:Person", "name": name} for name in names]


def _responsible(about: Publication) -> dict[str, Any]:
    """The fields about collection, limits and people: the datasheet's statements."""
    said = {
        "dataCollection": statements.collection(about),
        "dataPreprocessingProtocol": statements.preprocessing(about),
        "dataUseCases": statements.uses(about),
        "dataBiases": statements.biases(about),
        "dataLimitations": statements.limitations(about),
        "personalSensitiveInformation": statements.personal(about),
        "dataReleaseMaintenancePlan": statements.maintenance(about),
    }
    are_one = {"dataCollection", "dataReleaseMaintenancePlan"}
    shown = {name: [one_line(line) for line in lines] for name, lines in said.items()}
    return {f"rai:{name}": " ".join(lines) if name in are_one else lines for name, lines in shown.items()}


def _files(about: Publication) -> Iterator[dict[str, Any]]:
    root = encode_root(about.root)
    if about.place.repository:
        yield {
            "@type": "cr:FileObject",
            "@id": "repository",
            "name": "repository",
            "description": "The store itself, Zarr v3, below this repository.",
            "contentUrl": about.place.url,
            "encodingFormat": _GIT,
            "sha256": _NO_DIGEST,
        }
    yield _file(about, layout.ROOT, StoredObject.of(root), ("application/json", "The root of the store."))
    if (catalog := about.root.catalog) is not None:
        lines = ("application/jsonlines", "The catalog: one JSON document a line, for each case.")
        yield _file(about, catalog.key, StoredObject(catalog.bytes, catalog.sha256), lines)
    for key, one in about.root.tables.items():
        yield _file(about, key, one, (_PARQUET, _TABLES.get(key, "A table.")))


def _file(about: Publication, key: str, one: StoredObject, said: tuple[str, str]) -> dict[str, Any]:
    form, description = said
    return {
        "@type": "cr:FileObject",
        "@id": key,
        "name": key,
        "description": description,
        "contentUrl": about.place.file_url(key),
        "contentSize": f"{one.bytes} B",
        "encodingFormat": form,
        "sha256": one.sha256,
    }


def _record_sets(about: Publication) -> Iterator[dict[str, Any]]:
    if about.columns:
        yield _splits(about)
    for key, columns in about.columns.items():
        name = key.removesuffix(".parquet")
        found: dict[str, Any] = {
            "@type": "cr:RecordSet",
            "@id": name,
            "name": name,
            "description": "A record for each case."
            if key == CASES_TABLE
            else "A record for each label of each case.",
            "field": [_field(name, key, column, kind) for column, kind in columns.items() if kind in _TYPES],
        }
        if key == CASES_TABLE:
            found["key"] = {"@id": f"{name}/case"}
        yield found


def _field(name: str, key: str, column: str, kind: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": key}, "extract": {"column": column}}
    if kind == "picture":
        source["transform"] = {"jsonPath": "bytes"}
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{name}/{column}",
        "name": column,
        "dataType": _TYPES[kind],
        "source": source,
    }
    if kind == "texts":
        found["repeated"] = True
    if column == "split":
        found["references"] = {"field": {"@id": "splits/name"}}
    return found


def _splits(about: Publication) -> dict[str, Any]:
    """The splits, and which of them is for what, where the name says so."""
    records = [
        {"splits/name": name, "splits/url": _SPLITS.get(name, "cr:Split")} for name in about.spec.splits
    ]
    fields = (("name", "sc:Text"), ("url", "sc:URL"))
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The dataset's splits; a column of either table names a case's.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"splits/{name}", "name": name, "dataType": kind}
            for name, kind in fields
        ],
        "data": records,
    }
