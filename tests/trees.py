"""Small datasets in CTSpine1K's layout, made to order for one test."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.datasets import dataset_of
from ctspine_zarr.datasets.cases import CaseFile, Listing
from ctspine_zarr.datasets.dataset import Described, Files, Wishes
from ctspine_zarr.sources.folder import FolderSource
from ctspine_zarr.sources.source import Fetched

AFFINE = np.diag([0.8, 0.8, 2.5, 1.0])
SHAPE = (20, 24, 18)
"""(i, j, k)"""


def voxels(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> NDArray[Any]:
    """Random HU."""
    return np.random.default_rng(seed).integers(-1024, 3071, shape).astype(dtype)


def labels(shape: tuple[int, ...] = SHAPE, dtype: str = "uint8") -> NDArray[Any]:
    """L5 below L4, each one piece."""
    mask = np.zeros(shape, dtype)
    mask[5:12, 5:12, 2:6] = 24
    mask[5:12, 5:12, 8:12] = 23
    return mask


class Tree:
    """A source folder that grows case by case."""

    def __init__(self, root: Path, data: str = "raw_data") -> None:
        self.root = root
        self.data = data
        self.sections: dict[str, list[str]] = {"trainset": [], "test_public": [], "test_private": []}

    def add(
        self,
        case: str = "liver_1",
        image: Any = None,
        mask: Any = None,
        *,
        source: str = "MSD-T10",
        section: str | None = "trainset",
    ) -> Path:
        """Add a case; image and mask are arrays, nibabel images, bytes, or False for no file."""
        path = self._write("volumes", source, f"{case}.nii.gz", voxels() if image is None else image)
        self._write("labels", source, f"{case}_seg.nii.gz", labels() if mask is None else mask)
        if section is not None:
            self.sections[section].append(case)
        self.write_splits()
        return path

    def write_splits(self, text: str | None = None) -> None:
        path = self.root / "metadata" / "data_split.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            text = "\r\n\r\n".join(
                "\r\n".join([f"{name}:", *(f"{case}.nii.gz" for case in cases)])
                for name, cases in self.sections.items()
            )
        path.write_bytes(f"{text}\r\n".encode())

    def _write(self, folder: str, source: str, name: str, content: Any) -> Path:
        path = self.root / self.data / folder / source / name
        _write(path, content)
        return path


class VerseTree:
    """A folder of VerSe's layout that grows case by case."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        case: str = "sub-verse004",
        image: Any = None,
        mask: Any = None,
        *,
        folder: str = "dataset-01training",
    ) -> Path:
        """Add a case, as `Tree.add` does."""
        subject = case.partition("_")[0]
        path = self.root / folder / "rawdata" / subject / f"{case}_ct.nii.gz"
        _write(path, voxels() if image is None else image)
        masks = self.root / folder / "derivatives" / subject
        _write(masks / f"{case}_seg-vert_msk.nii.gz", labels() if mask is None else mask)
        (masks / f"{case}_seg-subreg_ctd.json").write_text('[{"direction": ["L", "P", "S"]}]')
        return path


class NnunetTree:
    """A raw dataset of nnU-Net that grows case by case; `description` is its dataset.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.description: dict[str, Any] = {
            "name": "Spines",
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "L4": 23, "L5": 24},
            "file_ending": ".nii.gz",
            "numTraining": 1,
        }

    def add(self, case: str = "a", image: Any = None, mask: Any = None, *, folder: str = "Tr") -> Path:
        """Add a case, as `Tree.add` does."""
        path = self.root / f"images{folder}" / f"{case}_0000.nii.gz"
        _write(path, voxels() if image is None else image)
        _write(self.root / f"labels{folder}" / f"{case}.nii.gz", labels() if mask is None else mask)
        self.describe()
        return path

    def describe(self, **fields: Any) -> None:
        self.description |= fields
        (self.root / "dataset.json").write_text(json.dumps(self.description))

    def write_folds(self, *folds: tuple[Iterable[str], Iterable[str]]) -> None:
        text = json.dumps([{"train": list(train), "val": list(val)} for train, val in folds])
        (self.root / "splits_final.json").write_text(text)


@dataclass
class Names:
    """Files that are names alone, of one byte each, and documents."""

    paths: list[str] = field(default_factory=list)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    name: str = "a place"

    def __post_init__(self) -> None:
        self.paths = sorted([*self.paths, *self.documents])

    def read(self, path: str) -> bytes | None:
        return self.documents.get(path)

    def describe(self, path: str) -> CaseFile:
        return CaseFile(path, 1)


def described(place: Files | Path, dataset: str | None = None, **wishes: Any) -> Described:
    """The dataset in a folder, or of names alone."""
    files = FolderSource(place) if isinstance(place, Path) else place
    return dataset_of(files, dataset).describe(files, Wishes(**wishes))


def listed(place: Files | Path, dataset: str | None = None, **wishes: Any) -> Listing:
    """Its cases."""
    return described(place, dataset, **wishes).listing


def fetched(root: Path) -> list[Fetched]:
    """The cases of the dataset in a folder, and where their files lie."""
    return [FolderSource(root).fetch(case) for case in listed(root).cases]


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not False:
        path.write_bytes(content if isinstance(content, bytes) else packed(content))


def packed(content: Any) -> bytes:
    """An array, a nibabel image or the bytes of a `.nii` as those of a `.nii.gz`."""
    return gzip.compress(content if isinstance(content, bytes) else unpacked(content), 1, mtime=0)


def unpacked(content: Any) -> bytes:
    """An array or nibabel image as the bytes of a `.nii`."""
    image = in_mm(content) if isinstance(content, np.ndarray) else content
    return bytes(image.to_bytes())


def in_mm(array: NDArray[Any], affine: Any = AFFINE, kind: Any = nibabel.Nifti1Image) -> Any:
    """A nibabel image that names its unit, which nibabel's own do not."""
    header = kind.header_class(endianness=">" if array.dtype.byteorder == ">" else "<")
    header.set_xyzt_units("mm")
    image = kind(array, affine, header, dtype=array.dtype)
    # Of an affine given with a header nibabel codes nothing.
    if affine is not None:
        image.set_sform(affine, code="aligned")
    return image


def edited(stored: NDArray[Any], kind: Any = nibabel.Nifti1Image, **fields: Any) -> bytes:
    """The bytes of a `.nii` over exactly these stored voxels, header fields set after the fact."""
    data = unpacked(in_mm(stored, kind=kind))
    size = kind.header_class.sizeof_hdr
    header = kind.header_class(data[:size])
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + data[size:]


def scaled(stored: NDArray[Any], slope: float, inter: float) -> bytes:
    """The bytes of a `.nii` with this scaling over exactly these stored voxels."""
    return edited(stored, scl_slope=slope, scl_inter=inter)


def load(path: Path) -> Any:
    """`nibabel.load`, whose declared type has no voxels."""
    return nibabel.load(path)


def nibabel_canonical(path: Path) -> NDArray[Any]:
    """What nibabel says the canonical (z, y, x) values of a file are."""
    image = nibabel.as_closest_canonical(load(path))
    return np.asarray(image.dataobj).transpose()
