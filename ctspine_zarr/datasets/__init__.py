"""Datasets that can be built: each a spec and a layout. The only place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ctspine_zarr.datasets.ctspine1k import CTSpine1K
from ctspine_zarr.datasets.dataset import Dataset, Files
from ctspine_zarr.datasets.nnunet import NnUNet
from ctspine_zarr.datasets.verse import VerSe
from ctspine_zarr.errors import SourceError, choose

DATASETS: Final[Mapping[str, Dataset]] = MappingProxyType(
    {dataset.name: dataset for dataset in (CTSpine1K(), VerSe(), NnUNet())}
)
"""Name, as `--dataset` takes it and a store's `layout` keeps it -> dataset."""

GLOBS: Final = tuple(pattern for dataset in DATASETS.values() for pattern in dataset.globs)
"""Patterns of all paths that are any dataset's own."""


def dataset_of(files: Files, name: str | None = None) -> Dataset:
    """The dataset that files are laid out as.

    Args:
        files: of one place.
        name: of the dataset, where the user says; else it is recognised.

    Raises:
        UnknownValue: there is no dataset of that name.
        SourceError: the files are laid out as none, or as several; the message says what was looked for.
    """
    asked = list(DATASETS.values()) if name is None else [choose("dataset", name, DATASETS)]
    fitting = [dataset for dataset in asked if dataset.recognises(files.paths)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " or ".join(f"--dataset {dataset.name}" for dataset in fitting)
        message = f"{files.name} is laid out as several datasets; legal: one of them, by {names}"
        raise SourceError(message)
    message = "; ".join(f"no {one.title} at {files.name}: looked for {one.looked_for}" for one in asked)
    raise SourceError(message)
