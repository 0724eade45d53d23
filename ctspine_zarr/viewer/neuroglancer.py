"""A case in neuroglancer: its state, as JSON, and the address that opens it. Pure.

Neuroglancer (https://github.com/google/neuroglancer) reads the arrays of a store itself, over HTTP. Its
coordinates are mm, and increase to the patient's left, to posterior and to inferior: so its first two panels
are axial and coronal planes as radiologists have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.documents import WINDOW
from ctspine_zarr.format.layout import AXES, IMAGE, mask_path
from ctspine_zarr.format.levels import middle_voxel
from ctspine_zarr.format.record import Label, Record
from ctspine_zarr.format.spec import Spec, colour

DEMO: Final = "https://neuroglancer-demo.appspot.com"
"""Neuroglancer as its authors publish it."""

_NAMES: Final = "/neuroglancer-names"
# Towards left, posterior and inferior, in mm.
_MM: Final = 0.001
_DIMENSIONS: Final = {name: [_MM, "m"] for name in ("l", "p", "i")}
_SHADER: Final = "#uicontrol invlerp normalized\nvoid main() {\n  emitGrayscale(normalized());\n}\n"
_READ: Final = ("blosc-zstd", "zstd")


def neuroglancer_state(record: Record, spec: Spec, url: str) -> dict[str, Any]:
    """The state that shows a case: its image, its mask and its label sets, of which the first is visible.

    Args:
        record: of the case.
        spec: the dataset's description.
        url: where the store is served, without a slash at its end, to pages of any origin.

    Raises:
        UnknownValue: the case is of a codec that neuroglancer does not read.
    """
    for array in (record.image, *record.masks(spec.mask).values()):
        if array.codec not in _READ:
            message = f"codec {array.codec} of {record.id}; legal for neuroglancer: {', '.join(_READ)}"
            raise UnknownValue(message)
    transform = _transform(record)
    place = f"{url}/{record.path}"
    layers = [_image_layer(f"{place}/{IMAGE}", transform)]
    for name, array in record.masks(spec.mask).items():
        sources = [_source(f"{place}/{mask_path(name, array.tag)}", transform)]
        names = {"url": f"precomputed://{url}{names_path(record.id, name)}"}
        is_first = len(layers) == 1
        layers.append(_mask_layer(name, [*sources, names], _labels(record, spec, name), visible=is_first))
    z, y, x = np.multiply(record.shape, record.spacing)
    return {
        "dimensions": _DIMENSIONS,
        "position": (_matrix(record) @ [*np.add(middle_voxel(record, spec), 0.5), 1]).tolist(),
        "crossSectionScale": max(z, y, x) / 400,
        "projectionScale": max(z, y, x) * 1.5,
        "layers": layers,
        "selectedLayer": {"layer": layers[min(1, len(layers) - 1)]["name"], "visible": True},
        "layout": "4panel",
    }


def neuroglancer_link(state: Mapping[str, Any], base: str = DEMO) -> str:
    """The address of a neuroglancer that shows a state.

    Args:
        state: as JSON.
        base: address of the page.
    """
    return f"{base}/#!{quote(json.dumps(state, separators=(',', ':')), safe='')}"


def names_path(case: str, name: str) -> str:
    """Path below the server's root at which neuroglancer asks for the names of a mask's labels."""
    return f"{_NAMES}/{case}/{name}"


def label_names(record: Record, spec: Spec, name: str) -> dict[str, Any]:
    """The names of the labels of a mask, as the document `info` of neuroglancer's segment properties."""
    labels = _labels(record, spec, name)
    values = [label.name for label in labels]
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [str(label.label) for label in labels],
            "properties": [{"id": "label", "type": "label", "values": values}],
        },
    }


def _labels(record: Record, spec: Spec, name: str) -> tuple[Label, ...]:
    return record.labels if name == spec.mask else record.sets[name].labels


def _matrix(record: Record) -> NDArray[np.float64]:
    """(3, 4), voxel coordinates (z, y, x) of neuroglancer, whole at a voxel's lower corner -> its mm."""
    # From (x, y, z) to right, anterior, superior; each is turned round.
    turned = -record.affine_matrix[:3, [2, 1, 0, 3]]
    turned[:, 3] -= turned[:, :3].sum(axis=1) / 2
    return turned


def _transform(record: Record) -> dict[str, Any]:
    # Its steps count in the unit without a prefix, m; its first corner in units of the dimension, mm.
    matrix = _matrix(record) * [_MM, _MM, _MM, 1]
    return {
        "outputDimensions": _DIMENSIONS,
        "inputDimensions": {name: [1, ""] for name in AXES},
        "matrix": matrix.tolist(),
    }


def _source(url: str, transform: Mapping[str, Any]) -> dict[str, Any]:
    return {"url": f"zarr3://{url}", "transform": transform}


def _image_layer(url: str, transform: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "image",
        "name": "CT",
        "source": _source(url, transform),
        "shader": _SHADER,
        "shaderControls": {"normalized": {"range": list(WINDOW)}},
    }


def _mask_layer(
    name: str, sources: list[dict[str, Any]], labels: tuple[Label, ...], *, visible: bool
) -> dict[str, Any]:
    colours = {str(one.label): "#{:02x}{:02x}{:02x}".format(*colour(one.label)) for one in labels}
    return {
        "type": "segmentation",
        "name": name,
        "source": sources,
        "segments": list(colours),
        "segmentColors": colours,
        "selectedAlpha": 0.4,
        "tab": "segments",
        "visible": visible,
    }
