"""One stored array as an array-like that reads only what is asked for."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import ChunkNotFoundError, UnknownCodecError

from ctspine_zarr.errors import DamagedStore, MissingDependency, OutOfBounds, StorageError
from ctspine_zarr.format.layout import SHARD
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Storage

type Index = int | slice

# Merging reads across the chunks between those asked for would fetch most of a volume for a
# sagittal slice.
_NO_MERGING: Final = 0


@dataclass(frozen=True)
class Voxels:
    """A (z, y, x) array of a store: `shape`, `dtype`, `ndim` and basic indexing of numpy.

    Making one reads nothing; indexing decodes the chunks it touches and no other. Pickles
    where its storage does.

    Attributes:
        storage: of the store.
        path: of the array below the store.
        shape: as the catalog has it.
        dtype: as the catalog has it.
        stored_bytes: size of its shard; 0 where it has none, every voxel being 0.
    """

    storage: Storage
    path: str
    shape: Shape
    dtype: np.dtype[Any]
    stored_bytes: int

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The selection, a numpy array of its own.

        Args:
            key: integers, slices of any step, Ellipsis.

        Raises:
            OutOfBounds: an integer beyond its axis.
            DamagedStore: an object is missing, cut, or fails its checksum.
        StorageError: the storage itself fails.
        MissingDependency: the codec needs a library that is not installed.
        """
        spans = [_Span.of(index, size) for index, size in zip(_expand(key), self.shape, strict=True)]
        if any(span.count == 0 for span in spans):
            return np.empty([span.count for span in spans if not span.is_integer], self.dtype)
        block = self._read(tuple(span.forward for span in spans))
        # No numpy scalar for three integers: dask wants an array whatever it asks for.
        return np.array(block[tuple(span.finish for span in spans)], order="C", copy=None)

    def _read(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        with self._naming(", ".join(f"{span.start}:{span.stop}" for span in selection)):
            return np.asarray(self._array[selection])

    @cached_property
    def _array(self) -> zarr.Array[Any]:
        stored = self.storage.size(f"{self.path}/{SHARD}") if self.stored_bytes else 0
        if stored != self.stored_bytes:
            # Not left to zarr alone: before 3.4.2 it gives zeros for a missing shard.
            seen = "is missing" if stored is None else f"has {stored} bytes"
            message = f"its shard {seen}; the catalog says {self.stored_bytes}"
            raise ValueError(message)
        config: ArrayConfigParams = {
            "read_missing_chunks": self.stored_bytes == 0,
            "sharding_coalesce_max_gap_bytes": _NO_MERGING,
        }
        array = zarr.open_array(self.storage.zarr, path=self.path, mode="r", zarr_format=3, config=config)
        if (array.shape, array.dtype) != (self.shape, self.dtype):
            message = f"shape {array.shape} of {array.dtype}; the catalog says {self.shape} of {self.dtype}"
            raise ValueError(message)
        return array

    @contextmanager
    def _naming(self, spans: str) -> Iterator[None]:
        """Say which voxels of which array could not be had, and whether the store is to blame."""
        name = f"{self.storage.location}, array {self.path}, voxels [{spans}]"
        try:
            yield
        except ChunkNotFoundError as error:
            message = f"{name}: its shard is missing; the catalog says {self.stored_bytes}"
            raise DamagedStore(message) from error
        except FileNotFoundError as error:
            message = f"{name}: the array's metadata is missing; run verify"
            raise DamagedStore(message) from error
        except OSError as error:
            message = f"{name}: cannot be read ({error.strerror or error})"
            raise StorageError(message) from error
        except (ImportError, UnknownCodecError) as error:
            message = f"{name}: its codec is missing ({error}): pip install 'ctspine-zarr[compact]'"
            raise MissingDependency(message) from error
        # What codecs and parsers raise on altered bytes is their own affair: each another type.
        except (ValueError, TypeError, KeyError, RuntimeError, IndexError) as error:
            message = f"{name}: cannot be decoded ({error}); run verify"
            raise DamagedStore(message) from error


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis of a selection, as a forward read and what is left to do to its result."""

    forward: slice
    finish: Index
    count: int
    is_integer: bool = False

    @classmethod
    def of(cls, index: Index, size: int) -> _Span:
        if not isinstance(index, slice):
            if not -size <= index < size:
                message = f"index {index}; legal: {-size} to {size - 1}"
                raise OutOfBounds(message)
            start = index % size
            return cls(slice(start, start + 1), 0, 1, is_integer=True)
        positions = range(size)[index]
        backward = positions.step < 0
        forward = positions[::-1] if backward else positions
        return cls(
            slice(forward.start, forward.stop, forward.step),
            slice(None, None, -1 if backward else 1),
            len(positions),
        )


def _expand(key: Any) -> list[Index]:
    """A numpy basic index as one entry an axis."""
    parts = list(key) if isinstance(key, tuple) else [key]
    gaps = [at for at, part in enumerate(parts) if part is Ellipsis]
    if len(gaps) > 1 or len(parts) - len(gaps) > 3:
        message = f"index {key!r}; legal: at most three integers or slices and one Ellipsis"
        raise OutOfBounds(message)
    at = gaps[0] if gaps else len(parts)
    whole = [slice(None)] * (3 - len(parts) + len(gaps))
    return [_part(part) for part in (*parts[:at], *whole, *parts[at + 1 :])]


def _part(part: Any) -> Index:
    if isinstance(part, slice):
        return part
    if isinstance(part, bool) or not hasattr(part, "__index__"):
        message = f"index {part!r}; legal: integers, slices and Ellipsis"
        raise OutOfBounds(message)
    return int(operator.index(part))
