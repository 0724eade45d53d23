"""The labels of a map as nnU-Net wants them: from 1 on without gaps, `ignore` the last."""

from __future__ import annotations

from dataclasses import dataclass

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.label_map import LabelMap

BACKGROUND = "background"
IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Numbering:
    """The values of a dataset of nnU-Net, and which of them each label of a store becomes.

    Attributes:
        labels: name -> value, consecutive from `background`, 0, on; `ignore` is the last where there is one.
        table: the new value of each of 256 labels.
    """

    labels: dict[str, int]
    table: bytes

    @classmethod
    def of(cls, label_map: LabelMap) -> Numbering:
        """The numbering that a map gives: its values in their order, without the gaps.

        Raises:
            UnknownValue: two values have one name, or one is called `background`, or there is none.
        """
        used = sorted({*label_map.values.values(), *filter(None, [label_map.ignore])} - {0})
        named = {value: IGNORE if value == label_map.ignore else label_map.names[value] for value in used}
        _require_distinct(label_map.name, list(named.values()))
        ordered = sorted(used, key=lambda value: (named[value] == IGNORE, value))
        new = {0: 0} | {value: at for at, value in enumerate(ordered, 1)}
        labels = {BACKGROUND: 0} | {named[value]: new[value] for value in ordered}
        return cls(labels, bytes(new[value] for value in label_map.table))


def _require_distinct(name: str, names: list[str]) -> None:
    if not names or BACKGROUND in names or len(set(names)) < len(names):
        message = (
            f"label map {name} with the labels {', '.join(names) or 'none'}; legal: one or more of different "
            f"names, none of them {BACKGROUND}, and {IGNORE} for what is ignored alone"
        )
        raise UnknownValue(message)
