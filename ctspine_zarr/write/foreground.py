"""Statistics of the HU of each label's voxels. Pure arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr import kernel as native
from ctspine_zarr.format.histogram import Histogram
from ctspine_zarr.format.record import LabelIntensity
from ctspine_zarr.memory.pages import zeros
from ctspine_zarr.write.distribution import Collector, collectors, counted, figures
from ctspine_zarr.write.values import Survey

# Voxels that wait to be parted by label: so many that a label is counted a few times, not at every slab.
_BATCH: Final = 2**20
_WORD: Final = 8
# For the kernel: as many as there may be, and where the counts of a label are that does not occur.
_LABELS: Final = 256
_NO_PLACE: Final = 255
_VALUES: Final = 2**16

type _Part = tuple[NDArray[np.uint8], NDArray[Any]]


type Found = dict[int, tuple[LabelIntensity, Histogram]]
"""Figures and counts of the HU of each label's voxels."""


def histograms_of(found: Found) -> dict[int, Histogram]:
    """The counts alone, by label."""
    return {label: histogram for label, (_, histogram) in found.items()}


class Foreground(Protocol):
    """Exact figures of the HU of every label's voxels, from the slabs of an image and its mask."""

    def add(self, slab: NDArray[Any]) -> None:
        """Take in the image's next slices, C-contiguous; it may run on any thread, in order of z."""

    def result(self) -> Found:
        """By label, ascending, those that occur; to be called once, after all slabs."""


def foreground_meter(
    mask: NDArray[np.uint8], labels: Sequence[int], image: Survey, dtype: np.dtype[Any]
) -> Foreground:
    """What measures the HU of labels.

    Args:
        mask: (z, y, x).
        labels: of 1-255, all that the mask has.
        image, dtype: of its voxels.
    """
    if native.kernel is not None and dtype == np.int16:
        return _KernelForeground(mask, labels)
    return ForegroundMeter(mask, dtype, image.low, image.high)


class _KernelForeground:
    """The same of an image of int16. Memory: 512 KiB a label at the most, of CT a tenth of that."""

    def __init__(self, mask: NDArray[np.uint8], labels: Sequence[int]) -> None:
        self._mask, self._labels = mask, sorted(labels)
        self._seen = 0
        places = np.full(_LABELS, _NO_PLACE, dtype=np.uint8)
        places[self._labels] = range(len(self._labels))
        self._places = places.tobytes()
        self._counts = zeros((max(1, len(self._labels)), _VALUES), np.dtype(np.int64))

    def add(self, slab: NDArray[Any]) -> None:
        """See `Foreground`."""
        labels = self._mask[self._seen : self._seen + len(slab)]
        self._seen += len(slab)
        if native.kernel is not None:
            native.kernel.count_labels(labels, slab, self._places, self._counts)

    def result(self) -> Found:
        """See `Foreground`."""
        found = {label: counted(counts) for label, counts in zip(self._labels, self._counts, strict=False)}
        return {label: (figures(values), values.histogram()) for label, values in found.items()}


class ForegroundMeter:
    """Exact figures of the HU of every label's voxels, from the slabs of an image and its mask.

    Memory: 512 KiB a label and 16 bytes a labelled voxel of one slab and 2**20 more, where the
    image's integers span fewer than 2**16 values; otherwise a copy of all labelled voxels too.
    """

    def __init__(self, mask: NDArray[np.uint8], dtype: np.dtype[Any], low: float, high: float) -> None:
        """Of an image of a dtype, all voxels of which lie from `low` to `high`; both are (z, y, x)."""
        self._mask = mask
        self._seen = 0
        self._waiting: list[_Part] = []
        self._labels: dict[int, Collector] = defaultdict(collectors(dtype, low, high))

    def add(self, slab: NDArray[Any]) -> None:
        """Take in the image's next slices, C-contiguous; it may run on any thread, in order of z."""
        # A view of one axis that counts may be flattened uncopied, and still run downwards.
        labels = np.ascontiguousarray(self._mask[self._seen : self._seen + len(slab)]).reshape(-1)
        self._seen += len(slab)
        self._waiting.extend(_labelled(labels, slab.reshape(-1)))
        if sum(labels.size for labels, _ in self._waiting) >= _BATCH:
            self._part()

    def result(self) -> Found:
        """By label, ascending, those that occur; to be called once, after all slabs."""
        if self._waiting:
            self._part()
        found = {label: self._labels[label].result() for label in sorted(self._labels)}
        return {label: (figures(values), values.histogram()) for label, values in found.items()}

    def _part(self) -> None:
        """Hand what waits to each label's collector."""
        labels, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        values = values.take(np.argsort(labels, kind="stable"))
        counts = np.bincount(labels)
        ends = counts.cumsum()
        for label in np.flatnonzero(counts).tolist():
            self._labels[label].add(values[ends[label] - counts[label] : ends[label]])


def _labelled(labels: NDArray[np.uint8], values: NDArray[Any]) -> Iterator[_Part]:
    """The voxels that have a label, sought eight at a time: few voxels of a mask have one."""
    aligned = labels.size - labels.size % _WORD
    words = np.flatnonzero(labels[:aligned].view(np.uint64) != 0)
    # `take` is three times as fast as an index in brackets.
    yield _only(*(part[:aligned].reshape(-1, _WORD).take(words, axis=0) for part in (labels, values)))
    yield _only(labels[aligned:], values[aligned:])


def _only(labels: NDArray[np.uint8], values: NDArray[Any]) -> _Part:
    found = np.flatnonzero(labels != 0)
    return labels.take(found), values.take(found)
