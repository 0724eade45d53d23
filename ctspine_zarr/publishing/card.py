"""The page that a dataset has on the Hub. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ctspine_zarr.format.catalog import Root
from ctspine_zarr.format.record import Record
from ctspine_zarr.text import cases_table, size

CARD: Final = "README.md"

MARK: Final = "made by ctspine_zarr"
"""What a card of ours has, and no other."""

_TEMPLATE: Final = """---
license: {identifier}
pretty_name: {spec.name} as Zarr
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

# {spec.name} as one Zarr v3 store

{spec.title}

{cases:,} CTs, {masks:,} of them with masks, in {stored}, {ratio:.2f} of the `.nii.gz` files they were
made from, exact to the voxel; {mark}. Image and mask of a case are OME-Zarr 0.5 arrays with axes
(z, y, x); values are HU; labels are 0 background, {labels}.

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

`{catalog}` has one line a case. The root holds the sha256 of the catalog, the catalog that of every
receipt, a receipt those of a case's objects: `ctspine-zarr verify --digest {seal}`
proves a copy of it whole, every byte.

## Licence

{spec.licence}. {spec.licence_note}

## Citation

{spec.citation}
"""


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
        identifier=about.dataset.licence.lower(),
        mark=MARK,
        spec=about.dataset,
        masks=sum(record.has_mask for record in records.values()),
        labels=", ".join(f"{value} {name}" for value, name in about.dataset.labels.items()),
        catalog=about.catalog and about.catalog.key,
        seal=about.seal,
        category=_category(len(records)),
        cases=len(records),
        stored=size(stored),
        ratio=stored / max(1, source),
        table="\n".join(f"    {line}" for line in cases_table(about.cases)),
        location=location,
        example=example,
        slice=example.shape[0] // 2,
    )
    return text.encode()


def _category(cases: int) -> str:
    """As the Hub names sizes."""
    return "n<1K" if cases < 1000 else "1K<n<10K"
