"""A stored array in another orientation, dtype or window: converted as it is read, part by part.

dask passes a slice on to the array it was made from, but not through `astype` or arithmetic:
those read all of a block. What is converted in here stays as lazy as what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ctspine_zarr.arrays.indexing import Ranges, Request, parse_index
from ctspine_zarr.arrays.voxels import ArrayLike, Voxels
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.geometry import Reorientation, Shape, oriented
from ctspine_zarr.scaling import Window, require_window, window_scaling

if TYPE_CHECKING:
    import dask.array

# 32 MB of 512 x 512 int16, a common size for a dask block.
_BLOCK_SLICES: Final = 64


@dataclass(frozen=True)
class Converted(ArrayLike):
    """An array-like over stored voxels: `shape`, `dtype`, `ndim` and basic indexing of numpy.

    Attributes:
        voxels: what is stored.
        reorientation: from (z, y, x) to the axes here.
        result: dtype of what is given.
        window: values (low, high) that become 0 and 1; those beyond are clipped.
    """

    voxels: Voxels
    reorientation: Reorientation
    result: np.dtype[Any]
    window: Window | None

    @classmethod
    def of(
        cls, voxels: Voxels, dtype: DTypeLike | None, window: Window | None, orientation: str
    ) -> Converted:
        """See `Case.to_dask`."""
        reorientation = oriented(orientation)
        if window is None:
            chosen = _dtype(voxels.dtype if dtype is None else dtype, voxels.dtype)
            return cls(voxels, reorientation, chosen, None)
        chosen = _dtype(np.float32 if dtype is None else dtype, None)
        return cls(voxels, reorientation, chosen, require_window(window, chosen))

    @property
    def shape(self) -> Shape:
        """Voxels along each of the axes here."""
        return self.reorientation.shape(self.voxels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what indexing gives."""
        return self.result

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """As `Voxels` has it, converted; no more is read than is asked for."""
        ranges, kept = parse_index(key, self.shape)
        block = np.empty([len(positions) for positions in ranges], self.dtype)
        stored = block.transpose(np.argsort(self.reorientation.axes))
        scaling = None if self.window is None else window_scaling(self.window)
        self.voxels.fill([Request.of(self._stored(ranges), stored)], scaling)
        return block.reshape([block.shape[axis] for axis in kept])

    def to_dask(self) -> dask.array.Array:
        """A dask array whose blocks end where rows of chunks do."""
        import dask.array
        from dask.base import tokenize

        voxels = self.voxels
        # dask takes arrays of one name for one array: the catalog tells a store from its next build.
        stored = (voxels.array.storage.location, voxels.reading.cases_digest, voxels.array.path)
        identity = (stored, self.reorientation, self.dtype, self.window)
        array: dask.array.Array = dask.array.from_array(
            self, self._blocks(), name=f"voxels-{tokenize(*identity)}", meta=np.empty((0, 0, 0), self.dtype)
        )
        return array

    def _stored(self, ranges: Ranges) -> Ranges:
        """The same positions along z, y and x."""
        found = [range(0)] * 3
        for positions, axis, flip in zip(
            ranges, self.reorientation.axes, self.reorientation.flips, strict=True
        ):
            last = self.voxels.shape[axis] - 1
            found[axis] = (
                range(last - positions.start, last - positions.stop, -positions.step) if flip else positions
            )
        z, y, x = found
        return z, y, x

    def _blocks(self) -> tuple[tuple[int, ...], ...]:
        """Blocks that end where rows of chunks do, also where z is reversed."""
        blocks = [(size,) for size in self.shape]
        along_z = self.reorientation.axes.index(0)
        size, thickness = self.shape[along_z], self.voxels.chunk[0]
        ends = [*range(0, size, max(1, _BLOCK_SLICES // thickness) * thickness), size]
        slabs = np.diff(ends).tolist()
        blocks[along_z] = tuple(reversed(slabs) if self.reorientation.flips[along_z] else slabs)
        return tuple(blocks)


def _dtype(asked: DTypeLike, stored: np.dtype[Any] | None) -> np.dtype[Any]:
    """What is asked for, where it is float32, float64 or holds every value of the stored dtype."""
    try:
        dtype = np.dtype(asked)
    except TypeError:
        dtype = np.dtype(object)
    holds = stored is not None and dtype.kind in "iuf" and np.can_cast(stored, dtype, "safe")
    if not holds and dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        also = f" or one that holds every {stored}" if stored else ""
        message = f"dtype {asked}; legal: float32, float64{also}"
        raise UnknownValue(message)
    return dtype
