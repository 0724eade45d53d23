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

from ctspine_zarr.memory.shared import Sender, Sent

# Batches of fewer bytes are sent as they are: opening and mapping what is shared costs more.
_LEAST: Final = 1 << 17


class _Tensor:
    """A tensor on its way: unpickling gives it."""

    def __init__(self, array: NDArray[Any] | Sent) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[Any], torch.Tensor], tuple[Any]]:
        return torch.from_numpy, (self._array,)


class Stacking:
    """PyTorch's own collation, but that a worker stacks arrays in memory that is used again, and sends few
    bytes along in place of sharing them.

    Args:
        receiver: the name of what takes them in the process that trains.
    """

    def __init__(self, receiver: str) -> None:
        self._receiver = receiver
        self._sender: Sender | None = None

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of some samples; in a worker one that is its process's no more once it was pickled."""
        if get_worker_info() is None:
            return default_collate(samples)
        own: dict[Any, Callable[..., Any]]
        own = {torch.Tensor: self._tensors, np.ndarray: self._arrays, float: _numbers, int: _numbers}
        return collate(samples, collate_fn_map=default_collate_fn_map | own)

    def _tensors(self, tensors: Sequence[Any], **_: Any) -> Any:
        if any(type(one) is not torch.Tensor or one.requires_grad for one in tensors):
            return default_collate(tensors)
        try:
            arrays = [one.numpy() for one in tensors]
        except (TypeError, RuntimeError):  # what numpy has not, such as bfloat16, or another device's
            return default_collate(tensors)
        return self._arrays(arrays)

    def _arrays(self, arrays: Sequence[Any], **_: Any) -> Any:
        shape, dtype = arrays[0].shape, arrays[0].dtype
        if any(one.shape != shape for one in arrays):
            # An error that names the shapes, which PyTorch's own collation has in the training process alone.
            return torch.stack([torch.as_tensor(one) for one in arrays])
        if dtype.kind not in "biufc" or not dtype.isnative or any(one.dtype != dtype for one in arrays):
            return default_collate(arrays)
        if len(arrays) * math.prod(shape) * dtype.itemsize < _LEAST:
            return _Tensor(np.stack(arrays))
        if self._sender is None:
            self._sender = Sender(self._receiver)
        sent = self._sender.stacked(arrays)
        return default_collate(arrays) if sent is None else _Tensor(sent)


def _numbers(numbers: Sequence[Any], **_: Any) -> Any:
    return _Tensor(default_collate(numbers).numpy())
