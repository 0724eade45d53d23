"""Public lists of faults of a dataset's masks, one file of tab-separated values a dataset.

Columns: `case`, an id; `labels`, names that the fault concerns, if any; `source`, who names it: a thread of
the authors' repository, or a list that somebody else made public; `fault`, what it says. Transitional
vertebrae are no faults: a record's `transitional` has them.
"""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from ctspine_zarr.format.findings import Code, Finding
from ctspine_zarr.format.spec import Spec

_FILES: Final = MappingProxyType({"CTSpine1K": "ctspine1k.tsv"})


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list.

    Attributes:
        case: id.
        labels: names that the fault concerns.
        source: who names it.
        fault: what it says.
    """

    case: str
    labels: tuple[str, ...]
    source: str
    fault: str


@functools.cache
def list_of(dataset: str) -> Mapping[str, tuple[Listed, ...]]:
    """Case id -> lines about it, of the dataset of that name; empty where there is no list of it."""
    found = defaultdict[str, list[Listed]](list)
    if dataset in _FILES:
        text = (resources.files(__name__) / _FILES[dataset]).read_text(encoding="utf-8")
        for row in csv.DictReader(text.splitlines(), delimiter="\t"):
            line = Listed(row["case"], tuple(row["labels"].split()), row["source"], row["fault"])
            found[line.case].append(line)
    return MappingProxyType({case: tuple(lines) for case, lines in found.items()})


def listed(case: str, spec: Spec) -> Iterator[Finding]:
    """What lists say of the mask that a dataset gives a case, while its labels are levels."""
    values = {name: label for label, name in spec.labels.items() if label in spec.levels}
    if not values:
        return
    for line in list_of(spec.name).get(case, ()):
        labels = tuple(values[name] for name in line.labels if name in values)
        yield Finding(Code.LISTED, f"{line.fault} ({line.source})", labels)
