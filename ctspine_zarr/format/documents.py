"""The `zarr.json` documents of a store, OME-Zarr 0.5 metadata included.

OME-Zarr 0.5: https://ngff.openmicroscopy.org/0.5/ ; the axes' `orientation` is its RFC-4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from ctspine_zarr.format.codecs import Codec
from ctspine_zarr.format.encoding import Document
from ctspine_zarr.format.layout import AXES, IMAGE, shard_shape
from ctspine_zarr.format.shard import sharding_metadata
from ctspine_zarr.format.spec import Spec, colour
from ctspine_zarr.geometry import Affine, Shape, origin_of, spacing_of

_OME_VERSION: Final = "0.5"
_ORIENTATION: Final = {
    "z": "inferior-to-superior",
    "y": "posterior-to-anterior",
    "x": "left-to-right",
}
# A bone window: level 300 HU, width 1500 HU.
WINDOW: Final = (-450.0, 1050.0)


def group(
    attributes: Mapping[str, Any] | None = None, members: Mapping[str, Document] | None = None
) -> Document:
    """A group's `zarr.json`.

    Args:
        attributes: of the group.
        members: path below the group -> `zarr.json` of every group and array in it: its consolidated
            metadata, for readers who can list nothing.
    """
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    if members is None:
        return document
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(members)}
    return document | {"consolidated_metadata": consolidated}


def array(shape: Shape, dtype: np.dtype[Any], codec: Codec) -> Document:
    """The `zarr.json` of a (z, y, x) array held in one shard."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(shard_shape(shape, codec.chunk))},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if dtype.kind in "iu" else 0.0,
        "codecs": [sharding_metadata(codec)],
        "dimension_names": list(AXES),
        "attributes": {},
        "storage_transformers": [],
    }


def image_attributes(affine: Affine, hu_range: tuple[float, float]) -> Document:
    """OME-Zarr metadata of a case group.

    Args:
        affine: canonical (x, y, z) -> RAS+ mm. Scale and translation hold its spacing and
            origin; a rotation is kept in the whole affine, under `layout.OWN_KEY`.
        hu_range: least and greatest value of the image, HU.
    """
    low, high = hu_range
    start, end = WINDOW
    window = {"start": start, "end": end, "min": low, "max": high}
    channel = {"label": "CT (HU)", "color": "FFFFFF", "active": True, "window": window}
    return {
        "ome": {
            "version": _OME_VERSION,
            "multiscales": [_multiscale("image", IMAGE, affine)],
            "omero": {"channels": [channel]},
        }
    }


def labels_attributes(masks: Iterable[str]) -> Document:
    """OME-Zarr metadata of the `labels` group, which has a group for each of these."""
    return {"ome": {"version": _OME_VERSION, "labels": list(masks)}}


def mask_attributes(spec: Spec, affine: Affine, present: Iterable[int], mask: str, path: str) -> Document:
    """OME-Zarr metadata of a label image: a colour and a name for every label present.

    Args:
        spec: the dataset's description.
        affine: canonical (x, y, z) -> RAS+ mm.
        present: values of labels.
        mask: name of the group.
        path: of the array below it.
    """
    values = sorted(present)
    image_label: Document = {"source": {"image": "../../"}}
    if values:
        image_label["colors"] = [{"label-value": v, "rgba": [*colour(v), 255]} for v in values]
        image_label["properties"] = [{"label-value": v, "name": spec.labels[v]} for v in values]
    return {
        "ome": {
            "version": _OME_VERSION,
            "multiscales": [_multiscale(mask, path, affine)],
            "image-label": image_label,
        }
    }


def _multiscale(name: str, path: str, affine: Affine) -> Document:
    transformations = [
        {"type": "scale", "scale": list(spacing_of(affine))},
        {"type": "translation", "translation": list(origin_of(affine))},
    ]
    return {
        "name": name,
        "axes": [_axis(axis) for axis in AXES],
        "datasets": [{"path": path, "coordinateTransformations": transformations}],
    }


def _axis(name: str) -> Document:
    orientation = {"type": "anatomical", "value": _ORIENTATION[name]}
    return {"name": name, "type": "space", "unit": "millimeter", "orientation": orientation}
