"""The layouts that cases are exported in: which files, where, and what is in them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ctspine_zarr import nifti
from ctspine_zarr.datasets import DATASETS
from ctspine_zarr.errors import UnknownValue, choose
from ctspine_zarr.geometry import CANONICAL, Lattice, lattice_affine, oriented
from ctspine_zarr.maintain.centroids import Centroids, centroids_of_mask, centroids_of_record
from ctspine_zarr.maintain.content import Content
from ctspine_zarr.outputs import whole_file
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.original import inflated_source
from ctspine_zarr.read.sample import Name

type Paths = tuple[str, ...]

_LAYOUT: Final = "verse"
# Values of the image in slices.
_HU: Final = np.iinfo(np.int16)


class Layout(ABC):
    """A layout of exported files. Pickles."""

    @abstractmethod
    def paths(self, case: Case) -> Paths:
        """Where a case's files lie, below the output.

        Raises:
            UnknownValue: the case has none in this layout, such as one without the labels to crop to.
        """

    @abstractmethod
    def written(self, case: Case, output: Path) -> Iterator[str]:
        """The paths of a case's files, each once it is written; what is there is replaced.

        Raises:
            StorageError: a file cannot be written; it is never there in part.
            DamagedStore: the case cannot be read, or is not what its source was.
            UnknownValue: as `paths`.
        """

    def name(self, case: str) -> str:
        """The name that a case has there."""
        return case


class Source(Layout):
    """The layout of the cases' own dataset: the source's bytes again, once inflated."""

    def paths(self, case: Case) -> Paths:
        """See `Layout`: the volume's first."""
        return tuple(_source_paths(case).values())

    def written(self, case: Case, output: Path) -> Iterator[str]:
        """See `Layout`."""
        for which, path in _source_paths(case).items():
            write_source(case, which, output / path)
            yield path


def write_source(case: Case, which: Name, path: Path) -> None:
    """Write a source file again, proven against its digest where it is restorable.

    Raises: as `Layout.written`.
    """
    source = case.nifti_source(which)
    digest = source.inflated_sha256 if source.restorable else None
    nifti.write(path, inflated_source(case.voxels(which), source, case.record, which), digest)


def _source_paths(case: Case) -> dict[Name, str]:
    """It follows from names that were checked, not from what was kept."""
    layout, record = choose("layout", case.spec.layout, DATASETS), case.record
    of: dict[Name, Callable[[str, str, str], str]] = {
        "image": layout.image_path,
        "segmentation": layout.mask_path,
    }
    return {which: of[which](record.split, record.source, record.id) for which in case.names}


@dataclass(frozen=True)
class Subjects(Layout):
    """A layout after BIDS, of `rawdata` and `derivatives`: a volume and what it is of, a mask and centroids.

    Volumes and masks are the source's bytes, or canonical where they are cropped or their labels mapped.

    Attributes:
        content: of the files.
        names: id of a case -> its name there; see `subject_names`.
        has_splits: whether each split has a folder of its own, as VerSe has it.
    """

    content: Content
    names: Mapping[str, str] = field(repr=False)
    has_splits: bool

    def name(self, case: str) -> str:
        """See `Layout`."""
        return self.names[case]

    def paths(self, case: Case) -> Paths:
        """See `Layout`."""
        self.content.require(case.record)
        image, mask = self._places(case)
        of_mask = (mask, _centroids_beside(mask)) if case.has_mask else ()
        return (image, _sidecar_beside(image), *of_mask)

    def written(self, case: Case, output: Path) -> Iterator[str]:
        """See `Layout`."""
        image, mask = self._places(case)
        centroids = yield from self._volumes(case, {"image": image, "segmentation": mask}, output)
        documents: dict[str, object] = {_sidecar_beside(image): _about(case)}
        if centroids is not None:
            documents[_centroids_beside(mask)] = centroids
        for path, document in documents.items():
            with whole_file(output / path) as file:
                file.write(json.dumps(document).encode())
            yield path

    def _volumes(
        self, case: Case, paths: Mapping[Name, str], output: Path
    ) -> Generator[str, None, Centroids | None]:
        """As `written`; what it returns are the centroids, None without a mask."""
        if self.content.is_source:
            for which in case.names:
                write_source(case, which, output / paths[which])
                yield paths[which]
            return centroids_of_record(case) if case.has_mask else None
        read = self.content.read(case)
        for which, array in read.arrays.items():
            nifti.write(output / paths[which], [nifti.encode(array.transpose(), read.affine)])
            yield paths[which]
        mask = read.arrays.get("segmentation")
        return None if mask is None else centroids_of_mask(mask, self.content.no_label)

    def _places(self, case: Case) -> tuple[str, str]:
        """The paths of the volume and of the mask."""
        name, verse = self.names[case.id], DATASETS[_LAYOUT]
        found = [
            path(case.record.split, case.record.source, name) for path in (verse.image_path, verse.mask_path)
        ]
        image, mask = found if self.has_splits else [path.partition("/")[2] for path in found]
        return image, mask


