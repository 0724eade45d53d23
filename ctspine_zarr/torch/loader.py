"""A DataLoader with sound defaults, which goes on from epoch to epoch and from a saved state."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Sampler

from ctspine_zarr.concurrency.limits import usable_cores
from ctspine_zarr.errors import UnknownValue, integer, require_known
from ctspine_zarr.memory.shared import CAN_SHARE
from ctspine_zarr.sampling.order import Purpose, Share, generator
from ctspine_zarr.storage import Storage
from ctspine_zarr.torch.batches import Stacking
from ctspine_zarr.torch.samples import Dataset, Stream
from ctspine_zarr.training.samples import place_of, require_same

type StartMethod = Literal["fork", "forkserver", "spawn"]


class _Order(Sampler[int]):
    """A rank's part of a dataset, in the epoch's order."""

    def __init__(self, dataset: Dataset[Any], rank: Share, seed: int, *, shuffle: bool, even: bool) -> None:
        self._dataset = dataset
        self._mine = rank.of(len(dataset), even=even)
        self._seed = seed
        self._shuffle = shuffle
        self.identity = {"order": seed, "shuffle": shuffle, "rank": [rank.rank, rank.ranks, even]}
        self.begin = 0

    def __iter__(self) -> Iterator[int]:
        mine = self._mine[self.begin :]
        if not self._shuffle:
            return iter(mine)
        random = generator(Purpose.ORDER, self._seed, self._dataset.epoch)
        return iter(random.permutation(len(self._dataset))[mine.start : mine.stop].tolist())

    def __len__(self) -> int:
        return len(self._mine)


@dataclasses.dataclass
class _Place:
    """The place of a pass: batches given of an epoch."""

    epoch: int
    batches: int = 0


class Loader(DataLoader[Any]):
    """A DataLoader that goes on from one epoch to the next by itself, and from a saved state.

    `make_loader` makes it. The first pass is the epoch the dataset was in; each that is begun is the
    next one, unless `set_epoch` said otherwise. It has a copy of the dataset: what is done to
    the original afterwards is not seen here.
    """

    def __init__(self, samples: Dataset[Any] | Stream[Any], **options: Any) -> None:
        self._samples = samples
        if options.get("num_workers") and options.get("collate_fn") is None and CAN_SHARE:
            options["collate_fn"] = stacking = Stacking(options.get("batch_size") or 1)
            samples.make_in(stacking.row)
        self._next: _Place | None = _Place(samples.epoch)
        self._begun = _Place(samples.epoch)
        super().__init__(samples, **options)

    def __iter__(self) -> Iterator[Any]:
        begun = self._next or _Place(self._begun.epoch + 1)
        self._next = None
        self._begun = begun = dataclasses.replace(begun)
        self._samples.set_epoch(begun.epoch)
        if isinstance(self._samples, Stream):
            self._samples.resume(begun.batches, self._size, drop_last=self.drop_last)
        elif isinstance(self.sampler, _Order):
            self.sampler.begin = begun.batches * self._size
        return _Pass(self, super().__iter__(), begun)

    def __len__(self) -> int:
        """Batches of a pass."""
        if isinstance(self._samples, Stream):
            workers = max(self.num_workers, 1)
            return sum(self._samples.batches(workers, self._size, drop_last=self.drop_last))
        return super().__len__()

    def is_in(self, begun: _Place) -> bool:
        """Whether that is the pass begun last."""
        return self._begun is begun

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch's, from its beginning.

        Raises:
            UnknownValue: an epoch below 0.
        """
        self._next = _Place(integer("epoch", epoch, 0))

    def state_dict(self) -> dict[str, Any]:
        """The place of the pass begun last: its epoch, and the batches it has given; plain values."""
        return self._identity() | dataclasses.asdict(self._next or self._begun)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next pass begin with the very batch that would have come next.

        After the last batch of an epoch that is the first of the next. What a transform draws at
        random is not taken up again.

        Raises:
            UnknownValue: the state is of a loader with other samples or settings.
        """
        require_same(self._identity(), state)
        self._next = _Place(*place_of(state, "batches", len(self)))

    def _identity(self) -> dict[str, Any]:
        settings = {"batch_size": self._size, "drop_last": self.drop_last}
        if isinstance(self.sampler, _Order):
            return self._samples.identity() | self.sampler.identity | settings
        return self._samples.identity() | {"workers": self.num_workers} | settings

    @property
    def _size(self) -> int:
        return self.batch_size or 1


class _Pass:
    """A pass of a loader, which counts its batches; one that failed was given too."""

    def __init__(self, loader: Loader, batches: Iterator[Any], begun: _Place) -> None:
        self._loader = loader
        self._batches = batches
        self._begun = begun

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._loader.is_in(self._begun):
            message = "a later pass of this loader has begun; legal: one pass at a time, or another loader"
            raise UnknownValue(message)
        try:
            batch = next(self._batches)
        except StopIteration:
            raise
        except Exception:
            self._begun.batches += 1
            raise
        self._begun.batches += 1
        return batch


def make_loader(
    dataset: Dataset[Any] | Stream[Any],
    batch_size: int = 1,
    *,
    workers: int | None = None,
    shuffle: bool = False,
    drop_last: bool = False,
    seed: int = 0,
    rank: int | None = None,
    ranks: int | None = None,
    even: bool | None = None,
    start_method: StartMethod | None = None,
    pin_memory: bool | None = None,
    prefetch_factor: int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    worker_init_fn: Callable[[int], None] | None = None,
) -> Loader:
    """A DataLoader with what usually is right, and a `state_dict` that resumes in mid-epoch.

    Args:
        dataset: a `Dataset` or `Stream` of `ctspine_zarr.torch`; the loader works on a copy.
        batch_size: samples a batch.
        workers: processes that read; by default one for every usable core but one, 8 at most;
            0 reads in this process, with all its cores. They stay from epoch to epoch.
        shuffle: a dataset's order, anew each epoch; streams always are shuffled.
        drop_last: leave out batches that are not full; each worker may have one.
        seed: of the order of a dataset, and of what transforms draw in workers by torch's and
            Python's random numbers.
        rank, ranks: of this training process, and how many there are; by default what
            torch.distributed says where it is initialised, else what the stream's `shard` was
            told, else 0 of 1.
        even: every rank gets equally many samples, and up to `ranks - 1` of an epoch are left
            out; the default where torch.distributed is initialised, for ranks that have more
            would wait for ever for those that have fewer.
        start_method: of the workers. By default the platform's own, but on Linux `fork`, which
            needs nothing to be pickled, for local stores and those on the Hub, and `forkserver` for
            buckets and web servers, of which a forked worker could not read.
        pin_memory: by default where there is a CUDA device.
        prefetch_factor: batches that each worker is ahead; 2 by default.
        collate_fn: as torch's own by default, which stacks samples of one shape; on Linux workers stack them
            in memory that is used again once nothing refers to a batch or a view of it.
        worker_init_fn: called in each worker with its number.

    Raises:
        UnknownValue: an argument that is not legal.
    """
    samples = _own(dataset)
    workers = default_workers() if workers is None else integer("workers", workers, 0)
    seed = integer("seed", seed, 0)
    mine, even = _rank(rank, ranks, even=even)
    sampler = None
    if not isinstance(samples, Stream):
        sampler = _Order(samples, mine or Share(), seed, shuffle=shuffle, even=bool(even))
    elif mine is not None or even is not None:
        mine = mine or samples.rank
        samples.shard(mine.rank, mine.ranks, even=bool(even))
    return Loader(
        samples,
        batch_size=integer("batch_size", batch_size, 1),
        sampler=sampler,
        num_workers=workers,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        prefetch_factor=_prefetch(prefetch_factor, workers),
        collate_fn=collate_fn,
        worker_init_fn=worker_init_fn,
        generator=torch.Generator().manual_seed(seed % 2**63),
        persistent_workers=workers > 0,
        multiprocessing_context=_start_method(start_method, samples.store.storage) if workers else None,
    )


def default_workers() -> int:
    """The usual number of workers: one for every usable core but one, which trains; 1 to 8."""
    return max(1, min(8, usable_cores() - 1))


def _own(asked: Any) -> Any:
    """A copy of what is to be loaded from."""
    if not isinstance(asked, Dataset | Stream):
        message = f"{type(asked).__name__} to load from; legal: a Dataset or Stream of ctspine_zarr.torch"
        raise UnknownValue(message)
    if isinstance(asked, Stream) and asked.goes_on:
        message = "a stream that goes on from a state of its own; legal: the loader's load_state_dict"
        raise UnknownValue(message)
    return asked.for_loader()


def _rank(rank: int | None, ranks: int | None, *, even: bool | None) -> tuple[Share | None, bool | None]:
    """The share that is asked for, or that torch.distributed says; and whether shares are even."""
    if (rank is None) != (ranks is None):
        message = f"rank {rank} of ranks {ranks}; legal: both or none"
        raise UnknownValue(message)
    distributed = torch.distributed
    if rank is not None:
        return Share(integer("rank", rank, 0), integer("ranks", ranks, 1)), even
    if distributed.is_available() and distributed.is_initialized():
        return Share(distributed.get_rank(), distributed.get_world_size()), even is not False
    return None, even


def _prefetch(asked: int | None, workers: int) -> int | None:
    if asked is not None and not workers:
        message = f"prefetch_factor {asked} without workers; legal: None"
        raise UnknownValue(message)
    return None if asked is None else integer("prefetch_factor", asked, 1)


def _start_method(asked: str | None, storage: Storage) -> str | None:
    legal = [
        name for name in multiprocessing.get_all_start_methods() if storage.is_fork_safe or name != "fork"
    ]
    require_known(f"start_method for {storage.location}", [asked] if asked else [], legal)
    if asked is not None or sys.platform != "linux":
        return asked
    return "fork" if storage.is_fork_safe else "forkserver"
