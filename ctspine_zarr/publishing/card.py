"""The page that a dataset has on the Hub. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from ctspine_zarr.format.catalog import Root
from ctspine_zarr.format.names import printable
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.text import cases_table, size

CARD: Final = "README.md"

MARK: Final = "made by ctspine_zarr"
"""What a card of ours has, and no other."""

_TEMPLATE: Final = """---
{licence_lines}
pretty_name: {pretty_name}
task_categories:
- image-segmentation
tags:
- medical
- CT
- zarr
- OME-Zarr
size_categories:
- {category}
---

# {name} as one Zarr v3 store

{title}

{cases:,} CTs, {masks:,} of them with masks, in {stored}, {ratio:.2f} of the `.nii.gz` files they were
made from, exact to the voxel; {mark}. Image and mask of a case are OME-Zarr 0.5 arrays with axes
(z, y, x); values are HU; labels are 0 background, {labels}.

{table}

## Load it

```python
import ctspine_zarr as cz

store = cz.open_store({location})
store.cases  # one row a case
case = store[{case}]
case.slice({slice})["image"]  # one slice, HU, without loading a volume
```

Every other Zarr v3 reader opens it as well:

```python
import zarr

zarr.open_array({image}, mode="r")[{slice}]
```

`{catalog}` has one line a case. The root holds the sha256 of the catalog, the catalog that of every
receipt, a receipt those of a case's objects: `ctspine-zarr verify --digest {seal}`
proves a copy of it whole, every byte.

## Licence

{licence}. {licence_note}

## Citation

{citation}
"""

# Of those that the Hub knows, which are mostly SPDX's in lower case, those that data may have.
_LICENCES: Final = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 c-uda cc cc0-1.0 cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0
cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl
gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 odbl odc-by pddl unknown unlicense wtfpl zlib
"""
_ALIASES: Final = {"cc0": "cc0-1.0", "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}
_LONGEST_NAME: Final = 96
# What Markdown would read as more than text; underscores within words, as of URLs, it does not.
_MARKS: Final = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])|\A[#+=-]")


def dataset_card(location: str, records: Mapping[str, Record], about: Root) -> bytes:
    """A README.md in the Hub's form: licence, citation, sizes, and how to load it.

    Args:
        location: where it will be, hf://datasets/...
        records: of the store, by case id; at least one.
        about: its root.
    """
    stored = sum(record.stored_bytes for record in records.values())
    source = sum(record.source_bytes for record in records.values())
    example = next(iter(records.values()))
    text = _TEMPLATE.format(
        **_spec_texts(about.dataset),
        mark=MARK,
        masks=sum(record.has_mask for record in records.values()),
        catalog=about.catalog and about.catalog.key,
        seal=about.seal,
        category=_category(len(records)),
        cases=len(records),
        stored=size(stored),
        ratio=stored / max(1, source),
        table="\n".join(f"    {line}" for line in cases_table(about.cases)),
        location=_quoted(location),
        case=_quoted(example.id),
        image=_quoted(f"{location}/{example.path}/image"),
        slice=example.shape[0] // 2,
    )
    return text.encode()


def _category(cases: int) -> str:
    """As the Hub names sizes."""
    bounds = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"))
    return next((name for most, name in bounds if cases < most), "100K<n<1M")


def _spec_texts(spec: Spec) -> dict[str, str]:
    """What a dataset says of itself, none of which can be taken for the card's own marks."""
    labels = ", ".join(f"{value} {name}" for value, name in spec.labels.items())
    texts = {
        "name": spec.name,
        "title": spec.title,
        "labels": labels,
        "licence": spec.licence,
        "licence_note": spec.licence_note,
        "citation": spec.citation,
    }
    plain = {key: _plain(text) for key, text in texts.items()}
    return plain | {
        "licence_lines": _licence_lines(spec.licence),
        "pretty_name": _quoted(f"{spec.name} as Zarr"),
    }


def _licence_lines(licence: str) -> str:
    """The front matter's lines of a licence: the Hub's identifier, or a name of what it does not know."""
    words = "-".join(licence.lower().split())
    identifier = re.sub(r"(?<=\d)-(only|or-later)\Z", "", words)
    identifier = _ALIASES.get(identifier, identifier)
    if identifier in _LICENCES.split():
        return f"license: {identifier}"
    name = re.sub(r"[^a-z0-9.]+", "-", words)[:_LONGEST_NAME].strip("-.")
    return "license: other" + f"\nlicense_name: {_quoted(name)}" * bool(name)


def _plain(text: str) -> str:
    """A text as one line of Markdown that shows it."""
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", printable(" ".join(text.split())))


def _quoted(text: str) -> str:
    """A text as JSON, YAML and Python write it, on one line."""
    return json.dumps(printable(text), ensure_ascii=False)
