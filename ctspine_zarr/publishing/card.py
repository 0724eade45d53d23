"""The page that a dataset has on the Hub. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ctspine_zarr.dataset import CITATION, LICENCE, LICENCE_NOTE, NAME
from ctspine_zarr.format.catalog import About
from ctspine_zarr.format.record import Record
from ctspine_zarr.text import cases_table, size

CARD: Final = "README.md"

MARK: Final = f"pretty_name: {NAME} as Zarr"
"""What a card of ours has, and no other."""

_TEMPLATE: Final = """---
license: {identifier}
{mark}
task_categories:
- image-segmentation
tags:
- medical
- CT
- spine
- vertebra
- zarr
- OME-Zarr
size_categories:
- {category}
---

# {name} as one Zarr v3 store

{cases:,} spine CTs with vertebra masks in {stored}, {ratio:.2f} of the `.nii.gz` files they were
made from, exact to the voxel. Image and mask of a case are OME-Zarr 0.5 arrays with axes
(z, y, x); values are HU; labels are 0 background, 1-7 C1-C7, 8-19 T1-T12, 20-24 L1-L5, 25 L6.

{table}

## Load it

```python
import ctspine_zarr as cz

store = cz.open_store("{location}")
store.cases  # one row a case
case = store["{example.id}"]
case.slice({slice})["image"]  # one slice, HU, without loading a volume
```

Every other Zarr v3 reader opens it as well:

```python
import zarr

zarr.open_array("{location}/{example.path}/image", mode="r")[{slice}]
```

`catalog.jsonl` has one line a case. The root holds the sha256 of the catalog, the catalog that of every
receipt, a receipt those of a case's objects: `ctspine-zarr verify` proves a copy of it whole.

## Licence

{licence}. {note}

## Citation

{citation}
"""


def dataset_card(location: str, records: Mapping[str, Record], about: About) -> bytes:
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
        identifier=LICENCE.lower(),
        mark=MARK,
        name=NAME,
        category=_category(len(records)),
        cases=len(records),
        stored=size(stored),
        ratio=stored / max(1, source),
        table="\n".join(f"    {line}" for line in cases_table(about.cases)),
        location=location,
        example=example,
        slice=example.shape[0] // 2,
        licence=LICENCE,
        note=LICENCE_NOTE,
        citation=CITATION,
    )
    return text.encode()


def _category(cases: int) -> str:
    """As the Hub names sizes."""
    return "n<1K" if cases < 1000 else "1K<n<10K"
