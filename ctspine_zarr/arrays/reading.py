"""One array as the catalog has it, and how the arrays of a store are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ctspine_zarr.arrays.cache import ArrayCache
from ctspine_zarr.arrays.threads import require_threads
from ctspine_zarr.errors import StoreUpdated
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Storage

# Of indices, and of shards small enough to be read in one request: nearly a thousand masks.
_SHARD_CACHE_BYTES: Final = 1 << 26


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """A (z, y, x) array of a store, as the catalog has it.

    Attributes:
        storage: of the store.
        path: of the array below the store.
        shape, dtype: of its voxels.
        stored_bytes: size of its one shard; 0 where it has none, every voxel being 0.
        index_crc32c: the crc32c that ends the shard's index; None where the catalog has none.
        slabs: bytes of each slab of its chunks, as the catalog has them; empty where it does not say.
    """

    storage: Storage
    path: str
    shape: Shape
    dtype: np.dtype[Any]
    stored_bytes: int
    index_crc32c: int | None = None
    slabs: bytes = b""

    @property
    def name(self) -> str:
        """Location and path, for messages."""
        return f"{self.storage.location}, array {self.path}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings and caches with which a store's arrays are read.

    Attributes:
        threads: that one read may use; None for every usable core, but 1 in a process that
            multiprocessing started.
        cache: of decoded chunks, where there is one.
        cases_digest: of the state's cases; it tells apart two stores that were at one location.
        shard_cache: indices, and small shards as stored, of a store where each request is a round trip.
        updated: whether the store has another root now, or is getting one; pickles, and may ask the storage.
    """

    threads: int | None = None
    cache: ArrayCache | None = None
    cases_digest: str = ""
    shard_cache: ArrayCache = field(
        default_factory=functools.partial(ArrayCache, _SHARD_CACHE_BYTES), compare=False
    )
    updated: Callable[[], bool] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        require_threads(self.threads)

    def require_current(self, location: str) -> None:
        """Do nothing where the store at `location` is the one that was opened, for all that is known.

        Raises:
            StoreUpdated: it has another root since, or is just getting one.
        """
        if self.updated is not None and self.updated():
            message = f"{location} was updated since it was opened; open it again"
            raise StoreUpdated(message)
