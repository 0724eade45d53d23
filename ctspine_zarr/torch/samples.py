"""Datasets and streams of a DataLoader, which share epoch and place with its workers."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, get_worker_info

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.sampling.order import Share, dealt
from ctspine_zarr.training import datasets, streams
from ctspine_zarr.training.making import Memory
from ctspine_zarr.training.samples import Samples

# Places in the memory that the training process shares with its workers: the epoch, and after how
# many batches, of what size, whether full ones only, a pass goes on.
_EPOCH, _BATCHES, _SIZE, _DROPS = range(4)


class _Shareable[S](Samples[S]):
    """Samples whose copy for a loader keeps epoch and place in shared memory: its workers see them
    change, also those that outlive an epoch.
    """

    _shared: torch.Tensor | None = None
    _epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch if self._shared is None else int(self._shared[_EPOCH])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if self._shared is None:
            self._epoch = epoch
        else:
            self._shared[_EPOCH] = epoch

    def make_in(self, memory: Memory) -> None:
        """Make arrays of samples in this memory, unless a transform or a subclass may keep them."""
        if self._transform is None and type(self) in {Dataset, Stream}:
            self._maker = dataclasses.replace(self._maker, memory=memory)

    def for_loader(self) -> Self:
        """A copy whose epoch and place a loader shares with its workers."""
        one = copy.copy(self)
        one._shared = torch.tensor([self.epoch, 0, 0, 0]).share_memory_()  # noqa: SLF001 - its own kind
        return one


class Dataset[S](_Shareable[S], datasets.Dataset[S], TorchDataset[S]):
    __doc__ = datasets.Dataset.__doc__


class Stream[S](_Shareable[S], streams.Stream[S], IterableDataset[S]):
    __doc__ = streams.Stream.__doc__

    _loaded_in: int | None = None

    def __iter__(self) -> Iterator[S]:
        if self.goes_on and get_worker_info() is not None and self._loaded_in != os.getpid():
            # Each worker would leave out as many samples of its own, in every pass.
            message = "a stream's own place in a DataLoader's worker; legal: make_loader's load_state_dict"
            raise UnknownValue(message)
        share = self._share()
        _, given, size = self._dealt(share.workers)
        if any(given):
            self._resume = streams.Progress(self.epoch, share, given[share.worker] * size)
        return super().__iter__()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the stream's own; a DataLoader's worker refuses to go on by it."""
        super().load_state_dict(state)
        self._loaded_in = os.getpid()

    def resume(self, batches: int, size: int, *, drop_last: bool) -> None:
        """Make a loader's passes that follow begin after this many batches of `size`."""
        if self._shared is not None:
            self._shared[_BATCHES], self._shared[_SIZE], self._shared[_DROPS] = batches, size, drop_last

    def batches(self, workers: int, size: int, *, drop_last: bool) -> list[int]:
        """The number of batches of each worker's share."""
        shares = (dataclasses.replace(self._rank, worker=one, workers=workers) for one in range(workers))
        counts = [len(self._samples(share)) for share in shares]
        return [count // size if drop_last else -(-count // size) for count in counts]

    def _dealt(self, workers: int) -> tuple[int, list[int], int]:
        """The state of the dealing: whose turn it is, the batches each worker has given, and their size."""
        if self._shared is None:
            return 0, [0] * workers, 1
        batches, size, drops = self._shared[_BATCHES:].tolist()
        size = max(size, 1)
        return *dealt(self.batches(workers, size, drop_last=bool(drops)), batches), size

    def _share(self) -> Share:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        # A DataLoader begins with worker 0: it takes over from the one whose turn it was.
        turn, *_ = self._dealt(workers)
        return dataclasses.replace(self._rank, worker=(worker + turn) % workers, workers=workers)
