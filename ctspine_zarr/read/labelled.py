"""A case as an xarray Dataset, with coordinates in millimetres."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ctspine_zarr.format.layout import AXES
from ctspine_zarr.format.record import Record
from ctspine_zarr.format.spec import Spec
from ctspine_zarr.geometry import Affine, Shape, axis_aligned_error, origin_of

if TYPE_CHECKING:
    import xarray

_TOWARDS: Final = {
    "z": "position towards the head",
    "y": "position towards the front",
    "x": "position towards the right",
}
# Of words of `flag_meanings`: https://cfconventions.org, section 3.5, "Flags".
_NO_LETTER: Final = re.compile(r"[^A-Za-z0-9_.+@-]")

WORLD: Final = ("right", "anterior", "superior")
"""World coordinates of a voxel, RAS+ mm: towards the patient's right, front and head."""


def xarray_of(
    record: Record, spec: Spec, arrays: Mapping[str, Any], window: tuple[float, float] | None, *, world: bool
) -> xarray.Dataset:
    """The arrays of a case with coordinates in mm along each axis.

    Args:
        record: of the case.
        spec: the dataset's description.
        arrays: `image` and perhaps `segmentation`, (z, y, x).
        window: that the image was scaled by; None where it has HU.
        world: also `right`, `anterior` and `superior`, the exact position of every voxel.
    """
    import xarray

    units = {"units": "HU"} if window is None else {"window": list(window), "units": "1"}
    about = {"image": {"long_name": "CT", **units}, "segmentation": _flags(spec)}
    variables = {name: (AXES, array, about[name]) for name, array in arrays.items()}
    found = xarray.Dataset(variables, _along_axes(record), _attributes(record, spec))
    return found.assign_coords(_world(record.affine_matrix, record.shape)) if world else found


def _along_axes(record: Record) -> dict[str, Any]:
    axes = zip(AXES, origin_of(record.affine_matrix), record.spacing, record.shape, strict=True)
    return {
        name: (
            name,
            first + step * np.arange(size),
            {"units": "mm", "axis": name.upper(), "long_name": _TOWARDS[name]},
        )
        for name, first, step, size in axes
    }


def _flags(spec: Spec) -> dict[str, Any]:
    """The meanings of a mask's values by the CF conventions, section 3.5: of all labels of the dataset."""
    named = {0: "background", **spec.labels}
    return {
        "long_name": f"label of {spec.mask}",
        "flag_values": np.array(sorted(named), np.uint8),
        "flag_meanings": " ".join(_words([named[value] for value in sorted(named)])),
    }


def _words(names: Sequence[str]) -> Iterator[str]:
    """Each name as one word of the letters that CF allows, unlike all others."""
    seen: set[str] = set()
    for name in names:
        word = _NO_LETTER.sub("_", name)
        # Two names may differ by what is replaced.
        while word in seen:
            word += "_"
        seen.add(word)
        yield word


def _attributes(record: Record, spec: Spec) -> dict[str, Any]:
    z, y, x = record.shape
    return {
        "case": record.id,
        "patient_id": record.patient_id,
        "split": record.split,
        "source": record.source,
        # netCDF has no attributes of two dimensions, no booleans, and an older one no lists of texts.
        "affine": [number for row in record.affine for number in row],
        "spacing": list(record.spacing),
        "coordinate_error_mm": round(axis_aligned_error(record.affine_matrix, (x, y, z)), 3),
        "labels": ", ".join(label.name for label in record.labels),
        "has_mask": int(record.has_mask),
        "dataset": spec.name,
        "licence": spec.licence,
        "citation": spec.citation,
    }


def _world(to_ras: Affine, shape: Shape) -> xarray.Coordinates:
    """The world position of every voxel by an index that computes it as it is asked for."""
    import xarray
    from xarray.indexes import CoordinateTransform, CoordinateTransformIndex

    class WorldTransform(CoordinateTransform):
        """Voxel indices along z, y and x to RAS+ mm, and back."""

        affine = to_ras

        def forward(self, dim_positions: dict[str, Any]) -> dict[Hashable, NDArray[np.float64]]:
            x, y, z = (np.asarray(dim_positions[name], np.float64) for name in reversed(AXES))
            return {
                name: row[0] * x + row[1] * y + row[2] * z + row[3]
                for name, row in zip(WORLD, to_ras[:3].tolist(), strict=True)
            }

        def reverse(self, coord_labels: dict[Hashable, Any]) -> dict[str, NDArray[np.float64]]:
            right, anterior, superior = (np.asarray(coord_labels[name], np.float64) for name in WORLD)
            rows = np.linalg.inv(to_ras)[:3].tolist()
            x, y, z = (row[0] * right + row[1] * anterior + row[2] * superior + row[3] for row in rows)
            return {"z": z, "y": y, "x": x}

        def equals(self, other: CoordinateTransform, **options: Any) -> bool:  # noqa: ARG002 - all dimensions count
            theirs = other.affine if isinstance(other, WorldTransform) else np.zeros(0)
            return self.dim_size == other.dim_size and np.array_equal(self.affine, theirs)

    transform = WorldTransform(WORLD, dict(zip(AXES, shape, strict=True)))
    return xarray.Coordinates.from_xindex(CoordinateTransformIndex(transform))
