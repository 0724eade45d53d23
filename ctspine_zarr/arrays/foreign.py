"""Arrays that this version did not write, through zarr-python, within the limits of a record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import zarr
from zarr.abc.codec import Codec
from zarr.codecs import ShardingCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import ChunkNotFoundError, UnknownCodecError

from ctspine_zarr.arrays.conversion import convert
from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.reading import ArraySpec
from ctspine_zarr.errors import DamagedStore, MissingDependency, StorageError
from ctspine_zarr.format.receipt import MOST_DOCUMENT_BYTES
from ctspine_zarr.format.record import MOST_CHUNK_VOXELS, MOST_CHUNKS, MOST_VOXELS
from ctspine_zarr.scaling import Scaling
from ctspine_zarr.storage.guarded import GuardedStore
from ctspine_zarr.storage.keys import MOST_BYTES

# Merging reads across the chunks between those asked for would fetch most of a volume for a
# sagittal slice.
_NO_MERGING: Final = 0
# What a codec makes of voxels that cannot be compressed is no longer than so many times their bytes.
_MOST_GROWTH: Final = 2


@dataclass(frozen=True)
class ForeignArray:
    """An array of any codecs, and of chunks within the limits of a record, that zarr-python reads.

    Attributes:
        array: as the catalog has it; where bytes are stored, a chunk that is missing is an error.
    """

    array: ArraySpec

    def read(self, requests: Sequence[Request], scaling: Scaling | None = None) -> None:
        """Fill the requests' targets; values are scaled where that is asked for.

        Raises:
            DamagedStore: an object is missing, cut, or cannot be decoded; or its chunks are beyond
                what a record may say.
            StorageError: the storage itself fails, or an object is no file of the store, or longer
                than the array's may be.
            MissingDependency: a codec needs a library that is not installed.
        """
        for request in requests:
            spans = tuple(slice(r.start, r.stop, r.step) for r in request.ranges)
            named = ", ".join(f"{span.start}:{span.stop}" for span in spans)
            with self._naming(named), _one_error():
                convert(np.asarray(self._opened[spans]), request.target, scaling)

    @cached_property
    def _opened(self) -> zarr.Array[Any]:
        config: ArrayConfigParams = {
            "read_missing_chunks": self.array.stored_bytes == 0,
            "sharding_coalesce_max_gap_bytes": _NO_MERGING,
        }
        expected = self.array
        store = GuardedStore(expected.storage, self._most_bytes, MOST_DOCUMENT_BYTES)
        found = zarr.open_array(store, path=expected.path, mode="r", zarr_format=3, config=config)
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            seen = f"shape {found.shape} of {found.dtype}"
            message = f"{seen}; the catalog says {expected.shape} of {expected.dtype}"
            raise ValueError(message)
        _require_chunks(found)
        return found

    @property
    def _most_bytes(self) -> int:
        """Of one of its objects: of the shard that the catalog has, or of any chunk that is legal."""
        chunk = MOST_CHUNK_VOXELS * self.array.dtype.itemsize * _MOST_GROWTH
        return min(max(self.array.stored_bytes, chunk), MOST_BYTES)

    @contextmanager
    def _naming(self, spans: str) -> Iterator[None]:
        """Say which voxels of which array could not be had, and whether the store is to blame."""
        name = f"{self.array.name}, voxels [{spans}]"
        try:
            yield
        except StorageError:
            raise
        except ChunkNotFoundError as error:
            stored = f"the catalog says {self.array.stored_bytes} bytes are stored"
            message = f"{name}: a chunk is missing; {stored}"
            raise DamagedStore(message) from error
        except FileNotFoundError as error:
            message = f"{name}: the array's metadata is missing; run verify"
            raise DamagedStore(message) from error
        except (ImportError, UnknownCodecError) as error:
            message = f"{name}: its codec is missing ({error}); install the library that has it"
            raise MissingDependency(message) from error
        # What codecs and parsers raise on altered bytes is their own affair: each another type,
        # BadGzipFile even an OSError, but one without a number of the system's.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                message = f"{name}: cannot be read ({error.strerror})"
                raise StorageError(message) from error
            message = f"{name}: cannot be decoded ({error or type(error).__name__}); run verify"
            raise DamagedStore(message) from error


@contextmanager
def _one_error() -> Iterator[None]:
    """Of the errors of reads that were under way together, raise one: the storage's where there is one."""
    try:
        yield
    except ExceptionGroup as group:
        found: Exception = group.subgroup(StorageError) or group
        while isinstance(found, ExceptionGroup):
            found = found.exceptions[0]
        raise found from group


def _require_chunks(found: zarr.Array[Any]) -> None:
    """Do nothing where what zarr-python decodes at a time, and how often, is what a record may say.

    Raises:
        ValueError: it is more.
    """
    metadata: Any = found.metadata
    shard = found.shards or found.chunks
    shards = math.prod(-(-size // edge) for size, edge in zip(found.shape, shard, strict=True))
    inner = [math.prod(sharding.chunk_shape) for sharding in _shardings(metadata.codecs)]
    chunks = shards * math.prod(shard) // min([math.prod(shard), *inner])
    if math.prod(found.chunks) > MOST_CHUNK_VOXELS or math.prod(shard) > MOST_VOXELS or chunks > MOST_CHUNKS:
        seen = f"{chunks} chunks {found.chunks} in shards {shard}"
        legal = f"at most {MOST_CHUNKS} chunks of {MOST_CHUNK_VOXELS} voxels, in shards of {MOST_VOXELS}"
        message = f"{seen}; legal: {legal}"
        raise ValueError(message)


def _shardings(codecs: Iterable[Codec]) -> Iterator[ShardingCodec]:
    """Every codec that cuts chunks into smaller ones, also inside such a one."""
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            yield codec
            yield from _shardings(codec.codecs)