def _sidecar_beside(image: str) -> str:
    return image.removesuffix(".nii.gz") + ".json"


def _centroids_beside(mask: str) -> str:
    return mask.removesuffix("_msk.nii.gz") + "_ctd.json"


def _about(case: Case) -> dict[str, str]:
    """What a file's name no longer says of its case."""
    record = case.record
    return {
        "case": record.id,
        "patient_id": record.patient_id,
        "split": record.split,
        "source": record.source,
        "dataset": case.spec.name,
        "licence": case.spec.licence,
    }


@dataclass(frozen=True)
class Slices(Layout):
    """A layout of axial slices, each an `.npz` file by its number in the volume.

    It has `image`, int16 HU (y, x); `label`, uint8, of a case with a mask; `spacing` in mm, (z, y, x); and
    `affine`, (4, 4), indices (z, y, x) of the slice as a box one voxel thick -> RAS+ mm.

    Attributes:
        content: of the files.
    """

    content: Content

    def paths(self, case: Case) -> Paths:
        """See `Layout`."""
        least, most = case.record.intensity.min, case.record.intensity.max
        if not (_HU.min <= least and most <= _HU.max):
            legal = f"{_HU.min} to {_HU.max}, or another layout"
            message = f"case {case.id} has HU from {least:g} to {most:g}; legal in slices of int16: {legal}"
            raise UnknownValue(message)
        (first, _, _), (count, _, _) = self.content.box(case.record)
        return tuple(_slice_path(case, index) for index in range(first, first + count))

    def written(self, case: Case, output: Path) -> Iterator[str]:
        """See `Layout`."""
        self.paths(case)
        start, size = self.content.box(case.record)
        # Whole chunks are read at a time, wherever the first slice lies.
        thickness, stop = case.voxels("image").chunk[0], start[0] + size[0]
        ends = [*range((start[0] // thickness + 1) * thickness, stop, thickness), stop]
        for begin, end in zip([start[0], *ends], ends, strict=False):
            read = self.content.read(case, ((begin, *start[1:]), (end - begin, *size[1:])))
            for index in range(begin, end):
                arrays = {name: array[index - begin] for name, array in read.arrays.items()}
                _write_slice(case, output, arrays, (index, *start[1:]))
                yield _slice_path(case, index)


def _write_slice(case: Case, output: Path, arrays: Mapping[Name, Any], start: tuple[int, int, int]) -> None:
    rows, columns = arrays["image"].shape
    lattice = Lattice((1, rows, columns), start)
    saved = {
        "image": np.rint(arrays["image"]).astype(np.int16),
        "spacing": np.array(case.spacing),
        "affine": lattice_affine(case.affine, oriented(CANONICAL), lattice),
    }
    if "segmentation" in arrays:
        saved["label"] = arrays["segmentation"]
    with whole_file(output / _slice_path(case, start[0])) as file:
        np.savez_compressed(file, **saved)


def _slice_path(case: Case, index: int) -> str:
    return f"{case.record.split}/{case.id}/{index:04}.npz"
