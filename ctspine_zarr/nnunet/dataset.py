"""A dataset of nnU-Net whose voxels stay in a store: each patch is read and normalised as it is asked for."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, override

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.arrays.voxels import Voxels
from ctspine_zarr.errors import MissingDependency, OutOfBounds, UnknownValue
from ctspine_zarr.nnunet.files import read_json
from ctspine_zarr.nnunet.pointers import Pointer

try:
    from nnunetv2.training.dataloading import nnunet_dataset
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

ENDING: Final = "ctspine"
"""Of the small file that says where a case's voxels are, without the dot; nnU-Net tells datasets by it."""

type Convert = Callable[[NDArray[Any]], NDArray[Any]]
type Loaded = tuple[PreprocessedArray, PreprocessedArray, None, dict[str, Any]]


class PreprocessedArray:
    """An array as nnU-Net's preprocessing would have made it, (1, z, y, x) with the axes of its plan.

    Only boxes are read of it, by slices of step 1; each is an array of its own.

    Attributes:
        shape: of four sizes.
    """

    ndim: Final = 4

    def __init__(
        self, voxels: Voxels, transpose: Sequence[int], bbox: Sequence[Sequence[int]], convert: Convert
    ) -> None:
        self._voxels = voxels
        self._transpose = tuple(transpose)
        self._bbox = bbox
        self._convert = convert
        self.shape = (1, *(stop - start for start, stop in bbox))

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[Any]:
        """The voxels of a box.

        Raises:
            OutOfBounds: the key is none of up to four slices of step 1.
            StoreUpdated, DamagedStore, StorageError: as for any read of a store.
        """
        keys = key if isinstance(key, tuple) else (key,)
        channel, *box = (*keys, *[slice(None)] * (self.ndim - len(keys)))
        wanted = [slice(0)] * 3
        for axis, (part, (start, stop)) in enumerate(zip(box, self._bbox, strict=True)):
            begin, end, step = _slice(part).indices(stop - start)
            if step != 1:
                message = f"slices of step {step} along axis {axis + 1}; legal: 1"
                raise OutOfBounds(message)
            wanted[self._transpose[axis]] = slice(start + begin, start + end)
        read = self._voxels[tuple(wanted)].transpose(self._transpose)
        return self._convert(read)[None][_slice(channel)]


def _slice(part: object) -> slice:
    if isinstance(part, slice):
        return part
    message = f"{part!r} of an array of nnU-Net's; legal: slices"
    raise OutOfBounds(message)


class StoreDataset(nnunet_dataset.nnUNetBaseDataset):
    """A dataset of nnU-Net over cases that `preprocess(direct=True)` listed.

    Images are those of nnU-Net's preprocessing without resampling, bit for bit, float32; masks int16, in
    which what nnU-Net calls -1, outside the image, is 0, as it becomes in training. Every process opens the
    store for itself, when it reads the first case.
    """

    @override
    def load_case(self, identifier: str) -> Loaded:
        """Image and mask, no mask of a previous stage, and the properties of a case.

        Raises:
            StoreUpdated: the case holds something else than when it was preprocessed.
        """
        how: Mapping[str, Any] = read_json(Path(self.source_folder, f"{identifier}.{ENDING}"))
        image, mask = Pointer.of(how["image"]), Pointer.of(how["segmentation"])
        case = image.open()
        place = how["transpose"], how["bbox"]
        data = PreprocessedArray(case.voxels("image"), *place, _normalised(how["intensity"]))
        labels = PreprocessedArray(
            case.voxels("segmentation"), *place, lambda read: mask.mapped(read).astype(np.int16)
        )
        with Path(self.source_folder, f"{identifier}.pkl").open("rb") as file:
            properties: dict[str, Any] = pickle.load(file)  # noqa: S301 - written beside it, as all of nnU-Net's
        return data, labels, None, properties

    @staticmethod
    @override
    def save_case(data: Any, seg: Any, properties: Any, output_filename_truncated: str) -> None:
        """Refuse to write.

        Raises:
            UnknownValue: always.
        """
        message = f"{output_filename_truncated}: voxels are the store's; legal: preprocess(direct=True)"
        raise UnknownValue(message)

    @staticmethod
    @override
    def get_identifiers(folder: str) -> list[str]:
        """The ids of the cases in a folder."""
        return sorted(path.name.removesuffix(f".{ENDING}") for path in Path(folder).glob(f"*.{ENDING}"))


def _normalised(figures: Mapping[str, float]) -> Convert:
    """nnU-Net's normalisation of CT, in its order and its precision."""

    def convert(hu: NDArray[Any]) -> NDArray[np.float32]:
        image = np.array(hu, np.float32, order="C")
        np.clip(image, figures["percentile_00_5"], figures["percentile_99_5"], out=image)
        image -= figures["mean"]
        image /= max(figures["std"], 1e-8)
        return image

    return convert


def register() -> None:
    """Make nnU-Net take folders of such cases for what they are, in this process."""
    nnunet_dataset.file_ending_dataset_mapping[ENDING] = StoreDataset
