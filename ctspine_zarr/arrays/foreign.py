"""Arrays that this version did not write, through zarr-python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import zarr
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import ChunkNotFoundError, UnknownCodecError

from ctspine_zarr.arrays.indexing import Request
from ctspine_zarr.arrays.reading import ArraySpec
from ctspine_zarr.errors import DamagedStore, MissingDependency, StorageError

# Merging reads across the chunks between those asked for would fetch most of a volume for a
# sagittal slice.
_NO_MERGING: Final = 0


@dataclass(frozen=True)
class ForeignArray:
    """An array of any codecs and chunks that zarr-python reads.

    Attributes:
        array: as the catalog has it; where bytes are stored, a chunk that is missing is an error.
    """

    array: ArraySpec

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
                request.target[...] = self._opened[spans]

    @cached_property
    def _opened(self) -> zarr.Array[Any]:
        config: ArrayConfigParams = {
            "read_missing_chunks": self.array.stored_bytes == 0,
            "sharding_coalesce_max_gap_bytes": _NO_MERGING,
        }
        told = self.array
        found = zarr.open_array(told.storage.zarr, path=told.path, mode="r", zarr_format=3, config=config)
        if (found.shape, found.dtype) != (told.shape, told.dtype):
            message = f"shape {found.shape} of {found.dtype}; the catalog says {told.shape} of {told.dtype}"
            raise ValueError(message)
        return found

    @contextmanager
    def _naming(self, spans: str) -> Iterator[None]:
        """Say which voxels of which array could not be had, and whether the store is to blame."""
        name = f"{self.array.name}, voxels [{spans}]"
        try:
            yield
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
