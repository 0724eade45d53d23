"""The making of samples: from voxels of a case to the arrays that a form asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.conversion import convert, look_up
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.codecs import MASK_DTYPE
from ctspine_zarr.format.label_map import LabelMap
from ctspine_zarr.format.record import Record
from ctspine_zarr.geometry import Reorientation, Shape, lattice_affine
from ctspine_zarr.memory.reuse import reused
from ctspine_zarr.read.sample import NAMES, Name
from ctspine_zarr.read.sample import Sample as Read
from ctspine_zarr.sampling.units import SampleBox, reorientation_of
from ctspine_zarr.scaling import Normalization, Scaling, window_scaling
from ctspine_zarr.training.form import Form


class TrainingSample(TypedDict):
    """A sample as a model takes it.

    Attributes:
        image: HU, or what `window` or `normalize` make of them.
        segmentation: labels, or what `label_map` makes of them; not there with `segmentation=False`.
        patient_id: of the case.
        case: its id.
        index: its number in the selection.
        slice_index: of a slice, in its volume.
        start: of a patch or window: its first voxel in the volume, or crop, at the sample's spacing and
            along its axes.
        label: of a vertebra: its value in `segmentation`.
        spacing: mm, along the array's axes before a slice lost one.
        affine: (4, 4), the array's indices -> RAS+ mm; a slice's are those of its box, one voxel thick.
    """

    image: NDArray[Any]
    segmentation: NotRequired[NDArray[Any]]
    patient_id: str
    case: str
    index: int
    slice_index: NotRequired[int]
    start: NotRequired[NDArray[np.int64]]
    label: NotRequired[int]
    spacing: NDArray[np.float64]
    affine: NDArray[np.float64]


type Memory = Callable[[Name, Shape, np.dtype[Any]], NDArray[Any]]
"""What gives memory for an array of a sample, by name, shape and dtype: any values, C-contiguous."""


def _of_its_own(name: Name, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:  # noqa: ARG001 - a `Memory`
    return reused(shape, dtype)


@dataclass(frozen=True, slots=True)
class Blank:
    """The arrays of one sample before they are filled, in memory that no other array has, C-contiguous.

    Attributes:
        arrays: as the sample has them, but for the axes of slice and channel.
        targets: the same memory, (z, y, x); of a mask whose labels are mapped, memory for them as stored.
        scaling: of the image's values.
    """

    arrays: Mapping[Name, NDArray[Any]]
    targets: Mapping[Name, NDArray[Any]]
    scaling: Scaling | None


@dataclass(frozen=True)
class Maker:
    """What makes samples of a selection.

    Attributes:
        form: what they look like.
        label_map: of its labels, where they are mapped.
        normalization: of all images alike, where there is one.
        memory: of their arrays.
    """

    form: Form
    label_map: LabelMap | None = None
    normalization: Normalization | None = None
    memory: Memory = _of_its_own

    def sample(self, record: Record, index: int, box: SampleBox, read: Read) -> TrainingSample:
        """A sample of voxels that were read.

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
        reorientation = reorientation_of(record, self.form.orientation)
        shape = reorientation.shape(box.lattice.size)
        dtypes: dict[Name, np.dtype[Any]] = {
            "image": self._image_dtype(record),
            "segmentation": self._mask_dtype,
        }
        arrays = {name: self.memory(name, shape, dtypes[name]) for name in self.names}
        targets = {name: reorientation.undo(array) for name, array in arrays.items()}
        if self.label_map is not None:
            targets["segmentation"] = reused(box.lattice.size, MASK_DTYPE)
        return Blank(arrays, targets, self._scaling(record))

    def finished(self, record: Record, index: int, box: SampleBox, blank: Blank) -> TrainingSample:
        """As `sample`, of arrays that are filled."""
        reorientation = reorientation_of(record, self.form.orientation)
        if self.label_map is not None:
            target = reorientation.undo(blank.arrays["segmentation"])
            look_up(blank.targets["segmentation"], target, self.label_map.table)
        lattice, spacing = box.lattice, record.spacing
        arrays: dict[str, Any] = {
            name: self._shaped(array, box, reorientation) for name, array in blank.arrays.items()
        }
        made: dict[str, Any] = {
            **arrays,
            "patient_id": record.patient_id,
            "case": record.id,
            "index": index,
            **self._where(box, reorientation),
            "spacing": np.array([spacing[axis] * lattice.step[axis] for axis in reorientation.axes]),
            "affine": lattice_affine(record.affine, reorientation, lattice),
        }
        return cast("TrainingSample", made)

    @property
    def names(self) -> Sequence[Name]:
        """The arrays that samples have."""
        return NAMES if self.form.segmentation else NAMES[:1]

    def shape(self, record: Record, size: Shape, cut: int | None) -> tuple[int, ...]:
        """The shape of each array of a sample of `size` (z, y, x) voxels."""
        axes = reorientation_of(record, self.form.orientation).axes
        return (1,) * self.form.channel + tuple(size[axis] for axis in axes if axis != cut)

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
        return MASK_DTYPE if self.form.keep_dtype else np.dtype(np.int32)

    def _image_dtype(self, record: Record) -> np.dtype[Any]:
        return np.dtype(record.image.dtype if self.form.keep_dtype else np.float32)

    def _shaped(self, array: NDArray[Any], box: SampleBox, reorientation: Reorientation) -> NDArray[Any]:
        """Without the axis that a slice does not have, and with that of its channel."""
        if box.cut is not None:
            array = array.squeeze(reorientation.axes.index(box.cut))
        return array[None] if self.form.channel else array

    def _where(self, box: SampleBox, reorientation: Reorientation) -> dict[str, Any]:
        if box.start is not None and box.volume is not None:
            return {"start": np.array(reorientation.start(box.start, box.lattice.size, box.volume))}
        if box.label is not None:
            return {"label": box.label if self.label_map is None else self.label_map.table[box.label]}
        return {} if box.index is None else {"slice_index": box.index}

    def _scaling(self, record: Record) -> Scaling | None:
        if self.form.window is not None:
            return window_scaling(self.form.window)
        if self.normalization is not None:
            return self.normalization.scaling
        if self.form.normalize is None:
            return None
        # A volume of one value has no deviation: it becomes zeros.
        return Scaling(record.intensity.mean, record.intensity.std or 1)
