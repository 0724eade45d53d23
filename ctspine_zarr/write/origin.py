"""A source as users name it, with the dataset that lies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctspine_zarr.datasets import dataset_of
from ctspine_zarr.datasets.dataset import Described, Wishes
from ctspine_zarr.sources.folder import read_split_list
from ctspine_zarr.sources.location import open_source
from ctspine_zarr.sources.source import Source


@dataclass(frozen=True)
class Origin:
    """A user's statements about a source; see `plan_build`.

    Attributes:
        location: a folder, hf://datasets/USER/NAME[@REVISION], or "hub" for CTSpine1K itself.
        dataset: name of the dataset; None where the layout of the files says it.
        fold, licence, citation, split_file: of the dataset, where its files do not say it.
        options: of the Hub.
        keep: whether downloads stay in the Hub's cache.
    """

    location: str | Path
    dataset: str | None = None
    fold: int | None = None
    licence: str | None = None
    citation: str | None = None
    split_file: str | Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False

    @property
    def says_something(self) -> bool:
        """Whether anything is said of the dataset."""
        said = (self.dataset, self.fold, self.licence, self.citation, self.split_file)
        return any(one is not None for one in said)

    def open(self, name: str) -> Source:
        """The place of the files; a repository on the Hub is pinned to the commit it is at.

        Args:
            name: of what is done with it, which tells its downloads from those of others.

        Raises:
            HubError: there is no such repository, or the Hub cannot be reached.
            SourceError: another kind of location, or no path of a folder.
        """
        return open_source(self.location, self.options, name=name, keep=self.keep)

    def describe(self, source: Source) -> Described:
        """The dataset that lies there.

        Raises:
            SourceError: the source is laid out as no dataset is, or has no split list.
            UnknownValue: no dataset has that name, or a statement does not fit it.
        """
        splits = None if self.split_file is None else read_split_list(Path(self.split_file))
        wishes = Wishes(splits, self.fold, self.licence, self.citation)
        return dataset_of(source, self.dataset).describe(source, wishes)
