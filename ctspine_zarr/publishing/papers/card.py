"""The page that a dataset has on the Hub, by the Hub's own classes. Needs huggingface_hub."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Final

from huggingface_hub import DatasetCard, DatasetCardData

from ctspine_zarr.format.layout import CASES_TABLE, VERTEBRAE_TABLE
from ctspine_zarr.publishing.papers import manifest, statements
from ctspine_zarr.publishing.papers.licence_files import IN_SHORT, LICENCE_KEY, LICENCES_KEY, sources
from ctspine_zarr.publishing.papers.markdown import one_line, plain, quoted, table
from ctspine_zarr.publishing.papers.publication import Publication
from ctspine_zarr.text import cases_table, size

SPLIT: Final = "full"
"""The one split of either table: a split of the dataset is a column of it."""

_CONFIGURATIONS: Final = {"cases": CASES_TABLE, "vertebrae": VERTEBRAE_TABLE}

_TEMPLATE: Final = """
# {name} as one Zarr v3 store

{title}

{cases:,} CTs, {masks:,} of them with masks, in {stored}, {ratio:.2f} of the `.nii.gz` files they were
made from, exact to the voxel; made by ctspine_zarr. Image and mask of a case are OME-Zarr 0.5 arrays with
axes (z, y, x); values are HU; labels are 0 background, {labels}.

{counts}

{figures}

## Sources

{sources}

What each of them asks, and how it is to be cited: [{licences_key}]({licences_key}).

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
{tables}
`{catalog}` has one line a case.

## Prove it

The root holds the sha256 of the catalog and of the tables, the catalog that of every receipt, a receipt
those of a case's objects. With the root's seal, which is here, every byte can be proven:

```sh
ctspine-zarr verify {place} --digest {seal}{download}
```
{record}
Without this software, in a copy of the whole: `sha256sum -c {manifest}`.

## Datasheet

{datasheet}

## Licence

{licence}. {licence_note}

In full: [{licence_key}]({licence_key}).

## Citation

{citation}
"""

_RECORD: Final = """
Without `--download`, shards are compared with the Hub's own record of each file, and none is read.
"""

_TABLES: Final = """
The tables of cases and of vertebrae are Parquet files. With pandas, DuckDB and `datasets`:

```python
import pandas as pd

cases = pd.read_parquet({cases_url})
vertebrae = pd.read_parquet({vertebrae_url})
```

```python
import duckdb

duckdb.sql({query})
```

```python
from datasets import load_dataset

cases = load_dataset({dataset}, split="{split}")
```
"""


def dataset_card(about: Publication) -> bytes:
    """A README.md in the Hub's form: what the dataset is, its licence, how to cite, load and prove it.

    Every text of the dataset's is shown as it is: none can be taken for the card's own marks.
    """
    spec, example = about.spec, about.example
    labels = ", ".join(f"{value} {name}" for value, name in spec.labels.items())
    body = _TEMPLATE.format(
        name=plain(spec.name),
        title=plain(spec.title),
        labels=plain(labels),
        cases=len(about.records),
        masks=about.masks,
        stored=size(about.stored_bytes),
        ratio=about.stored_bytes / max(1, about.source_bytes),
        counts="\n".join(f"    {line}" for line in cases_table(about.root.cases)),
        figures=table(["what", "figure"], _figures(about)),
        sources=sources(about, IN_SHORT),
        location=quoted(about.place.location),
        place=shlex.quote(one_line(about.place.location)),
        case=quoted(example.id),
        image=quoted(f"{about.place.location}/{example.path}/image"),
        slice=example.shape[0] // 2,
        tables=_tables(about),
        catalog=about.root.catalog and about.root.catalog.key,
        seal=about.root.seal,
        download=" --download" if about.place.repository else "",
        record=_RECORD if about.place.repository else "",
        manifest=manifest.KEY,
        datasheet="\n\n".join(_datasheet(about)),
        licence=plain(spec.licence),
        licence_note=plain(spec.licence_note),
        licence_key=LICENCE_KEY,
        licences_key=LICENCES_KEY,
        citation=plain(spec.citation),
    )
    data = DatasetCardData(**_front(about)).to_yaml()
    return str(DatasetCard(f"---\n{data}\n---\n{body}")).encode()


def _front(about: Publication) -> dict[str, Any]:
    """What the Hub reads of a card."""
    licence = about.licence
    named: dict[str, Any] = {"license": licence.hub}
    if licence.hub == "other":
        named |= {"license_name": licence.slug} if licence.slug else {}
        named["license_link"] = LICENCE_KEY
    found: dict[str, Any] = {
        **named,
        "pretty_name": one_line(f"{about.spec.name} as Zarr"),
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "tags": ["medical", "CT", "zarr", "OME-Zarr"],
        "size_categories": [_category(len(about.records))],
    }
    return found | ({"configs": _configurations(about)} if about.root.tables else {})


def _configurations(about: Publication) -> list[dict[str, Any]]:
    """The tables, as the Hub's viewer and `load_dataset` find them; the first is what is shown first."""
    return [
        {
            "config_name": name,
            **({"default": True} if name == "cases" else {}),
            "data_files": [{"split": SPLIT, "path": key}],
        }
        for name, key in _CONFIGURATIONS.items()
        if key in about.root.tables
    ]


def _category(cases: int) -> str:
    """As the Hub names sizes."""
    bounds = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"))
    return next((name for most, name in bounds if cases < most), "100K<n<1M")


def _figures(about: Publication) -> Iterator[tuple[str, str]]:
    z, y, x = about.spacing
    low, high = about.hu
    yield "cases, with a mask", f"{len(about.records):,}, {about.masks:,}"
    yield "patients, as far as names tell", f"{about.patients:,}"
    yield "axial slices a case", about.slices.text(5)
    yield "mm between slices (z)", z.text()
    yield "mm between voxels of a slice (y; x)", f"{y.text()}; {x.text()}"
    yield "HU", f"{low:g} to {high:g}"
    yield (
        "labels, and cases that have them",
        plain(", ".join(f"{name} {count:,}" for name, count in about.of_label.items()) or "none"),
    )
    yield (
        "findings, and cases that have them",
        plain(", ".join(f"{name} {count:,}" for name, count in about.of_finding.items()) or "none"),
    )
    yield "bytes, and those of the files", f"{size(about.stored_bytes)}, {size(about.source_bytes)}"


def _tables(about: Publication) -> str:
    """How the tables are read; empty of a store that has none."""
    if CASES_TABLE not in about.root.tables:
        return ""
    cases, vertebrae = (f"{about.place.location}/{key}" for key in (CASES_TABLE, VERTEBRAE_TABLE))
    name = cases.replace("'", "''")
    query = f"FROM '{name}' SELECT split, source, count(*) AS cases GROUP BY ALL"
    return _TABLES.format(
        cases_url=quoted(cases),
        vertebrae_url=quoted(vertebrae),
        query=quoted(query),
        dataset=_dataset(about),
        split=SPLIT,
    )


def _dataset(about: Publication) -> str:
    """The arguments by which `load_dataset` finds the table of cases."""
    place = about.place
    if place.is_top:
        at = "" if place.revision == "main" else f", revision={quoted(place.revision)}"
        return f'{quoted(place.repository)}, "cases"{at}'
    if place.is_folder:
        return f'{quoted(place.location)}, "cases"'
    return f'"parquet", data_files={{"{SPLIT}": {quoted(f"{place.location}/{CASES_TABLE}")}}}'


def _datasheet(about: Publication) -> Iterator[str]:
    for heading, said in statements.datasheet(about).items():
        yield f"**{heading}.** {' '.join(map(plain, said))}"
