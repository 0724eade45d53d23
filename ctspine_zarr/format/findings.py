"""Findings: what a user should know of a case, how much it weighs, and the figures that it rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct, field

type FigureName = Annotated[str, Meta(max_length=64)]
type Figures = Annotated[Mapping[FigureName, float], Meta(max_length=32)]


class Severity(StrEnum):
    """How much a finding weighs; in ascending order."""

    INFO = "info"
    """Normal in scans, or read exactly all the same."""
    WARNING = "warning"
    """Perhaps a fault: worth a look."""
    ERROR = "error"
    """Labels or places are not what they say."""


class Code(StrEnum):
    """Kinds of findings; stable names to filter by. `KINDS` says what each means and weighs."""

    MISSING_LEVEL = "missing_level"
    STRAY_LABEL = "stray_label"
    SPLIT_VERTEBRA = "split_vertebra"
    ORDER = "order"
    BONE_SHARE = "bone_share"
    OUTSIDE_BODY = "outside_body"
    ASYMMETRY = "asymmetry"
    VOLUME = "volume"
    CUT_BY_EDGE = "cut_by_edge"
    NO_LABEL = "no_label"
    NO_MASK = "no_mask"
    LISTED = "listed"
    LEAK = "leak"
    MASK_OFFSET = "mask_offset"
    SFORM_QFORM = "sform_qform"
    NO_ORIENTATION = "no_orientation"
    OBLIQUE = "oblique"
    SHEARED = "sheared"
    UNIT = "unit"
    REPAIRED_HEADER = "repaired_header"
    MADE_UP_SPACING = "made_up_spacing"
    TRAILING_AXIS = "trailing_axis"
    NOT_RESTORABLE = "not_restorable"


class About(StrEnum):
    """What a kind of finding is about, and so what it is found from."""

    LABELS = "labels"
    """A mask's labels: found anew from a record and the counts of its labels' HU."""
    MASK = "mask"
    """The file of a mask."""
    CASE = "case"
    """The file of an image, or both files."""
    STORE = "store"
    """A store as a whole; no record has it."""


class Kind(NamedTuple):
    """One kind of finding.

    Attributes:
        severity: how much it weighs.
        about: what it is found from; those of labels and masks are not a case's whose mask is replaced.
        meaning: one sentence.
    """

    severity: Severity
    about: About
    meaning: str


_I, _W, _E = Severity.INFO, Severity.WARNING, Severity.ERROR
_L, _M, _C, _S = About.LABELS, About.MASK, About.CASE, About.STORE

KINDS: Final[Mapping[Code, Kind]] = MappingProxyType(
    {
        Code.MISSING_LEVEL: Kind(_W, _L, "A level between two that are present is absent."),
        Code.STRAY_LABEL: Kind(_W, _L, "A level apart from the main run of levels is far smaller than they."),
        Code.SPLIT_VERTEBRA: Kind(
            _W, _L, "A level is in pieces, the largest below 90 % of it, and the volume's edge is no reason."
        ),
        Code.ORDER: Kind(_E, _L, "The centroids of two neighbouring levels do not descend."),
        Code.BONE_SHARE: Kind(_W, _L, "Below 10 % of a level's voxels have 200 HU or more, as bone has."),
        Code.OUTSIDE_BODY: Kind(_E, _L, "Over 25 % of a level's voxels are below -300 HU: air or lung."),
        Code.ASYMMETRY: Kind(
            _W,
            _L,
            "A level reaches three times as far to one side of its neighbours' middle as to the other, "
            "and is narrower than they.",
        ),
        Code.VOLUME: Kind(
            _W,
            _L,
            "A level's volume is over 1.75 times that of its neighbours in its region, or below 1/1.75.",
        ),
        Code.CUT_BY_EDGE: Kind(_I, _L, "A level reaches the volume's edge: a part of it may lie beyond."),
        Code.NO_LABEL: Kind(_W, _L, "The mask is empty."),
        Code.NO_MASK: Kind(_I, _L, "The case has no mask."),
        Code.LISTED: Kind(_W, _L, "A public list of faults or corrections names the case's mask."),
        Code.LEAK: Kind(_W, _S, "Cases of its patient, or with its image, lie in several splits."),
        Code.MASK_OFFSET: Kind(
            _W,
            _M,
            "The grids of image and mask differ by over 0.01 voxel (below 0.5, or the case is refused).",
        ),
        Code.SFORM_QFORM: Kind(
            _I,
            _C,
            "The two affines of a file's header differ by over 0.5 voxel, or its qform is unusable: "
            "the sform is taken, as nibabel does.",
        ),
        Code.NO_ORIENTATION: Kind(
            _E, _C, "Neither affine of a file is coded: its left and right are the format's guess."
        ),
        Code.OBLIQUE: Kind(
            _I, _C, "The axes of the grid are not those of the body: coordinates along them are approximate."
        ),
        Code.SHEARED: Kind(
            _I, _C, "The axes of the grid are not at right angles: its spacing is no edge of a box."
        ),
        Code.UNIT: Kind(
            _I,
            _C,
            "A file is not in millimetres and was converted, or names no unit and was taken for them.",
        ),
        Code.REPAIRED_HEADER: Kind(
            _I, _C, "A header's field is not legal, and was read as what it can only mean."
        ),
        Code.MADE_UP_SPACING: Kind(_E, _C, "A header states no spacing: 1 mm was taken."),
        Code.TRAILING_AXIS: Kind(_I, _C, "Axes of length 1 were dropped."),
        Code.NOT_RESTORABLE: Kind(
            _I, _C, "Values are exact, but the source file's bytes cannot be rebuilt from them."
        ),
    }
)
"""What every code means and weighs, in the order in which documents have them."""


def _no_labels() -> tuple[int, ...]:
    return ()


class Finding(Struct, frozen=True, omit_defaults=True):
    """Something about a case that a user should know and may filter by; it refuses nothing.

    Attributes:
        code: which kind, a `Code` or one of a later version.
        message: what was seen.
        labels: the label values concerned; always written.
        figures: name -> what was measured; not written where there is none.
    """

    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=10_000)]
    # By a function of our own, whose result msgspec does not leave out: receipts keep their bytes.
    labels: tuple[int, ...] = field(default_factory=_no_labels)
    figures: Figures = {}

    @property
    def severity(self) -> Severity:
        """How much it weighs; a code of a later version is a warning, for nobody here can say less."""
        return KINDS[Code(self.code)].severity if self.code in _KNOWN else Severity.WARNING

    @property
    def about(self) -> About:
        """What it is found from; a code of a later version is about the case."""
        return KINDS[Code(self.code)].about if self.code in _KNOWN else About.CASE


QUALITIES: Final[Mapping[str, Severity]] = MappingProxyType(
    {"clean": Severity.WARNING, "usable": Severity.ERROR}
)
"""Quality of a case, as users ask for it -> the least severity that none of its findings has."""

_KNOWN: Final = frozenset(str(code) for code in Code)
_ORDER: Final = tuple(Severity)


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The severity of the gravest finding; None where there is none."""
    return max((one.severity for one in findings), key=_ORDER.index, default=None)


def at_least(severity: Severity) -> frozenset[Severity]:
    """The severities that weigh as much, or more."""
    return frozenset(_ORDER[_ORDER.index(severity) :])
