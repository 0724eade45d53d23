"""Label sets of records: further masks of a case, each of which can take the place of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.findings import About
from ctspine_zarr.format.names import LEGAL, is_legal_name
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec

_OF_MASKS: Final = {About.LABELS, About.MASK}


def with_labels(record: Record, name: str) -> Record:
    """The record with one of its label sets in place of its mask, its labels and what was found of them."""
    found = record.sets[name]
    kept = (one for one in record.findings if one.about not in _OF_MASKS)
    return replace(
        record,
        segmentation=found.array,
        labels=found.labels,
        findings=(*kept, *found.findings),
        sets={other: one for other, one in record.sets.items() if other != name},
    )


def with_mask(spec: Spec, name: str) -> Spec:
    """The spec of a dataset whose masks lie in the label group of that name."""
    return replace(spec, mask=name)


def label_sets(records: Iterable[Record]) -> dict[str, int]:
    """Name -> cases that have the label set, in order of name."""
    counts = Counter(name for record in records for name in record.sets)
    return dict(sorted(counts.items()))


def require_set_name(name: str, spec: Spec) -> None:
    """Do nothing where a label set may have this name.

    Raises:
        UnknownValue: it is not legal, or the name of the masks themselves.
    """
    if not is_legal_name(name):
        message = f"label set {name!r}; legal: {LEGAL}"
        raise UnknownValue(message)
    if name.lower() == spec.mask.lower():
        message = f"label set {name!r}; legal: another name than that of the masks, {spec.mask!r}"
        raise UnknownValue(message)
