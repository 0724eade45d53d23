"""Arrays of a case's world back on the grid of its source file, as NIfTI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctspine_zarr import nifti
from ctspine_zarr.arrays.regridding import Regridding
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.receipt import NiftiSource
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import CANONICAL, Affine, Lattice, is_invertible, lattice_affine, oriented
from ctspine_zarr.nifti import Header
from ctspine_zarr.outputs import require_free
from ctspine_zarr.read.original import kept_header
from ctspine_zarr.read.sample import Name


@dataclass(frozen=True)
class SourceGrid:
    """The grid of a source file of a case.

    Attributes:
        record: of the case.
        header: of the file.
    """

    record: Record
    header: Header

    @classmethod
    def of(cls, source: NiftiSource, record: Record, which: Name) -> SourceGrid:
        """The grid of a file of which a header was kept.

        Raises:
            DamagedStore: the header is none, or of another grid than the record's.
        """
        return cls(record, kept_header(source, record, which))

    def save(self, array: NDArray[Any], affine: ArrayLike | None, path: Path, fill: float) -> None:
        """Write an array on the file's grid, with the file's header.

        Args:
            array: of three axes.
            affine: (4, 4), indices of the array, in the order of its axes -> RAS+ mm; None for the case's
                own voxels, canonical.
            path: of the new file.
            fill: where the array does not reach.

        Raises:
            UnknownValue: an array, affine or fill that is not legal, or no voxel in common.
            StorageError: the file cannot be written.
        """
        matrix = self._matrix(array, affine)
        dtype = nifti.smallest_dtype(array, fill)
        grid = Regridding(array.astype(dtype, copy=False), self.header.shape, matrix)
        if not grid.reaches:
            raise UnknownValue(self._apart(array, affine))
        nifti.write(path, self._file(grid, fill))

    def _file(self, grid: Regridding, fill: float) -> Iterator[bytes]:
        prefix, dtype = nifti.retyped(self.header.prefix, grid.array.dtype)
        yield prefix
        for part in grid.parts(fill):
            yield part.astype(dtype, copy=False).tobytes(order="F")

    def _matrix(self, array: NDArray[Any], affine: ArrayLike | None) -> Affine:
        """Indices of the file's voxels -> those of the array.

        A voxel of the file is that of the case, whose affine is the image's: the mask's own, which may
        differ by less than half a voxel, does not matter.
        """
        _require_three_axes(array)
        to_canonical = np.rint(np.linalg.inv(self.header.reorientation.old_indices(self.header.shape)))
        if affine is None:
            _require_own_shape(array, self.record)
            return to_canonical
        return np.linalg.inv(_checked(affine)) @ self._world @ to_canonical

    @property
    def _world(self) -> Affine:
        """(4, 4), canonical (z, y, x) -> RAS+ mm."""
        return lattice_affine(self.record.affine, oriented(CANONICAL), Lattice(self.record.shape))

    def _apart(self, array: NDArray[Any], affine: ArrayLike | None) -> str:
        least, most = (np.round(corner, 1).tolist() for corner in _extent(_checked(affine), array.shape))
        own = [np.round(corner, 1).tolist() for corner in _extent(self._world, self.record.shape)]
        seen = f"an array from {least} to {most} mm (RAS+) shares no voxel with case {self.record.id}"
        return f"{seen}; legal: an affine to its world, {own[0]} to {own[1]}"


def save_nifti(
    array: Any,
    path: str | Path,
    grid: SourceGrid,
    *,
    affine: ArrayLike | None,
    fill: float,
    overwrite: bool,
) -> Path:
    """The path of a new file that has an array on the grid of a case's source; see `Case.save_nifti`."""
    place = Path(path)
    if not place.name.endswith((".nii.gz", ".nii")):
        message = f"path {str(path)!r}; legal: a name that ends in .nii.gz or .nii"
        raise UnknownValue(message)
    if not overwrite:
        require_free(place)
    grid.save(np.asarray(array), affine, place, fill)
    return place


def _require_three_axes(array: NDArray[Any]) -> None:
    if array.ndim != 3 or not array.size:
        message = f"an array of shape {array.shape}; legal: three axes, none empty, without one of channels"
        raise UnknownValue(message)


def _require_own_shape(array: NDArray[Any], record: Record) -> None:
    if array.shape != record.shape:
        message = (
            f"an array of shape {array.shape} without an affine; "
            f"legal: the case's {record.shape} (z, y, x), or affine=, as each sample has it"
        )
        raise UnknownValue(message)


def _checked(affine: ArrayLike | None) -> Affine:
    try:
        found = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (4, 4) or found[3].tolist() != [0, 0, 0, 1] or not is_invertible(found):
        message = (
            f"affine {affine!r}; legal: (4, 4), indices of the array -> RAS+ mm, with three independent "
            "finite axes and a last row of 0, 0, 0, 1"
        )
        raise UnknownValue(message)
    return found


def _extent(affine: Affine, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest world position of a grid's voxels, along each axis."""
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    reach = np.abs(affine[:3, :3]) @ ((np.array(shape) - 1) / 2)
    return centre - reach, centre + reach
