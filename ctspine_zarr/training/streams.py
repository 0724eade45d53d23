"""Shuffled samples, one after another: each slab or region is decoded once, but by two processes where
their shares meet in it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, overload

from ctspine_zarr.errors import integer
from ctspine_zarr.read.sample import Sample
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.order import Purpose, Share, announced, generator, items_of, shuffled
from ctspine_zarr.sampling.units import Draw, Unit
from ctspine_zarr.training.ahead import ahead
from ctspine_zarr.training.kinds import Kind
from ctspine_zarr.training.making import TrainingSample
from ctspine_zarr.training.samples import Samples, place_of, require_same


@dataclass
class Progress:
    """The progress of a pass.

    Attributes:
        epoch, share: of the pass.
        position: samples that it has given.
    """

    epoch: int
    share: Share
    position: int = 0


class Stream[S](Samples[S]):
    """Shuffled samples of one kind: each pass gives every one of this process's share once, in an order that
    follows from seed, epoch and share. The samples of an epoch follow from seed and epoch alone.

    Units of samples come in random order, and each is read once: a slab of slices, a region of
    patches, a volume, a window or a vertebra. Samples are drawn from several units at a time.

    Args:
        store: the selection.
        kind: `Slices(...)`, `Patches(...)`, `Volumes(...)`, `Windows(...)` or `Vertebrae(...)`.
        buffer: units that samples are drawn from at a time; as many are held in memory as stored. By
            default slabs that have 128 slices, and 3 at least: 16 of 8 axial slices, 6 MB each for
            512 x 512, or 3 of 64 others; 8 regions of patches, 11 MB each for four 96-cubes; 2 volumes.
        prefetch: units that are read ahead in threads, and held besides; where a read is a round
            trip by default slabs that have 64 slices, and 4 at least, 8 regions, or 1 volume; 0 on a
            local disk. It changes no sample and no order.
        transform: called with each finished sample; what it returns is the sample.

    Raises:
        UnknownValue: as `Dataset`.
    """

    @overload
    def __init__(
        self: Stream[TrainingSample],
        store: Store,
        kind: Kind,
        *,
        buffer: int | None = None,
        prefetch: int | None = None,
        transform: None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        store: Store,
        kind: Kind,
        *,
        buffer: int | None = None,
        prefetch: int | None = None,
        transform: Callable[[TrainingSample], S],
    ) -> None: ...
    def __init__(
        self,
        store: Store,
        kind: Kind,
        *,
        buffer: int | None = None,
        prefetch: int | None = None,
        transform: Callable[[TrainingSample], Any] | None = None,
    ) -> None:
        super().__init__(store, kind, transform)
        usual = self._plan.usual
        usually = usual.ahead if store.storage.merging.at_once else 0
        self._prefetch = usually if prefetch is None else integer("prefetch", prefetch, 0, ", or None")
        self._buffer = usual.buffer if buffer is None else integer("buffer", buffer, 1)
        self._begun = Progress(0, Share())
        self._resume: Progress | None = None
        self.shard(0, 1)

    def shard(self, rank: int, ranks: int, *, even: bool = False) -> None:
        """Give the samples of one training process out of several, in passes that begin from now on.

        Workers that a DataLoader has started do not see it; `make_loader` has a rank of its own.

        Args:
            rank, ranks: of this process, and how many there are.
            even: every rank gets equally many samples, so that none waits for another, and up
                to `ranks - 1` of an epoch are left out; by default none is, and ranks differ by
                1 at most.

        Raises:
            UnknownValue: no such rank.
        """
        self._rank = Share(integer("rank", rank, 0), integer("ranks", ranks, 1))
        self._even = bool(even)
        self._resume = None

    @property
    def rank(self) -> Share:
        """What `shard` was told."""
        return self._rank

    def __len__(self) -> int:
        """Samples of this rank in an epoch."""
        return len(self._samples(self._rank))

    def __iter__(self) -> Iterator[S]:
        begun = self._resume or Progress(self.epoch, self._share())
        self._resume = None
        self._begun = begun = dataclasses.replace(begun)
        return self._pass(begun)

    def set_epoch(self, epoch: int) -> None:
        """See `Samples.set_epoch`; a place to go on from is that of its own epoch only."""
        super().set_epoch(epoch)
        if self._resume is not None and self._resume.epoch != self.epoch:
            self._resume = None

    @property
    def goes_on(self) -> bool:
        """Whether the next pass goes on from a loaded state."""
        return self._resume is not None and self._resume.position > 0

    def state_dict(self) -> dict[str, Any]:
        """The place of the pass begun last: `load_state_dict` makes the next one go on from here.

        Plain values. In a DataLoader with workers each has a state of its own; `Loader.state_dict`
        has them all.
        """
        begun = self._resume or self._begun
        position = begun.position if begun.epoch == self.epoch else 0
        return self._identity() | {"epoch": self.epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next pass begin with the very sample that would have come next; after the last
        one of an epoch that is the first of the next.

        What is left of the slabs or regions it had begun is read again; nothing else is.

        Raises:
            UnknownValue: the state is of a stream with other samples, seed, buffer or share.
        """
        require_same(self._identity(), state)
        share = self._share()
        epoch, position = place_of(state, "position", len(self._samples(share)))
        self.set_epoch(epoch)
        self._resume = Progress(epoch, share, position)

    def identity(self) -> dict[str, Any]:
        """What the order of the samples depends on besides epoch and workers."""
        return super().identity() | {
            "seed": self._seed,
            "buffer": self._buffer,
            "rank": [self._rank.rank, self._rank.ranks, self._even],
        }

    def _identity(self) -> dict[str, Any]:
        share = self._share()
        return self.identity() | {"worker": [share.worker, share.workers]}

    def _share(self) -> Share:
        """The part of the epoch that this process draws."""
        return self._rank

    def _samples(self, share: Share) -> range:
        return share.of(len(self._plan), even=self._even)

    def _pass(self, begun: Progress) -> Iterator[S]:
        random = generator(Purpose.ORDER, self._seed, begun.epoch)
        numbers = random.permutation(len(self._plan.sizes))
        samples = self._samples(begun.share)
        items = dict(items_of(self._plan.sizes[numbers], samples))
        random = generator(Purpose.BUFFER, self._seed, begun.epoch, samples.start)
        order = shuffled(items.items(), self._buffer, random)
        left = _skipped(itertools.islice(order, begun.position), items)
        held: dict[int, tuple[Unit, dict[int, Sample]]] = {}
        with ahead(self._prefetch) as reading:
            for (place, item), begin in announced(order, self._prefetch):
                for one in begin:
                    wanted = left.pop(one, items[one])
                    reading.begin(one, partial(self._loaded, int(numbers[one]), begun.epoch, wanted))
                if place not in held:
                    held[place] = reading.take(place)
                unit, reads = held[place]
                sample = self._made(unit, unit.boxes[item], reads.pop(item))
                if not reads:
                    del held[place]
                begun.position += 1
                yield sample

    def _loaded(self, number: int, epoch: int, items: Iterable[int]) -> tuple[Unit, dict[int, Sample]]:
        """A unit and its boxes' voxels, by number."""
        unit, items = self._plan.unit(number, Draw(epoch, self._voxels)), sorted(items)
        return unit, dict(zip(items, self._read(unit, items), strict=True))


def _skipped(drawn: Iterable[tuple[int, int]], items: Mapping[int, range]) -> dict[int, set[int]]:
    """What is left of the units that some, but not all, of the samples were drawn from."""
    left: dict[int, set[int]] = {}
    for place, item in drawn:
        rest = left.setdefault(place, set(items[place]))
        rest.remove(item)
        if not rest:
            del left[place]
    return left
