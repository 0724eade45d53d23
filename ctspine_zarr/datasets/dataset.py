"""Datasets: each is a spec and a layout, which tells cases from the names of files. Pure.

A new one is a subclass of `Dataset` in a module of its own, and an entry in `DATASETS`. What holds
for every dataset is done here: legal names, one refusal a bad case, whose licence counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, final

from msgspec import structs

from ctspine_zarr.datasets.cases import CaseFile, Listing, Refusal, SourceCase
from ctspine_zarr.datasets.naming import FilesMissing
from ctspine_zarr.errors import CaseRefused, SourceError, UnknownValue
from ctspine_zarr.format.encoding import validated
from ctspine_zarr.format.names import LEGAL, colliding, is_legal_name, printable
from ctspine_zarr.format.spec import MOST_TEXT, UNKNOWN, Spec

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Of a document beside the volumes, such as a split list: more is no such document."""

_MOST_SHOWN: Final = 1000


class Files(Protocol):
    """The files of one place, whatever place that is."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the place, in messages."""

    @property
    @abstractmethod
    def paths(self) -> Sequence[str]:
        """Of the files, below the root, '/'-separated, in order; also of what is no regular file."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """A small document; None where there is none.

        Raises:
            SourceError: it is no regular file, larger than `MAX_DOCUMENT_BYTES`, or cannot be read.
        """

    @abstractmethod
    def describe(self, path: str) -> CaseFile:
        """A file of a case.

        Raises:
            CaseRefused: it is not there, no regular file, or cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Wishes:
    """A user's statements about a dataset, beyond its files.

    Attributes:
        split_list: text of a split list, in place of the dataset's own.
        fold: number of the fold that makes the splits, from 0, where a dataset is split into folds.
        licence, citation: of a dataset that states none.
    """

    split_list: str | None = None
    fold: int | None = None
    licence: str | None = None
    citation: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A dataset as it lies in one place."""

    spec: Spec
    listing: Listing


@dataclass(frozen=True, slots=True)
class Survey:
    """The cases that the names of files make by a layout.

    Attributes:
        spec: of the dataset.
        names: ids of all cases that a file or a list names, legal or not.
        place: id -> split and source, as far as they are known.
        resolve: id -> case; raises CaseRefused where it cannot be built.
    """

    spec: Spec
    names: Collection[str]
    place: Callable[[str], tuple[str | None, str | None]]
    resolve: Callable[[str], SourceCase]


class Dataset(ABC):
    """A dataset, or a kind of them that is laid out in the same way.

    Attributes:
        name: that users give, and that a store keeps as its `layout`.
        title: that messages have.
        looked_for: what it is recognised by, in a line.
        globs: patterns of the paths that are its own, one a folder level, as in `fnmatch`; a local
            folder is read no further.
        heeds: which of a user's `split_list` and `fold` it knows.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    looked_for: ClassVar[str]
    globs: ClassVar[tuple[str, ...]]
    heeds: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, paths: Iterable[str]) -> bool:
        """Whether files of these paths are laid out as this dataset."""

    @abstractmethod
    def survey(self, files: Files, wishes: Wishes) -> Survey:
        """The dataset's spec and its cases by name.

        Raises:
            SourceError: the place as a whole is not what the dataset looks like.
            UnknownValue: a wish that cannot be met.
        """

    @abstractmethod
    def image_path(self, split: str, source: str, case: str) -> str:
        """Path of a case's volume in this layout; all names are legal ones.

        Raises:
            UnknownValue: a split that the layout has no folder for.
        """

    @abstractmethod
    def mask_path(self, split: str, source: str, case: str) -> str:
        """Path of a case's mask in this layout; all names are legal ones.

        Raises:
            UnknownValue: a split that the layout has no folder for.
        """

    @final
    def describe(self, files: Files, wishes: Wishes) -> Described:
        """The dataset as it lies in one place.

        Every case that a file or a list names is listed, in order of id, or refused. One is refused,
        whatever its files, where its id is no legal name, or another's but for upper and lower case.

        Raises:
            SourceError: the place as a whole is not what the dataset looks like.
            UnknownValue: a wish that the dataset does not heed, or a licence or citation in place of
                the ones that it states.
        """
        self._require_heeded(wishes)
        survey = self.survey(files, wishes)
        spec = _with_licence(_storable(survey.spec, files), wishes)
        found = list(_judged(survey))
        return Described(
            spec,
            Listing(
                tuple(item for item in found if isinstance(item, SourceCase)),
                tuple(item for item in found if isinstance(item, Refusal)),
            ),
        )

    def _require_heeded(self, wishes: Wishes) -> None:
        for wish, what in (("split_list", "a split list"), ("fold", "a fold")):
            if getattr(wishes, wish) is not None and wish not in self.heeds:
                message = f"{what} for {self.title}, which takes none; legal: leave it out"
                raise UnknownValue(message)


def _storable(spec: Spec, files: Files) -> Spec:
    """The spec, whose texts and names fit what a store may hold.

    Raises:
        SourceError: one does not.
    """
    try:
        return validated(spec)
    except ValueError as error:
        message = f"{files.name}: a description that no store can hold: {error}"
        raise SourceError(message) from error


def _with_licence(spec: Spec, wishes: Wishes) -> Spec:
    """The spec with what the user says of its licence and citation, where it says nothing itself."""
    wished = {"licence": wishes.licence, "citation": wishes.citation}
    given = {what: text for what, text in wished.items() if text is not None}
    for what, text in given.items():
        # Of bytes that are no text, a command line makes surrogates.
        if not 0 < len(text) <= MOST_TEXT or any("\ud800" <= c <= "\udfff" for c in text):
            message = f"{what} of {len(text)} characters; legal: 1 to {MOST_TEXT}, of Unicode text"
            raise UnknownValue(message)
        stated = getattr(spec, what)
        if stated not in {UNKNOWN, text}:
            message = (
                f"{what} {text!r} for {spec.name}, which states its own; legal: {stated!r}, or none given"
            )
            raise UnknownValue(message)
    return structs.replace(spec, **given)


def _judged(survey: Survey) -> Iterator[SourceCase | Refusal]:
    twins = colliding(survey.names)
    for case in sorted(survey.names):
        try:
            _require_name(case, twins.get(case, ()))
            yield survey.resolve(case)
        except CaseRefused as error:
            names = error.names if isinstance(error, FilesMissing) else ()
            missing = tuple(_shown(name) for name in names)
            yield Refusal(_shown(case), _shown(str(error)), *survey.place(case), missing)


def _require_name(case: str, twins: Sequence[str]) -> None:
    if not is_legal_name(case):
        message = f"its name is not legal; legal: {LEGAL}"
        raise CaseRefused(message)
    if twins:
        message = f"its name differs from {', '.join(twins)} by case alone; legal: names that differ by more"
        raise CaseRefused(message)


def _shown(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
