"""Arrays that this version did not write, through zarr-python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import zarr
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import ChunkNotFoundError, UnknownCodecError

from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.errors import DamagedStore, MissingDependency, StorageError
from ctspine_zarr.geometry import Shape
from ctspine_zarr.storage import Storage

# Merging reads across the chunks between those asked for would fetch most of a volume for a
# sagittal slice.
_NO_MERGING: Final = 0


@dataclass(frozen=True)
class ForeignArray:
    """An array of any codecs and chunks that zarr-python reads.

    Attributes:
        storage: of the store.
        path: of the array below the store.
        shape, dtype: as the catalog has them.
        stored_bytes: of the array; where there are any, a chunk that is missing is an error.
    """

    storage: Storage
    path: str
    shape: Shape
    dtype: np.dtype[Any]
    stored_bytes: int

    def read(self, requests: Sequence[Request]) -> None:
        """Fill the requests' targets.

        Raises:
            DamagedStore: an object is missing, cut, or cannot be decoded.
            StorageError: the storage itself fails.
            MissingDependency: a codec needs a library that is not installed.
        """
        for request in requests:
            spans = tuple(slice(r.start, r.stop, r.step) for r in request.ranges)
            with self._naming(", ".join(f"{span.start}:{span.stop}" for span in spans)):
                request.target[...] = self._array[spans]

    @cached_property
    def _array(self) -> zarr.Array[Any]:
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
            message = f"{name}: a chunk is missing; the catalog says {self.stored_bytes} bytes are stored"
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
