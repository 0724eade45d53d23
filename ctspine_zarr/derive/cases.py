"""Cases of a derived store: volumes made of those of its parent, where a build asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, override

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.conversion import look_up
from ctspine_zarr.datasets.cases import CaseFile, SourceCase
from ctspine_zarr.derive.filtering import filtered, nearest, taps_of
from ctspine_zarr.derive.majority import majority
from ctspine_zarr.digest import BackgroundSha256, sha256
from ctspine_zarr.errors import CaseRefused, CtspineError
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.encoding import encode
from ctspine_zarr.format.record import Record, StoredArray
from ctspine_zarr.format.spec import Derived
from ctspine_zarr.geometry import Lattice, lattice_affine, oriented
from ctspine_zarr.memory.pages import pages
from ctspine_zarr.nifti import Header, Volume
from ctspine_zarr.read.case import Case
from ctspine_zarr.read.opening import open_store
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.volumes import Frame
from ctspine_zarr.sources.source import CaseVolumes, Supply, Which

_LABELS: Final = 256


def frame_of(derived: Derived, levels: tuple[int, ...]) -> Frame:
    """What is taken of each case of the parent, whose levels these are."""
    if derived.crop is None:
        return Frame(derived.spacing)
    return Frame(derived.spacing, derived.margin, levels if derived.crop == "spine" else None)


def source_case(record: Record, derived: Derived) -> SourceCase:
    """A case of the parent as a plan has it: its arrays in place of files.

    The digest of an array is that of what the parent's case holds and of how it is derived, so that a case
    which is whole is known to be.
    """
    digest = sha256(encode([record.content, derived]))

    def file(which: Which, array: StoredArray) -> CaseFile:
        return CaseFile(f"{record.path}/{which}", array.bytes, sha256=digest)

    mask = record.segmentation
    return SourceCase(
        id=record.id,
        patient_id=record.patient_id,
        split=record.split,
        source=record.source,
        image=file("image", record.image),
        segmentation=None if mask is None else file("segmentation", mask),
        transitional=record.transitional,
        spreadsheet=record.spreadsheet,
        series=record.series,
    )


@dataclass(frozen=True)
class DerivedCase(CaseVolumes):
    """A case of the parent whose volumes are derived when they are read. Pickles small.

    Attributes:
        case: as it was planned.
        parent: the case.
        derived: how.
        levels: of the parent's dataset.
    """

    case: SourceCase
    parent: Case
    derived: Derived
    levels: tuple[int, ...]

    @override
    def header(self, which: Which) -> Header:
        return nifti.parse_header(self._prefix(which))

    @override
    def read(self, which: Which) -> Volume:
        try:
            voxels = self._image() if which == "image" else self._mask()
        except CaseRefused:
            raise
        except CtspineError as error:
            raise CaseRefused(str(error)) from error
        prefix, file = self._prefix(which), self._file(which)
        hashing = BackgroundSha256()
        hashing.update(prefix)
        hashing.update(voxels.reshape(-1).view(np.uint8))
        return Volume(
            name=f"{self.case.id}.nii.gz",
            header=nifti.parse_header(prefix),
            stored=voxels.transpose(),
            trailer=b"",
            file_bytes=file.bytes,
            file_sha256=file.sha256 or "",
            file_ending="",
            inflated_sha256=hashing.hexdigest(),
        )

    def _file(self, which: Which) -> CaseFile:
        found = self.case.image if which == "image" else self.case.segmentation
        if found is None:
            message = f"case {self.case.id} has no mask"
            raise CaseRefused(message)
        return found

    def _prefix(self, which: Which) -> bytes:
        dtype = np.dtype(self.derived.dtype) if which == "image" else MASK_DTYPE
        affine = lattice_affine(self.parent.affine, oriented("RAS"), self._lattice)
        return nifti.new_prefix(self._lattice.size[::-1], dtype, affine)

    @cached_property
    def _lattice(self) -> Lattice:
        frame = frame_of(self.derived, self.levels)
        if not frame.has(self.parent.record):
            message = f"case {self.case.id} has no label to crop to; legal: a case that has, or no crop"
            raise CaseRefused(message)
        return frame.lattice(self.parent.record)

    def _image(self) -> NDArray[Any]:
        """(z, y, x), C-contiguous, in the dtype that is asked for."""
        lattice, voxels = self._lattice, self.parent.voxels("image")
        dtype = np.dtype(self.derived.dtype)
        self._require_range(dtype)
        found = pages(lattice.size, dtype)
        taps = taps_of(lattice, self.parent.shape)
        planes = filtered(lambda *box: voxels[box], taps, voxels.chunk[0])
        for plane, target in zip(planes, found, strict=True):
            if self.derived.window is not None:
                np.clip(plane, *self.derived.window, out=plane)
            if dtype.kind == "i":
                np.rint(plane, out=plane)
            target[...] = plane
        return found

    def _require_range(self, dtype: np.dtype[Any]) -> None:
        hu = self.parent.record.intensity
        if dtype.kind == "i" and self.derived.window is None:
            limits = np.iinfo(dtype)
            if not limits.min <= hu.min <= hu.max <= limits.max:
                message = f"HU from {hu.min:g} to {hu.max:g} as {dtype}; legal: float32, or a window"
                raise CaseRefused(message)

    def _mask(self) -> NDArray[np.uint8]:
        """(z, y, x), C-contiguous, labels of the derived store."""
        lattice, mask = self._lattice, self.parent.voxels("segmentation")[...]
        if self.derived.mask_by == "majority":
            labels = [label.label for label in self.parent.record.labels]
            found = majority(mask, taps_of(lattice, self.parent.shape), labels)
        else:
            z, y, x = nearest(lattice, self.parent.shape)
            found = mask.take(z, 0).take(y, 1).take(x, 2)
        if not self.derived.values:
            return np.ascontiguousarray(found)
        mapped = pages(found.shape, MASK_DTYPE)
        look_up(found, mapped, table_of(self.derived))
        return mapped


def table_of(derived: Derived) -> bytes:
    """The value here of each of 256 labels of the parent."""
    return bytes([0, *(derived.values.get(label, 0) for label in range(1, _LABELS))])


@dataclass(frozen=True)
class DerivedCases(Supply[DerivedCase]):
    """The cases of a parent store, derived. Pickles small: a process opens the store itself.

    Attributes:
        location: of the parent.
        options: by which it is opened.
        derived: how.
    """

    location: str
    options: Mapping[str, Any] = field(repr=False)
    derived: Derived

    @property
    def name(self) -> str:
        """The parent's location."""
        return self.location

    @override
    def fetch(self, case: SourceCase) -> DerivedCase:
        store = self.store
        if store.digest != self.derived.parent:
            message = f"{self.location} was updated since the plan was made; legal: a new plan"
            raise CaseRefused(message)
        return DerivedCase(case, store[case.id], self.derived, tuple(store.spec.levels))

    @override
    def release(self, fetched: DerivedCase) -> None:
        """Nothing was brought here."""

    @override
    def close(self) -> None:
        """Nothing was brought here."""

    @cached_property
    def store(self) -> Store:
        """The parent."""
        return open_store(self.location, threads=1, storage_options=self.options)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "store"}
