"""Batches that a loader's workers stack, and how they come to the process that trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate, get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from ctspine_zarr.memory.reuse import reused
from ctspine_zarr.memory.shared import Receiver, Sender, Sent, Stack

# Batches of fewer bytes are sent as they are: opening and mapping what is shared costs more.
_LEAST: Final = 1 << 17
# Native ones that PyTorch has too.
_DTYPES: Final = frozenset(np.dtype(code).str for code in "?bhiqBHIQefdFD")


class _Tensor:
    """A tensor on its way: unpickling gives it."""

    def __init__(self, array: NDArray[Any] | Sent) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[Any], torch.Tensor], tuple[Any]]:
        return _tensor, (self._array,)


class Stacking:
    """PyTorch's own collation; in a worker, batches lie in memory that is used again, and few bytes are
    pickled in place of shared.

    Args:
        size: samples of a batch.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # There for as long as somebody has a loader with this collation.
        self._receiver = Receiver()
        self._sender: Sender | None = None
        self._stacks: dict[str, Stack | None] = {}

    def row(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Memory for an array of the next sample: in a worker, where the batch is to have it."""
        if get_worker_info() is None or self._size * math.prod(shape) * dtype.itemsize < _LEAST:
            return reused(shape, dtype)
        if name not in self._stacks:
            self._stacks[name] = self._own().stack(self._size, shape, dtype)
        stack = self._stacks[name]
        row = None if stack is None else stack.next(shape, dtype)
        return reused(shape, dtype) if row is None else row

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of some samples. In a worker its tensors are placeholders, to be pickled once: they
        become tensors where the training process unpickles them.
        """
        # Whoever extends PyTorch's map counts on tensors.
        is_extended = any(one.__module__ != collate.__module__ for one in default_collate_fn_map.values())
        if get_worker_info() is None or is_extended:
            return default_collate(samples)
        own: dict[Any, Callable[..., Any]]
        own = {torch.Tensor: self._tensors, np.ndarray: self._arrays, float: _numbers, int: _numbers}
        try:
            return collate(samples, collate_fn_map=default_collate_fn_map | own)
        finally:
            # Those of the next batch are others, also where this one was not made of them.
            self._stacks.clear()

    def _own(self) -> Sender:
        if self._sender is None:
            self._sender = Sender(self._receiver.name)
        return self._sender

    def _tensors(self, tensors: Sequence[Any], **_: Any) -> Any:
        if any(type(one) is not torch.Tensor for one in tensors):
            return default_collate(tensors)
        try:
            arrays = [one.numpy() for one in tensors]
        except (TypeError, RuntimeError):  # what numpy has not: bfloat16, gradients, another device's memory
            return default_collate(tensors)
        return self._arrays(arrays)

    def _arrays(self, arrays: Sequence[Any], **_: Any) -> Any:
        if any(type(one) is not np.ndarray or one.dtype.str not in _DTYPES for one in arrays):
            return default_collate(arrays)
        shape, dtype = arrays[0].shape, arrays[0].dtype
        if any(one.shape != shape for one in arrays):
            # An error that names the shapes, which PyTorch's own collation has in the training process alone.
            return torch.stack([torch.as_tensor(one) for one in arrays])
        if any(one.dtype != dtype for one in arrays):
            return default_collate(arrays)
        if len(arrays) * math.prod(shape) * dtype.itemsize < _LEAST:
            return _Tensor(np.stack(arrays, out=np.empty((len(arrays), *shape), dtype)))
        for name, stack in self._stacks.items():
            if stack is not None and stack.are(arrays):
                del self._stacks[name]
                return _Tensor(stack.sent((len(arrays), *shape)))
        sent = self._own().stacked(arrays)
        return default_collate(arrays) if sent is None else _Tensor(sent)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array)


def _numbers(numbers: Sequence[Any], **_: Any) -> Any:
    return _Tensor(default_collate(numbers).numpy())
