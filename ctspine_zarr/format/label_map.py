"""Maps of labels: which value of another numbering each label of a dataset becomes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal

from ctspine_zarr.errors import UnknownValue, integer, require_known
from ctspine_zarr.format.spec import Spec

_MOST: Final = 255
_NAMES: Final = [f"{region}{i}" for region, n in (("C", 7), ("T", 12), ("L", 5)) for i in range(1, n + 1)]

VERSE: Final = MappingProxyType(
    {name: value for value, name in enumerate(_NAMES, 1)} | {"L6": 25, "sacrum": 26, "coccyx": 27, "T13": 28}
)
"""Vertebra -> its value in VerSe (Sekuboyina et al. 2021, https://github.com/anjany/verse)."""

TOTALSEGMENTATOR: Final = MappingProxyType(
    {"sacrum": 25, "S1": 26} | {name: 51 - value for value, name in enumerate(_NAMES, 1)}
)
"""Vertebra -> its value in TotalSegmentator 2's task `total` (https://github.com/wasserth/TotalSegmentator):
51 less the place from C1 on."""

_NUMBERINGS: Final = MappingProxyType({"verse": VERSE, "totalsegmentator": TOTALSEGMENTATOR})
NAMED: Final = ("contiguous", "regions", "binary", *_NUMBERINGS)
"""Maps that are known by name: the last two go by the names of a dataset's labels."""

type _Named = tuple[dict[int, int], dict[int, str]]

type AnyMap = LabelMap | Mapping[str, int] | Mapping[int, int] | Mapping[str | int, int] | str
type Ignored = Collection[str | int] | Literal["rest"]


@dataclass(frozen=True)
class LabelMap:
    """A map from a dataset's labels to values of another numbering; background stays 0.

    Attributes:
        name: such as `regions`.
        values: label of the dataset -> its new value, 0 to 255. Other labels become `ignore`.
        names: new value -> its name.
        ignore: value of what is neither background nor a label here, such as what an experiment leaves
            out; a loss is to pass over it. None where every label of the dataset has a value.

    Raises:
        UnknownValue: a value that is not from 0 to 255, or one without a name.
    """

    name: str
    values: Mapping[int, int] = field(hash=False)
    names: Mapping[int, str] = field(hash=False)
    ignore: int | None = None

    def __post_init__(self) -> None:
        for value in (*self.values.values(), *(() if self.ignore is None else (self.ignore,))):
            require_value(value)
            if value and value not in self.names:
                message = f"value {value} of label map {self.name} without a name; legal: a name for each"
                raise UnknownValue(message)

    @classmethod
    def of(cls, asked: AnyMap, spec: Spec, *, ignore: Ignored = ()) -> LabelMap:
        """The map that is asked for, of a dataset.

        Args:
            asked: a map; `contiguous`, the dataset's labels from 1 on without gaps; `regions`, each region
                of its spec a label; `binary`, every label 1; `verse` or `totalsegmentator`, the values
                these have for vertebrae of the same names; or a dictionary of labels, by name or value,
                or of regions, to values.
            spec: of the dataset.
            ignore: labels, by name or value, that become the value `ignore`, the highest of all; or
                `rest` for those that the map does not name.

        Raises:
            UnknownValue: a name, label or value that is not legal, or a label without a value.
        """
        if isinstance(asked, LabelMap):
            missing = [label for label in spec.labels if label not in asked.values]
            if missing and asked.ignore is None:
                raise UnknownValue(_incomplete(asked.name, missing, spec))
            return asked
        ignored = set() if ignore == "rest" else {spec.require_label(label) for label in ignore}
        kept = [label for label in spec.labels if label not in ignored]
        name, values, names = _asked(asked, spec, kept)
        if missing := [label for label in kept if label not in values]:
            if ignore != "rest":
                raise UnknownValue(_incomplete(name, missing, spec))
            ignored |= set(missing)
        if not ignored:
            return cls(name, values, names)
        highest = max(values.values(), default=0) + 1
        return cls(name, values, names | {highest: "ignore"}, highest)

    @cached_property
    def table(self) -> bytes:
        """The new value of each of 256 labels."""
        rest = 0 if self.ignore is None else self.ignore
        return bytes([0, *(self.values.get(label, rest) for label in range(1, _MOST + 1))])

    @property
    def inverse(self) -> Mapping[int, int]:
        """New value -> label, to bring predictions back.

        Raises:
            UnknownValue: two labels have one value.
        """
        back = {value: label for label, value in self.values.items() if value}
        alike = [value for value in back if sum(one == value for one in self.values.values()) > 1]
        if alike:
            message = f"the inverse of label map {self.name}, in which several labels are {alike[0]}"
            message += "; legal: of a map that tells all labels apart"
            raise UnknownValue(message)
        return back

    @property
    def inverse_table(self) -> bytes:
        """The label of each of 256 new values; 0 for those that are none, and for `ignore`.

        Raises: as `inverse`.
        """
        back = self.inverse
        return bytes(back.get(value, 0) for value in range(_MOST + 1))


def require_value(value: object) -> int:
    """The value of a map, where it is one.

    Raises:
        UnknownValue: it is not an integer from 0 to 255.
    """
    found = integer("value of a label map", value, 0)
    if found > _MOST:
        message = f"value of a label map {found}; legal: 0 to {_MOST}"
        raise UnknownValue(message)
    return found


def _incomplete(name: str, missing: Sequence[int], spec: Spec) -> str:
    without = ", ".join(spec.labels[label] for label in missing)
    legal = f"a value for each of {', '.join(spec.labels.values())}"
    return f'label map {name} has no value for {without}; legal: {legal}, or ignore="rest"'


type _Asked = tuple[str, dict[int, int], dict[int, str]]


def _asked(asked: object, spec: Spec, kept: Sequence[int]) -> _Asked:
    """Name of a map, the values of the labels that are kept, and names of values."""
    if isinstance(asked, Mapping):
        return _of_dictionary("of a dictionary", asked, spec, kept)
    require_known("label map", [asked] if isinstance(asked, str) else [repr(asked)], NAMED)
    name = str(asked)
    values, names = _RULES[name](spec, kept) if name in _RULES else _by_name(_NUMBERINGS[name], spec, kept)
    return name, values, names


def _contiguous(spec: Spec, kept: Sequence[int]) -> _Named:
    values = {label: at for at, label in enumerate(kept, 1)}
    return values, {at: spec.labels[label] for label, at in values.items()}


def _binary(spec: Spec, kept: Sequence[int]) -> _Named:  # noqa: ARG001 - whatever their names
    return dict.fromkeys(kept, 1), {1: "label"}


def _regions(spec: Spec, kept: Sequence[int]) -> _Named:
    if not spec.regions:
        message = f"label map regions of {spec.name}, which has none; legal: {', '.join(NAMED)}"
        raise UnknownValue(message)
    names = dict(enumerate((name for name, labels in spec.regions.items() if set(labels) & set(kept)), 1))
    values = {label: at for at, region in names.items() for label in spec.regions[region] if label in kept}
    return values, names


def _by_name(numbering: Mapping[str, int], spec: Spec, kept: Sequence[int]) -> _Named:
    values = {label: numbering[spec.labels[label]] for label in kept if spec.labels[label] in numbering}
    return values, {value: spec.labels[label] for label, value in values.items()}


_RULES: Final[Mapping[str, Callable[[Spec, Sequence[int]], _Named]]] = MappingProxyType(
    {"contiguous": _contiguous, "regions": _regions, "binary": _binary}
)


def _of_dictionary(name: str, asked: Mapping[Any, Any], spec: Spec, kept: Sequence[int]) -> _Asked:
    values: dict[int, int] = {}
    names: dict[int, str] = {}
    for key, target in asked.items():
        labels, named = _labels_of(key, spec)
        value = require_value(target)
        values |= {label: value for label in labels if label in kept}
        names[value] = f"{names[value]}+{named}" if value in names else named
    return name, values, {value: named for value, named in names.items() if value in values.values()}


def _labels_of(key: object, spec: Spec) -> tuple[tuple[int, ...], str]:
    """The labels that a key of a dictionary stands for, and their name together."""
    if isinstance(key, str) and key in spec.regions and key not in spec.values:
        return tuple(spec.regions[key]), key
    is_name = isinstance(key, str) and not key.isdecimal()
    label = spec.require_label(str(key) if is_name else integer("label", _number(key), 1))
    return (label,), spec.labels[label]


def _number(key: object) -> object:
    """A JSON file's keys are text."""
    return int(key) if isinstance(key, str) else key
