"""The form of samples, as it is asked for: arrays, values, labels, axes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.label_map import AnyMap
from ctspine_zarr.geometry import CANONICAL, oriented
from ctspine_zarr.sampling.units import HUB
from ctspine_zarr.scaling import Normalization, Window, require_window

type Normalize = Literal["ct", "volume"] | Normalization


@dataclass(frozen=True, kw_only=True)
class Form:
    """What samples look like.

    Attributes:
        segmentation: False leaves masks unread, and samples without `segmentation`, as for cases
            that have none.
        keep_dtype: the stored dtypes, nearly always int16 and uint8, instead of float32 and
            int32; values between voxels are rounded to the stored dtype.
        window: HU (low, high): values become `(value - low) / (high - low)`, clipped to 0..1.
        normalize: `ct`, as nnU-Net does it for CT: clipped to the 0.5 and 99.5 percentiles of the HU of the
            selection's labelled voxels, then less their mean, over their deviation (`ct_normalization`,
            which reads the receipts of the selection, and no voxel); `volume`, less a case's own mean,
            over its deviation, padding left out; or a `Normalization`, such as that of the cases that
            a model was trained on.
        label_map: what labels become: a `LabelMap`, or what `Store.label_map` takes.
        channel: a leading axis of length 1, as convolutions want it.
        orientation: of the axes, as for `Case.to_dask`; or "hub": the source array's (i, j, k)
            as (k, i, j), as the Hub's loader gives it.

    Raises:
        UnknownValue: an argument that is not legal, or contradicts another.
    """

    segmentation: bool = True
    keep_dtype: bool = False
    window: Window | None = None
    normalize: Normalize | None = None
    label_map: AnyMap | Path | None = None
    channel: bool = False
    orientation: str = CANONICAL

    def __post_init__(self) -> None:
        _require_orientation(self.orientation)
        _require_normalize(self.normalize)
        if self.window is not None:
            object.__setattr__(self, "window", require_window(self.window))
        if self.window is not None and self.normalize is not None:
            message = f"window {self.window} and normalize {self.normalize}; legal: one of them"
            raise UnknownValue(message)
        if self.keep_dtype and (self.window is not None or self.normalize is not None):
            message = "keep_dtype with window or normalize; legal: one of them, for scaled values are float32"
            raise UnknownValue(message)
        if self.label_map is not None and not self.segmentation:
            message = f"label_map {self.label_map!r} without masks; legal: segmentation=True"
            raise UnknownValue(message)


def _require_orientation(asked: object) -> None:
    if not isinstance(asked, str):
        message = f'orientation {asked!r}; legal: "hub", or codes such as "SAR"'
        raise UnknownValue(message)
    if asked != HUB:
        oriented(asked)


def _require_normalize(asked: object) -> None:
    if asked is not None and asked not in ("ct", "volume") and not isinstance(asked, Normalization):
        message = f'normalize {asked!r}; legal: "ct", "volume", Normalization(mean, std, low, high), or None'
        raise UnknownValue(message)
