"""The description of a dataset: names, labels, licence, citation, and the collections that it was made from.

The root carries it, so that every reader, sampler, card and picture takes its names from the store.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.encoding import Sha256
from ctspine_zarr.format.layout import is_at_top
from ctspine_zarr.format.names import require_legal

type LabelValue = Annotated[int, Meta(ge=1, le=255)]
type Text = Annotated[str, Meta(max_length=MOST_TEXT)]
type Millimetres = tuple[float, float, float]
type Name = Annotated[str, Meta(min_length=1, max_length=128)]
# Printable ASCII without spaces, quotes, brackets and backslashes, so that no page is broken by one.
type Doi = Annotated[str, Meta(max_length=256, pattern=r"^(10\.[0-9]{4,9}/[!#-&(-;=?-Z_a-z~]+)?\Z")]
type Url = Annotated[str, Meta(max_length=2048, pattern=r"^(https?://[!#-&(-;=?-Z_a-z~]+)?\Z")]

MOST_TEXT: Final = 10_000
"""Characters of a licence, a citation and other text."""

UNKNOWN: Final = "unknown"
"""The licence and citation of a dataset that states none."""

# Successive hues this far apart (the golden ratio) stay distinct for any number of labels.
_HUE_STEP: Final = 0.6180339887


# Labels of CTSpine1K were taken for it: 25 is L6.
_SACRUM: Final = ("sacrum", "s", "s1")


class Author(Struct, frozen=True, kw_only=True):
    """An author of the paper that a dataset is cited by.

    Attributes:
        given: names, or their initials; may be empty.
        family: name.
    """

    given: Annotated[str, Meta(max_length=128)]
    family: Name

    def __post_init__(self) -> None:
        for name in (self.given, self.family):
            _require_printable(name)


class SourceCollection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a source where it was published: a collection that cases were taken from.

    Attributes:
        title: its name there.
        licence, citation: what it states itself, or `unknown`.
        licence_note: what is to be known of its licence besides; may be empty.
        doi, url: of it; empty where none is known.
    """

    title: Text
    licence: Text = UNKNOWN
    licence_note: Text = ""
    citation: Text = UNKNOWN
    doi: Doi = ""
    url: Url = ""


class Derived(Struct, frozen=True, kw_only=True):
    """How a store was derived from another; None stands for what was left as it was.

    Attributes:
        parent: digest of the store that it was derived from, by which that can be proven.
        spacing: mm, (z, y, x), of all cases.
        crop: what the box of a case is around: `spine` or `labels`.
        margin: mm around the labels, (z, y, x); 0 without a crop.
        labels: name of the map that the parent's labels went through.
        values: label of the parent -> value here; empty without a map.
        window: HU (low, high), beyond which values were moved to the nearer.
        image_by: how images were resampled: `triangle`, a filter as wide as a step.
        mask_by: how masks were: `nearest` or `majority`.
        dtype: of the images' values, before the smallest is taken that holds them.
    """

    parent: Sha256
    spacing: Millimetres | None
    crop: Literal["spine", "labels"] | None
    margin: Millimetres
    labels: Name | None
    values: Mapping[LabelValue, Annotated[int, Meta(ge=0, le=255)]]
    window: tuple[float, float] | None
    image_by: Literal["triangle"]
    mask_by: Literal["nearest", "majority"]
    dtype: Literal["int16", "float32"]


class Spec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset's description.

    Attributes:
        name: short, such as `CTSpine1K`.
        title: in a sentence.
        layout: how its files are named: the name of one of the package's `datasets`.
        licence, citation: what the dataset says, or `unknown`.
        licence_note: what the licence asks of who uses the store; may be empty.
        mask: name of the OME-Zarr label group that holds the masks, such as `vertebrae`.
        labels: value -> name, 1 to 255; 0 is background.
        levels: values of the labels that lie below one another, from the head down; the build
            looks for gaps and disorder among them.
        optional_levels: of them, those that most people do not have.
        regions: name of a group of labels -> their values.
        splits, sources: names, in the order in which cases are listed.
        derived: how the store was derived from another; None of one that was built from files.
        authors: of the paper that it is cited by, in order; none where they are not known.
        et_al: whether there are more of them than `authors` names.
        paper: title of that paper; empty where it is not known.
        year: of that paper; None where it is not known.
        doi, url: of that paper, and of the dataset; empty where none is known.
        collections: source -> what is known of it where it was published, of those of which anything is.
    """

    name: Name
    title: Text
    layout: Name
    licence: Text
    licence_note: Text
    citation: Text
    mask: Name
    labels: Mapping[LabelValue, Name]
    levels: tuple[LabelValue, ...]
    optional_levels: tuple[LabelValue, ...]
    regions: Mapping[Name, tuple[LabelValue, ...]]
    splits: tuple[Name, ...]
    sources: tuple[Name, ...]
    derived: Derived | None = None
    authors: Annotated[tuple[Author, ...], Meta(max_length=1000)] = ()
    et_al: bool = False
    paper: Text = ""
    year: Annotated[int, Meta(ge=1, le=9999)] | None = None
    doi: Doi = ""
    url: Url = ""
    collections: Mapping[Name, SourceCollection] = {}

    def __post_init__(self) -> None:
        require_legal("split", self.splits)
        if taken := [split for split in self.splits if is_at_top(split)]:
            message = f"split {taken[0]!r}; legal: another name than those of documents at a store's top"
            raise ValueError(message)
        require_legal("source", self.sources)
        require_legal("mask group", [self.mask])
        for names in (self.labels.values(), self.regions, [self.name]):
            for name in names:
                _require_printable(name)
        if len(set(self.labels.values())) != len(self.labels):
            message = "two labels of one name; legal: a name for each"
            raise ValueError(message)
        if unknown := set(self.collections) - set(self.sources):
            message = f"a collection for {min(unknown)!r}; legal: sources, {', '.join(self.sources)}"
            raise ValueError(message)
        used = {*self.levels, *self.optional_levels, *(v for values in self.regions.values() for v in values)}
        if nameless := used - set(self.labels):
            message = f"label value {min(nameless)} without a name; legal: {sorted(self.labels)}"
            raise ValueError(message)

    @property
    def values(self) -> Mapping[str, int]:
        """Name of a label -> its value."""
        return {name: value for value, name in self.labels.items()}

    def require_label(self, label: str | int) -> int:
        """The value of a label by its name or value.

        Raises:
            UnknownValue: the dataset has no such label; the message lists what is legal.
        """
        value = self.values.get(label) if isinstance(label, str) else label
        if value is None or value not in self.labels:
            values = f"{min(self.labels)} to {max(self.labels)}" if self.labels else "none"
            message = f"unknown label {label!r}; legal: {', '.join(self.labels.values())}, or {values}"
            if str(label).lower() in _SACRUM and "L6" in self.values:
                message += f"; {self.values['L6']} is L6, and the sacrum has no label"
            raise UnknownValue(message)
        return value


def colour(label: int) -> tuple[int, int, int]:
    """Red, green and blue (0-255) that stand for a label everywhere."""
    red, green, blue = colorsys.hsv_to_rgb(label * _HUE_STEP % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _require_printable(name: str) -> None:
    if not name.isprintable():
        message = f"name {name!r}; legal: printable text"
        raise ValueError(message)
