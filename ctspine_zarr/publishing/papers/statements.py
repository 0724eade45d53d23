"""Plain statements about a published dataset, after "Datasheets for Datasets" (Gebru et al., 2021). Pure.

They say what the store's own documents say and no more; what those do not know is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ctspine_zarr.format.findings import Severity
from ctspine_zarr.format.spec import Derived
from ctspine_zarr.publishing.papers.publication import Publication
from ctspine_zarr.text import size

type Statements = list[str]

_WORST: Final[Mapping[str, str]] = MappingProxyType(
    {
        Severity.ERROR: "an error as the worst",
        Severity.WARNING: "a warning as the worst",
        Severity.INFO: "mere information",
        "none": "none",
    }
)


def motivation(about: Publication) -> Statements:
    """Why there is such a dataset."""
    return _said(
        f"{about.spec.title.rstrip('.')}.",
        """It is not known here for what purpose, by whom and with what means it was collected: its authors
        say so in what is to be cited.""",
        """This copy was made so that any slice, patch or volume can be read without loading files, and
        every byte can be proven.""",
    )


def composition(about: Publication) -> Statements:
    """What it consists of."""
    refused = len(about.root.refused)
    return _said(
        f"""{len(about.records):,} CT volumes of {about.patients:,} patients, as far as names tell patients
        apart; {about.masks:,} volumes have a mask, and {len(about.of_label)} of {len(about.spec.labels)}
        labels occur.""",
        f"Cases by split: {_counted(about.of_split)}. By source: {_counted(about.of_source)}.",
        f"Findings are about single cases, and remove none: {_severities(about)}.",
        f"Not in it: {refused} cases that could not be taken in; the root says why." if refused else "",
    )


def collection(about: Publication) -> Statements:
    """How scans and masks came to be."""
    return _said(
        f"The volumes come from {_named(about.of_source)}.",
        """It is not known here how, when and with whose consent they were recorded, nor who drew the masks,
        with what tools and in how many rounds.""",
    )


def preprocessing(about: Publication) -> Statements:
    """What was done to the files."""
    said = _said(
        """Axes were permuted and flipped to the closest canonical orientation (RAS+) and are stored as
        (z, y, x); nothing was resampled for that.""",
        """Values are HU exactly as slope and intercept of each file give them, in the smallest type that
        holds them all; nothing was rounded, clipped or smoothed.""",
        f"""{size(about.source_bytes)} of files became {size(about.stored_bytes)}; headers are kept, from
        which export gives back the files' contents.""",
    )
    derived = about.spec.derived
    return said if derived is None else [*_derivation(derived), f"Of the other store: {said[0]} {said[1]}"]


def uses(about: Publication) -> Statements:
    """What it is for."""
    return _said(
        """Masks are for training and testing segmentation, and for measuring volumes and HU by label.""",
        """It is not known here what it has been used for, nor what it should not be used for beyond its
        licence.""",
        about.spec.licence_note,
        "Nothing in it was checked for use in the care of patients.",
    )


def distribution(about: Publication) -> Statements:
    """Where it is, and under what terms."""
    licence = about.licence
    terms = "a licence that is not known here" if licence.is_unknown else licence.name
    return _said(
        f"At {about.place.location}, under {terms}.",
        "What is known of each source's own terms is in LICENSES.md.",
        f"The seal of this state is {about.root.seal}: whoever has it can prove a copy whole.",
    )


def maintenance(about: Publication) -> Statements:
    """Who looks after it."""
    day = f" of {about.written}" if about.written else ""
    return _said(
        f"This is the state{day}, written by {about.root.provenance.writer or 'an unknown version'}.",
        """A later state replaces the root, and with it the seal; on the Hub earlier ones stay readable at
        their revisions.""",
        "It is not known here who maintains it: ask at the place where it was found.",
    )


def biases(about: Publication) -> Statements:
    """What there is more of than of other things."""
    z, y, x = about.spacing
    return _said(
        f"Cases by source: {_counted(about.of_source)}.",
        f"Spacing in mm: z {z.text()}; y {y.text()}; x {x.text()}.",
        """It is not known here how age, sex, origin, disease and scanners are distributed, unless a table
        that was joined says so.""",
    )


def limitations(about: Publication) -> Statements:
    """What is known to be odd."""
    found, lacking = about.of_finding, len(about.records) - about.masks
    return _said(
        f"Cases by finding: {_counted(found)}." if found else "No finding is recorded of any case.",
        f"{lacking:,} cases have no mask." if lacking else "",
    )


def personal(about: Publication) -> Statements:
    """What could tell who a patient is."""
    tables = sorted({name for record in about.records.values() for name in record.metadata})
    rows = sum(bool(record.spreadsheet) for record in about.records.values())
    return _said(
        "CT shows bodies, and may show faces. Cases are named as their files were.",
        "Headers of the source files are kept as they were; their free texts have not been looked through.",
        f"Rows of the dataset's own spreadsheet: of {rows:,} cases." if rows else "",
        f"Tables that were joined: {', '.join(tables)}." if tables else "No table was joined.",
        "It is not known here how the sources were de-identified.",
    )


def datasheet(about: Publication) -> dict[str, Statements]:
    """Heading -> statements, in the order of a datasheet's questions."""
    return {
        "Motivation": motivation(about),
        "Composition": [*composition(about), *limitations(about), *personal(about)],
        "Collection": collection(about),
        "Preprocessing": preprocessing(about),
        "Uses": uses(about),
        "Distribution": distribution(about),
        "Maintenance": maintenance(about),
    }


def _said(*texts: str) -> Statements:
    """Each on one line, but for empty ones."""
    lines = (" ".join(text.split()) for text in texts)
    return [line for line in lines if line]


def _derivation(derived: Derived) -> Statements:
    spacing = " x ".join(f"{mm:g}" for mm in derived.spacing or ())
    low, high = derived.window or (0, 0)
    return _said(
        f"It was derived from another store, whose seal is {derived.parent}.",
        f"Volumes were resampled to {spacing} mm (z, y, x): images by {derived.image_by}, masks by "
        f"{derived.mask_by}."
        if spacing
        else "",
        f"They were cut to the box around the {derived.crop}." if derived.crop else "",
        f"Labels went through the map {derived.labels}." if derived.labels else "",
        f"HU beyond {low:g} to {high:g} became the nearer of these." if derived.window else "",
    )


def _severities(about: Publication) -> str:
    counts = about.of_severity
    named = {name: counts[name] for name in (*reversed([*Severity]), "none")}
    return ", ".join(f"{count:,} cases have {_WORST[name]}" for name, count in named.items() if count)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _named(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
