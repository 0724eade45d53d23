"""Memory for large arrays that goes back to the system as soon as it is let go.

The allocator keeps what is freed for the thread that asked for it, and each thread of a build would keep
its own.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Memory that is shared, as it is by default, has pages of 4 KiB, of a file system's.
_PRIVATE: Final[dict[str, int]] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
)


def pages(shape: Sequence[int], dtype: np.dtype[Any], *, few: bool = False) -> NDArray[Any]:
    """An array of zeros, C-contiguous, of one voxel or more; the system gives it page by page as it is
    written to.

    Args:
        shape, dtype: of the array.
        few: few parts of it will be written to, so that its pages are to be small.

    Raises:
        MemoryError: there is not so much.
    """
    try:
        memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, **_PRIVATE)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError from error
    advice = getattr(mmap, "MADV_NOHUGEPAGE" if few else "MADV_HUGEPAGE", None)
    if advice is not None:
        # As numpy does it with its own.
        with suppress(OSError):
            memory.madvise(advice)
    return np.frombuffer(memory, dtype).reshape(shape)
