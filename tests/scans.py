"""Scans of a spine in memory, as the rules about labels look at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr.datasets import ctspine1k
from ctspine_zarr.format.histogram import histogram_of
from ctspine_zarr.format.record import Label, LabelIntensity
from ctspine_zarr.quality.spine import Spine
from ctspine_zarr.write.measure import measure_labels

SPEC = ctspine1k.SPEC
HU = LabelIntensity(mean=0, std=0, p00_5=0, p05=0, p50=0, p95=0, p99_5=0)

type Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Scan:
    """An image and its mask, (z, y, x)."""

    image: NDArray[Any]
    mask: Mask

    @property
    def spine(self) -> Spine:
        z, y, x = self.mask.shape
        measured = measure_labels(self.mask)
        labels = [Label(name=SPEC.labels[one.label], hu=HU, **one.fields) for one in measured]
        counts = {one.label: histogram_of(self._values(one)) for one in labels}
        return Spine(labels, (z, y, x), SPEC, counts)

    def _values(self, one: Label) -> NDArray[Any]:
        box = tuple(slice(*ends) for ends in zip(one.start, one.stop, strict=True))
        values: NDArray[Any] = self.image[box][self.mask[box] == one.label]
        return values

    def with_mask(self, mask: Mask) -> Scan:
        return replace(self, mask=mask)

    def without(self, label: int) -> Mask:
        return np.where(self.mask == label, 0, self.mask).astype(np.uint8)


def phantom_scan(store: cz.Store, case: str = "1.3.6.1.4.1.9328.50.4.0001") -> Scan:
    return Scan(np.asarray(store[case].image[:]), np.asarray(store[case].segmentation[:]))
