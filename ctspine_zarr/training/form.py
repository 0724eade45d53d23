"""The form of a sample: arrays, orientation, dtypes, intensities, channel axis, and a user's transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import Scaling, convert
from ctspine_zarr.arrays.lazy import CANONICAL, Window, require_window, window_scaling
from ctspine_zarr.errors import UnknownValue, number, require_known
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Reorientation, Shape, lattice_affine, oriented
from ctspine_zarr.read.reuse import reused
from ctspine_zarr.read.sample import NAMES, Name, Sample
from ctspine_zarr.sampling.units import HUB, SampleBox, reorientation_of

type Transform = Callable[[dict[str, Any]], Any]


class Options(TypedDict, total=False):
    """The options that every dataset and stream takes: what samples look like.

    Attributes:
        segmentation: False leaves masks unread, and samples without `segmentation`, as for cases
            that have none; True by default.
        keep_dtype: the stored dtypes, nearly always int16 and uint8, instead of float32 and
            int32; values between voxels are rounded to the stored dtype.
        window: HU (low, high): values become `(value - low) / (high - low)`, clipped to 0..1.
        zscore: True for `(value - mean) / std` with the case's own mean and std of the catalog,
            or (mean, std) in HU for all cases alike.
        channel: a leading axis of length 1, as convolutions want it.
        orientation: of the axes, as for `Case.to_dask`; or "hub": the source array's (i, j, k)
            as (k, i, j), as the Hub's loader gives it.
        transform: called with each finished sample; what it returns is the sample.
    """

    segmentation: bool
    keep_dtype: bool
    window: Window | None
    zscore: bool | tuple[float, float]
    channel: bool
    orientation: str
    transform: Transform | None


@dataclass(frozen=True, slots=True)
class Blank:
    """The arrays of one sample before they are filled, in memory of their own, C-contiguous.

    Attributes:
        arrays: as the sample has them, but for the axes of slice and channel.
        targets: the same memory, (z, y, x).
        scaling: of the image's values.
    """

    arrays: Mapping[Name, NDArray[Any]]
    targets: Mapping[Name, NDArray[Any]]
    scaling: Scaling | None


@dataclass(frozen=True)
class Form:
    """`Options`, checked; see there."""

    segmentation: bool = True
    keep_dtype: bool = False
    window: Window | None = None
    zscore: bool | tuple[float, float] = False
    channel: bool = False
    orientation: str = CANONICAL
    transform: Transform | None = None

    @classmethod
    def of(cls, options: Options, kind: type[Options] = Options) -> Self:
        """The form of a user's options.

        Args:
            options: given.
            kind: those that are legal, of which the form takes its own.

        Raises:
            UnknownValue: one does not exist, is not legal, or contradicts another.
        """
        require_known("option", options, kind.__annotations__)
        own: dict[str, Any] = {
            name: value for name, value in options.items() if name in Options.__annotations__
        }
        form = cls(**own)
        if form.window is None:
            return form
        return replace(form, window=require_window(form.window, np.dtype(np.float32)))

    def __post_init__(self) -> None:
        _require_orientation(self.orientation)
        if self.window is not None and self.zscore is not False:
            message = f"window {self.window} and zscore {self.zscore}; legal: one of them"
            raise UnknownValue(message)
        if self.keep_dtype and (self.window is not None or self.zscore is not False):
            message = "keep_dtype with window or zscore; legal: one of them, for scaled values are float32"
            raise UnknownValue(message)
        if not isinstance(self.zscore, bool):
            _require_moments(self.zscore)
        _require_transform(self.transform)

    def sample(self, record: Record, index: int, box: SampleBox, read: Sample) -> Any:
        """A finished sample of voxels that were read: a dictionary, or what the transform makes of it.

        Args:
            record: of the case.
            index: its number in the selection.
            box: where the voxels lie.
            read: the voxels, (z, y, x).
        """
        blank = self.blank(record, box)
        for name, target in blank.targets.items():
            voxels = read[name]
            if target.dtype.kind in "iu" and voxels.dtype.kind == "f":
                voxels = np.rint(voxels)
            convert(voxels, target, blank.scaling if name == "image" else None)
        return self.finished(record, index, box, blank)

    def blank(self, record: Record, box: SampleBox) -> Blank:
        """The arrays of a sample, to be filled."""
        reorientation = reorientation_of(record, self.orientation)
        shape = reorientation.shape(box.lattice.size)
        dtypes: dict[Name, np.dtype[Any]] = {
            "image": self._image_dtype(record),
            "segmentation": self._mask_dtype,
        }
        arrays = {name: reused(shape, dtypes[name]) for name in self.names}
        targets = {name: reorientation.undo(array) for name, array in arrays.items()}
        return Blank(arrays, targets, self._scaling(record))

    def finished(self, record: Record, index: int, box: SampleBox, blank: Blank) -> Any:
        """As `sample`, of arrays that are filled."""
        reorientation = reorientation_of(record, self.orientation)
        lattice = box.lattice
        spacing = np.multiply(record.spacing, lattice.step)[list(reorientation.axes)]
        arrays: dict[str, NDArray[Any]] = {
            name: self._shaped(array, box, reorientation) for name, array in blank.arrays.items()
        }
        sample = {
            **arrays,
            "patient_id": record.patient_id,
            "index": index,
            **_where(box, reorientation),
            "spacing": spacing,
            "affine": lattice_affine(record.affine_matrix, reorientation, lattice),
        }
        return sample if self.transform is None else self.transform(sample)

    @property
    def names(self) -> Sequence[Name]:
        """The arrays that samples have."""
        return NAMES if self.segmentation else NAMES[:1]

    def shape(self, record: Record, size: Shape, cut: int | None) -> tuple[int, ...]:
        """The shape of each array of a sample of `size` (z, y, x) voxels."""
        axes = reorientation_of(record, self.orientation).axes
        return (1,) * self.channel + tuple(size[axis] for axis in axes if axis != cut)

    def dtypes(self, records: Iterable[Record]) -> dict[Name, np.dtype[Any]]:
        """The dtype of each array of a sample, over all cases.

        Raises:
            UnknownValue: the cases' images have several.
        """
        image, *others = {self._image_dtype(record) for record in records}
        if others:
            message = (
                f"stored dtypes {', '.join(map(str, (image, *others)))}; legal with keep_dtype: only one"
            )
            raise UnknownValue(message)
        dtypes: dict[Name, np.dtype[Any]] = {"image": image, "segmentation": self._mask_dtype}
        return {name: dtypes[name] for name in self.names}

    @property
    def _mask_dtype(self) -> np.dtype[Any]:
        return MASK_DTYPE if self.keep_dtype else np.dtype(np.int32)

    def _image_dtype(self, record: Record) -> np.dtype[Any]:
        return np.dtype(record.image.dtype if self.keep_dtype else np.float32)

    def _shaped(self, array: NDArray[Any], box: SampleBox, reorientation: Reorientation) -> NDArray[Any]:
        """Without the axis that a slice does not have, and with that of its channel."""
        if box.cut is not None:
            array = array.squeeze(reorientation.axes.index(box.cut))
        return array[None] if self.channel else array

    def _scaling(self, record: Record) -> Scaling | None:
        if self.window is not None:
            return window_scaling(self.window)
        if self.zscore is False:
            return None
        hu = record.intensity
        mean, std = (hu.mean, hu.std) if self.zscore is True else self.zscore
        # A volume of one value has no deviation: it becomes zeros.
        return Scaling(mean, std or 1)


def _require_orientation(asked: object) -> None:
    if not isinstance(asked, str):
        message = f'orientation {asked!r}; legal: "hub", or codes such as "SAR"'
        raise UnknownValue(message)
    if asked != HUB:
        oriented(asked)


def _where(box: SampleBox, reorientation: Reorientation) -> dict[str, Any]:
    if box.start is not None and box.volume is not None:
        return {"start": np.array(reorientation.start(box.start, box.lattice.size, box.volume))}
    return {} if box.index is None else {"slice_index": box.index}


def _require_transform(asked: object) -> None:
    if not (asked is None or callable(asked)):
        message = f"transform {asked!r}; legal: a callable that takes a sample"
        raise UnknownValue(message)


def _require_moments(asked: object) -> None:
    legal = "True, False, or (mean, std) in HU, std above 0"
    if not isinstance(asked, Sequence | np.ndarray) or len(asked) != 2:
        message = f"zscore {asked!r}; legal: {legal}"
        raise UnknownValue(message)
    mean, std = asked
    number("mean of zscore", mean, legal, math.isfinite)
    number("std of zscore", std, legal, lambda std: 0 < std < math.inf)
