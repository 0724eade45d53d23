"""The files of a dataset's repository at one commit, by case, split, source and kind."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ctspine_zarr.datasets import dataset_of
from ctspine_zarr.datasets.cases import CaseFile, Listing, Refusal, SourceCase
from ctspine_zarr.datasets.ctspine1k import HUB
from ctspine_zarr.datasets.dataset import Wishes
from ctspine_zarr.datasets.raw import KINDS, Kind, RawFile, require_paths
from ctspine_zarr.datasets.selection import Selection
from ctspine_zarr.errors import HubError, UnknownValue, require_known
from ctspine_zarr.hub.repository import Repository
from ctspine_zarr.sources.folder import read_split_list
from ctspine_zarr.sources.hub import HubSource

USUAL: Final[tuple[Kind, ...]] = ("image", "mask", "metadata")
"""The kinds of files that a build reads."""

_SHORT: Final = "hub"
_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
_METADATA: Final = "metadata/"


@dataclass(frozen=True)
class RawListing:
    """Files of a dataset at one commit.

    Attributes:
        repository: where they are, without a revision.
        revision: that was asked for; None for the main branch.
        commit: that it named.
        files: those that are chosen: metadata, then image and mask of each case by id, then others.
        refused: chosen cases of which a file is missing, or that are not legal: none of their files is here.
    """

    repository: str
    revision: str | None
    commit: str
    files: tuple[RawFile, ...]
    refused: tuple[Refusal, ...]
    at: Repository = field(repr=False, compare=False)

    @property
    def bytes(self) -> int:
        """Size of the files together."""
        return sum(file.size for file in self.files)

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases that files are of."""
        return tuple(dict.fromkeys(file.case for file in self.files if file.case is not None))


def list_raw(
    repository: str = _SHORT,
    selection: Selection | None = None,
    *,
    revision: str | None = None,
    kinds: Collection[Kind] = USUAL,
    dataset: str | None = None,
    split_file: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> RawListing:
    """A dataset's own files on the Hub, at the commit that a revision names now.

    No volume is read: it takes a request for the commit, one for a thousand files and folders, and the
    documents of the dataset, such as its split list.

    Args:
        repository: `hub` for CTSpine1K itself, `hf://datasets/USER/NAME[@REVISION][/FOLDER]`, or `USER/NAME`.
        selection: which cases; all by default. Files that are of no case are always chosen.
        revision: a branch, tag or commit, where the location names none; the main branch by default.
        kinds: `image`, `mask`, `metadata` (the documents that a build reads, and what else is in a folder of
            that name) and `other`; all but the last by default.
        dataset: `ctspine1k`, `verse` or `nnunet`; by default what the layout of the files says.
        split_file: CTSpine1K's split list, on this machine, where the repository has none.
        options: of the Hub: `token` and `endpoint`, else those of the environment; `timeout`, seconds.

    Raises:
        HubError: there is no such repository or revision, or the Hub cannot be reached, refuses, or is not
            to be asked (HF_HUB_OFFLINE).
        SourceError: the files are laid out as no dataset is, or have no split list, or a chosen one has a
            path that leads elsewhere or is another's but for upper and lower case.
        UnknownCase, UnknownValue: the selection names what does not exist; or a revision is given twice.
    """
    require_known("kind", kinds, KINDS)
    source = HubSource.at(_location(repository, revision), options or {}, "raw", keep=False)
    at = source.repository
    if at.is_offline:
        message = f"cannot list {at}: the Hub is not asked (HF_HUB_OFFLINE); legal: unset it"
        raise HubError(message)
    wishes = Wishes(None if split_file is None else read_split_list(Path(split_file)))
    found = dataset_of(source, dataset).describe(source, wishes)
    chosen = (selection or Selection()).of(found.spec, found.listing)
    files = tuple(file for file in _files(source, found.listing, chosen) if file.kind in kinds)
    require_paths([file.path for file in files], source.name)
    place = str(dataclasses.replace(at, revision=None))
    refused = chosen.refused if {"image", "mask"}.intersection(kinds) else ()
    return RawListing(place, at.revision, at.commit, files, refused, at)


def _location(repository: str, revision: str | None) -> str:
    location = HUB if repository == _SHORT else repository
    if _NAME.fullmatch(location):
        location = f"hf://datasets/{location}"
    if revision is None:
        return location
    named = Repository.at(location, {})
    if named.revision is not None:
        message = f"revision {revision!r} of {location}; legal: one revision"
        raise UnknownValue(message)
    return str(dataclasses.replace(named, revision=revision))


def _files(source: HubSource, listing: Listing, chosen: Listing) -> Iterator[RawFile]:
    """All files that are of a chosen case, or surely of none."""
    of_cases = {file.path for case in listing.cases for file in case.files}
    documents = [path for path in source.paths if path in source.documents or path.startswith(_METADATA)]
    yield from (_beside(source, path, "metadata") for path in documents)
    for case in chosen.cases:
        kinds: tuple[Kind, ...] = ("image", "mask")
        yield from (_of(source, case, file, kind) for file, kind in zip(case.files, kinds, strict=False))
    known = of_cases.union(documents)
    yield from (_beside(source, path, "other") for path in source.paths if path not in known)


def _of(source: HubSource, case: SourceCase, file: CaseFile, kind: Kind) -> RawFile:
    beside = _beside(source, file.path, kind)
    return dataclasses.replace(beside, case=case.id, split=case.split, source=case.source)


def _beside(source: HubSource, path: str, kind: Kind) -> RawFile:
    record = source.repository.files[path]
    url = source.repository.url(path)
    blob = None if record.sha256 else record.blob
    return RawFile(path, kind, None, None, None, record.size, record.sha256, blob, url)
