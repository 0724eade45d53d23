"""What is written of a case that is trained on from the store: where it is, and where its classes are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.nnunet.dataset import ENDING
from ctspine_zarr.nnunet.files import write_json
from ctspine_zarr.nnunet.pointers import Pointer
from ctspine_zarr.nnunet.reader import CTSpineStoreIO

try:
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

__all__ = ["DIRECT", "ENDING", "write_direct"]

DIRECT: Final = "_direct"
"""The end of the name of a configuration whose cases are read from the store."""


def write_direct(stem: Path, image: str, mask: str, plans: Any, description: Any) -> None:
    """Write `<stem>.ctspine`, where a case's voxels are and what becomes of them, and `<stem>.pkl`, what
    nnU-Net calls properties: shapes, box, and voxels of each class, drawn as it draws them.

    Image and mask are read once.

    Raises:
        UnknownValue: a file is no pointer.
        Others: as `CTSpineStoreIO.read_images`.
    """
    pointers = Pointer.require(image), Pointer.require(mask)
    forward = [int(axis) for axis in plans.transpose_forward]
    reader = CTSpineStoreIO()
    voxels, properties = reader.read_images([image])
    labels, _ = reader.read_seg(mask)
    turned = [array.transpose(0, *(axis + 1 for axis in forward)) for array in (voxels, labels)]
    _, cropped, bbox = crop_to_nonzero(*turned)
    properties |= {
        "shape_before_cropping": turned[0].shape[1:],
        "bbox_used_for_cropping": bbox,
        "shape_after_cropping_and_before_resampling": cropped.shape[1:],
        "class_locations": _locations(cropped, plans.get_label_manager(description)),
    }
    how = {
        "image": pointers[0].document,
        "segmentation": pointers[1].document,
        "transpose": forward,
        "bbox": [[int(start), int(stop)] for start, stop in bbox],
        "intensity": plans.foreground_intensity_properties_per_channel["0"],
    }
    write_json(stem.with_name(f"{stem.name}.{ENDING}"), how)
    stem.with_name(f"{stem.name}.pkl").write_bytes(pickle.dumps(properties, pickle.HIGHEST_PROTOCOL))


def _locations(labels: NDArray[np.float32], manager: Any) -> dict[Any, NDArray[np.int16]]:
    """Class -> (n, 4) voxels, channel first; a quarter of what nnU-Net's own take."""
    classes = [*manager.foreground_labels]
    if manager.has_ignore_label:
        classes.append([-1, *manager.all_labels])
    found = DefaultPreprocessor._sample_foreground_locations(labels, classes)  # noqa: SLF001 - the very draw
    return {label: np.asarray(voxels, np.int16).reshape(-1, 4) for label, voxels in found.items()}
