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
from ctspine_zarr.memory.shared import Rows, Sender, Sent

# Batches of fewer bytes are sent as they are: opening and mapping what is shared costs more.
_LEAST: Final = 1 << 17


class _Tensor:
    """A tensor on its way: unpickling gives it."""

    def __init__(self, array: NDArray[Any] | Sent) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Callable[[Any], torch.Tensor], tuple[Any]]:
        return torch.from_numpy, (self._array,)


class Stacking:
    """PyTorch's own collation, but that a worker makes batches in memory that is used again, and sends few
    bytes along in place of sharing them.

    Args:
        receiver: the name of what takes them in the process that trains.
        size: samples of a batch.
    """

    def __init__(self, receiver: str, size: int) -> None:
        self._receiver, self._size = receiver, size
        self._sender: Sender | None = None
        self._rows: dict[str, Rows] = {}

    def row(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Memory for an array of the next sample: in a worker, where the batch is to have it."""
        if get_worker_info() is None or self._size * math.prod(shape) * dtype.itemsize < _LEAST:
            return reused(shape, dtype)
        if name not in self._rows and (made := self._own().rows(self._size, shape, dtype)):
            self._rows[name] = made
        row = self._rows[name].next(shape, dtype) if name in self._rows else None
        return reused(shape, dtype) if row is None else row

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of some samples; in a worker one that is its process's no more once it was pickled."""
        if get_worker_info() is None:
            return default_collate(samples)
        own: dict[Any, Callable[..., Any]]
        own = {torch.Tensor: self._tensors, np.ndarray: self._arrays, float: _numbers, int: _numbers}
        try:
            return collate(samples, collate_fn_map=default_collate_fn_map | own)
        finally:
            # Those of the next batch are others, also where this one was not made of them.
            self._rows.clear()

    def _own(self) -> Sender:
        if self._sender is None:
            self._sender = Sender(self._receiver)
        return self._sender

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
        for rows in self._rows.values():
            if rows.are(arrays):
                return _Tensor(rows.sent((len(arrays), *shape)))
        sent = self._own().stacked(arrays)
        return default_collate(arrays) if sent is None else _Tensor(sent)


def _numbers(numbers: Sequence[Any], **_: Any) -> Any:
    return _Tensor(default_collate(numbers).numpy())
