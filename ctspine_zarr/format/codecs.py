"""The interface of a chunk codec, and the checksum that ends every chain of codecs.

With it an altered byte is an error and never a wrong voxel.
"""

from __future__ import annotations

from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import crc32c
import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import Malformed
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.geometry import Shape

type Box = tuple[slice, slice, slice]

type KernelForm = tuple[str, int]

MOST_KERNEL_BYTES: Final = 1 << 17
"""Of a chunk that the kernel encodes: more are several blocks of zstd, which its versions part in
different ways, and bytes must not depend on whether there is a kernel."""

MASK_DTYPE: Final = np.dtype("u1")
"""Every segmentation's dtype; labels are 1 to 255, 0 is background."""

CHECKSUM: Final[Document] = {"name": "crc32c"}
LITTLE: Final[Document] = {"name": "bytes", "configuration": {"endian": "little"}}
CHECKSUM_BYTES: Final = 4


class Chunk(Protocol):
    """A decompressed chunk."""

    def copy_to(self, target: NDArray[Any], box: Box) -> None:
        """Write the voxels of a box inside the chunk to a target of its shape and the dtype."""


@dataclass(frozen=True, slots=True)
class PlainChunk:
    """A chunk whose voxels are an array already."""

    voxels: NDArray[Any]

    def copy_to(self, target: NDArray[Any], box: Box) -> None:
        """See `Chunk`."""
        target[...] = self.voxels[box]


class Codec(Protocol):
    """One chunk codec for one dtype and chunk shape. Codecs can be compared and pickled.

    Attributes:
        name: as the catalog has it for each array.
    """

    name: ClassVar[str]

    @property
    def chunk(self) -> Shape:
        """(z, y, x) voxels of one chunk."""

    @property
    def metadata(self) -> list[Document]:
        """The chain of codecs in an array's `zarr.json`, checksum included."""

    @property
    def kernel_form(self) -> KernelForm | None:
        """For the kernel, which writes the same bytes: the codec's name, and zstd's level or 0; None where it
        does not.
        """

    def compress(self, chunk: NDArray[Any]) -> bytes:
        """A C-contiguous little-endian array of the chunk's shape as bytes, checksum not included."""

    def decompress(self, data: memoryview) -> Chunk:
        """What was compressed; any thread may call this. No memory is taken beyond a chunk's.

        Raises:
            Malformed: `data` is no chunk of this shape and dtype.
            MissingDependency: the codec needs a library that is not installed.
        """


@runtime_checkable
class BatchCodec(Protocol):
    """A codec that takes less time for many chunks at once than for one after another."""

    @property
    def batch(self) -> int:
        """Chunks that are worth decompressing at once; 1 where it makes no difference."""

    def decompress_batch(self, chunks: Sequence[memoryview]) -> NDArray[Any]:
        """What was compressed, (chunk, z, y, x).

        Raises:
            Malformed: the bytes of one are no chunk of this shape.
        """


def with_checksum(data: bytes) -> bytes:
    """`data` followed by its crc32c in four little-endian bytes."""
    return data + crc32c.crc32c(data).to_bytes(CHECKSUM_BYTES, "little")


def without_checksum(data: Buffer) -> memoryview:
    """`data` without its last four bytes, which are its crc32c.

    Raises:
        Malformed: they are not.
    """
    view = memoryview(data)
    body, checksum = view[:-CHECKSUM_BYTES], view[-CHECKSUM_BYTES:]
    if crc32c.crc32c(body) != int.from_bytes(checksum, "little") or len(checksum) < CHECKSUM_BYTES:
        message = "its checksum fails"
        raise Malformed(message)
    return body
