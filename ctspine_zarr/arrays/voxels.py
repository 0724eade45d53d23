"""One stored array as an array-like that reads only what is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ctspine_zarr.arrays.indexing import Ranges, Request, parse_index
from ctspine_zarr.arrays.reading import ArraySpec, Reading
from ctspine_zarr.arrays.shards import Shard
from ctspine_zarr.errors import DamagedStore
from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.layout import DEFAULT_CHUNK
from ctspine_zarr.geometry import Shape
from ctspine_zarr.scaling import Scaling

if TYPE_CHECKING:
    from ctspine_zarr.arrays.foreign import ForeignArray


class ArrayLike(ABC):
    """What numpy, dask and xarray want of an array, over `shape`, `dtype` and basic indexing."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Voxels along each axis."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Of what indexing gives."""

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(
        self,
        dtype: DTypeLike | None = None,
        copy: bool | None = None,  # noqa: FBT001 - numpy's own protocol
    ) -> NDArray[Any]:
        if copy is False:
            message = "what is stored cannot become an array without a copy"
            raise ValueError(message)
        return np.asarray(self[...], dtype)

    @abstractmethod
    def __getitem__(self, key: Any) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Voxels(ArrayLike):
    """A (z, y, x) array of a store: `shape`, `dtype`, `ndim` and basic indexing of numpy.

    Making one reads nothing; indexing decodes the chunks it touches and no other. Pickles
    where its storage does.

    Attributes:
        array: as the catalog has it.
        codec: of its chunks; None where the catalog names one that this version does not know.
        reading: threads and caches.
    """

    array: ArraySpec
    codec: Codec | None
    reading: Reading

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Caches are left out of a pickle: reading again is faster than sending.
        return type(self), (self.array, self.codec, self.reading)

    @property
    def shape(self) -> Shape:
        """(z, y, x) voxels."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self.array.dtype

    @property
    def chunk(self) -> Shape:
        """(z, y, x) voxels that are best read together: of a chunk, where the codec is known."""
        return self.codec.chunk if self.codec else DEFAULT_CHUNK

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The selection, a C-contiguous numpy array of its own.

        Args:
            key: integers, slices of any step, Ellipsis.

        Raises:
            OutOfBounds: an integer beyond its axis.
            DamagedStore: an object is missing, cut, or fails its checksum; StoreUpdated where
                the store was updated since it was opened.
            StorageError: the storage itself fails.
            MissingDependency: the codec needs a library that is not installed.
        """
        ranges, kept = parse_index(key, self.shape)
        block = self.read(ranges)
        # Three integers too give an array: dask wants one whatever it asks for.
        return block.reshape([block.shape[axis] for axis in kept])

    def read(self, ranges: Ranges) -> NDArray[Any]:
        """The voxels at these positions along z, y and x, upwards or downwards, (z, y, x).

        Raises: as indexing does.
        """
        block = np.empty([len(positions) for positions in ranges], self.dtype)
        self.fill([Request.of(ranges, block)])
        return block

    def fill(self, requests: Sequence[Request], scaling: Scaling | None = None) -> None:
        """Read many selections; with a codec that is known, each chunk they touch is decoded once.

        Args:
            requests: their targets do not overlap. Values are rounded to a target's dtype.
            scaling: of the values, for targets of floats.

        Raises: as indexing does; targets are then filled in part.
        """
        try:
            self._decoder.read([request for request in requests if request.target.size], scaling)
        except DamagedStore:
            self.reading.require_current(self.array.storage.location)
            raise

    @cached_property
    def _decoder(self) -> Shard | ForeignArray:
        if self.codec is not None:
            return Shard(self.array, self.codec, self.reading)
        # zarr takes a quarter of a second to import, which a store of our own need not wait for.
        from ctspine_zarr.arrays.foreign import ForeignArray

        return ForeignArray(self.array)
