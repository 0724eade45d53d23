"""What several scripts take on their command lines, and the cases that they find there."""

import argparse
from pathlib import Path

import ctspine_zarr as cz
from ctspine_zarr.datasets import dataset_of
from ctspine_zarr.datasets.dataset import Described, Wishes
from ctspine_zarr.sources.folder import FolderSource
from ctspine_zarr.sources.source import Fetched


def positive(text: str) -> int:
    """An integer from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        message = f"{text}; legal: an integer from 1"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def described(source: Path) -> Described:
    """The dataset in a local folder."""
    folder = FolderSource(source)
    return dataset_of(folder).describe(folder, Wishes())


def local_cases(source: Path, chosen: str | None = None) -> list[Fetched]:
    """Its cases, or the one that is chosen, and where their files lie."""
    cases = described(source).listing.cases
    return [FolderSource(source).fetch(case) for case in cases if chosen in {None, case.id}]


def selection(chosen: str | None) -> cz.Selection:
    """The same for a plan."""
    return cz.Selection(cases=chosen or ())
