"""The native kernel, where its wheel `ctspine-zarr-native` is installed; nothing else imports it.

What the kernel cannot do, or refuses, is done in Python, which says what is wrong: results and errors
are the same with it and without.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Buffer, Sequence
from typing import Any, Final, Protocol, cast

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
type Scale = tuple[float, float, bool]
"""What is subtracted from a voxel, what that is divided by, and whether it is then clipped to 0..1."""
type Wanted = tuple[Sequence[Target], Scale | None]
"""What is read, and in which form."""


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
            threads: at most so many are used; all have ended when it returns.
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

    def predict_encode(self, voxels: NDArray[np.int16], shape: Shape) -> bytes:
        """A C-contiguous chunk as `docs/codec.md` has it."""

    def predict_decode(self, data: Buffer, shape: Shape, out: NDArray[np.int16]) -> None:
        """The inverse, to a C-contiguous array; a ValueError says what is wrong with the bytes."""

    def counts(self) -> tuple[int, int]:
        """Chunks that this process has decoded by the kernel, and bytes that it has read from files."""

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


def kernel_version() -> str | None:
    """The version of the native kernel that reads and builds use; None where they do without."""
    return None if kernel is None else kernel.__version__
