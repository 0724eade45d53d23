"""The native kernel, where its wheel `ctspine-zarr-native` is installed; nothing else imports it.

What the kernel cannot do, or refuses, is done in Python, which says what is wrong: results and errors
are the same with it and without.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Buffer, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

# Arrays are handed on as they are: what is made of them, only types name.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ctspine_zarr.geometry import Shape

SWITCH: Final = "CTSPINE_ZARR_NATIVE"
"""Environment variable that turns the kernel off where it is 0."""

_MODULE: Final = "ctspine_zarr_native"
_INTERFACE: Final = "0.1."

type Shard = tuple[Buffer, Shape, Shape, str, str]
"""Bounds of the chunks, as `decode_index` gives them; chunks of the array and voxels of a chunk, along z,
y and x; dtype; codec."""
type Positions = tuple[int, int, int]
"""Start, step and count along an axis, upwards."""
type Target = tuple[NDArray[Any], tuple[Positions, Positions, Positions]]
"""A (z, y, x) array, and the positions that go there."""
type Scale = tuple[float, float, float, float]
"""What is subtracted from a voxel, what that is divided by, and the bounds of the result."""
type Wanted = tuple[Sequence[Target], Scale | None]
"""What is read, and in which form."""
type Bounds = tuple[int, int]
"""Start and stop."""
type Label = tuple[int, int, Shape, tuple[Bounds, Bounds, Bounds], int, int]
"""A label, its voxels, the sums of their indices and their bounds along z, y and x, its pieces, and the
voxels of the largest."""


class Kernel(Protocol):
    """The kernel's functions; the GIL is free while they work. Arrays are (z, y, x), of any strides.

    Bytes that are read must be read-only. What only a mistake in this package could ask for is a
    ValueError.
    """

    __version__: str

    def decode_index(self, data: Buffer, chunks: int, body_size: int) -> bytes | None:
        """See `format.shard.decode_index`: the bounds as int64; None of what that refuses."""

    def read_file(
        self, file: tuple[int, int], shard: Shard, wanted: Wanted, merging: tuple[int, int], threads: int
    ) -> list[int]:
        """Fill targets from a shard's file; the numbers of the chunks that could not be decoded.

        Args:
            file: an open descriptor, and the bytes that the file has.
            shard: what is stored.
            wanted: targets that do not overlap.
            merging: the gap over which ranges are read as one, and the bytes of such a range.
            threads: at most so many are used; all have done with it when it returns.
        """

    def read_parts(
        self,
        parts: Sequence[tuple[int, Buffer]],
        numbers: Sequence[int],
        shard: Shard,
        wanted: Wanted,
        threads: int,
    ) -> list[int]:
        """As `read_file`, from parts of a shard, ascending, each with its first byte's place, and from
        the chunks of these numbers alone.
        """

    def end_idle_threads(self) -> None:
        """End the threads that wait for the next read of several; it begins others."""

    def predict_encode(self, voxels: NDArray[np.int16], shape: Shape) -> bytes:
        """A C-contiguous chunk as `docs/codec.md` has it."""

    def predict_decode(self, data: Buffer, shape: Shape, out: NDArray[np.int16]) -> None:
        """The inverse, to a C-contiguous array; a ValueError says what is wrong with the bytes."""

    def counts(self) -> tuple[int, int]:
        """Chunks that this process has decoded by the kernel, and bytes that it has read from files."""

    def encode_strip(
        self,
        strip: NDArray[Any],
        chunk: Shape,
        codec: tuple[str, int],
        *,
        keep_empty: bool,
    ) -> tuple[bytes, list[int]]:
        """See `format.strips.encode_strip`.

        Args:
            strip: of int16 for `blosc-zstd` and `predict`, of uint8 for `zstd`.
            chunk: voxels of a chunk along z, y and x; of at most 2**17 bytes.
            codec: its name, and zstd's level or 0.
            keep_empty: store chunks that are all zero.
        """

    def shift(self, source: NDArray[Any], target: NDArray[Any], add: int) -> None:
        """Write to each voxel of a C-contiguous array of int16 or uint8 that of a source of uint8, int16 or
        int32 plus `add`, modulo 2**16 or 2**8.
        """

    def count_values(self, voxels: NDArray[np.int16], counts: NDArray[np.int64]) -> None:
        """Add how often each value occurs, of -32768 first, to either row of (2, 2**16) counts."""

    def count_labels(
        self,
        labels: NDArray[np.uint8],
        voxels: NDArray[np.int16],
        places: bytes,
        counts: NDArray[np.int64],
    ) -> None:
        """Add how often each value occurs, of -32768 first, among the voxels of each label above 0.

        Args:
            labels, voxels: of one shape.
            places: the row of `counts` of each of 256 labels.
            counts: (labels, 2**16).
        """

    def measure_labels(self, mask: NDArray[np.uint8]) -> list[Label]:
        """See `write.measure.measure_labels`."""

    def look_up(self, source: NDArray[np.uint8], target: NDArray[Any], table: bytes) -> None:
        """Write for each label what a table of 256 has, to an array of uint8 or int32; they share none."""

    def convert(self, source: NDArray[Any], target: NDArray[Any], scaling: Scale | None) -> None:
        """Write the voxels of one array to another, as float32, int32 or what they are; they share none."""


def _found() -> Kernel | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError:
        return None
    version = str(module.__version__)
    if not version.startswith(_INTERFACE):
        message = f"ctspine-zarr-native {version} is not used; legal: {_INTERFACE}*"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return None
    return cast("Kernel", module)


kernel: Kernel | None = _found()
"""The kernel; None where it is not installed, of another version, or turned off."""

if kernel is not None and hasattr(os, "register_at_fork"):
    # A thread that waits would be in the parent alone.
    os.register_at_fork(before=kernel.end_idle_threads)


def kernel_version() -> str | None:
    """The version of the native kernel that reads and builds use; None where they do without."""
    return None if kernel is None else kernel.__version__
