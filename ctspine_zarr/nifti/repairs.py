"""Repairs of a NIfTI header, as a reader makes them without saying so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np

from ctspine_zarr.nifti.fields import Fields

type Unit = Literal["mm", "metre", "micron", "unknown"]

_UNITS: Final[dict[int, Unit]] = {0: "unknown", 1: "metre", 2: "mm", 3: "micron"}
# The lowest three bits of `xyzt_units` are of space, the others of time.
_SPACE_CODES: Final = 8


def unit_of(fields: Fields) -> Unit:
    """The unit of a file's affines and spacing; "unknown" for a code that NIfTI does not have."""
    return _UNITS.get(_unit_code(fields), "unknown")


def repairs(fields: Fields) -> Iterator[str]:
    """Each field that is not taken as it is, with what it is taken as.

    nibabel's repairs are all there, for what it left is compared with what it got, field by field.
    """
    for name in fields.raw.keys():  # noqa: SIM118 - iterating over a header itself gives no names
        yield from _changes(name, fields.raw[name], fields.mended[name])
    if math.isinf(slope := float(fields.raw["scl_slope"])):
        yield f"scl_slope {slope:g} taken as none"
    if _unit_code(fields) not in _UNITS:
        yield f"xyzt_units {int(fields.raw['xyzt_units'])} taken as no unit"
    dim = fields.raw["dim"].tolist()
    shape = fields.mended.get_data_shape()
    if dim[1 : dim[0] + 1] != list(shape):
        yield f"dim {dim} taken as FreeSurfer's, shape {shape}"


def is_spacing_made_up(fields: Fields) -> bool:
    """Whether the affine in use rests on a spacing that is 0 in the file, for which nibabel takes 1."""
    zero = (fields.raw["pixdim"][1:4] == 0).any()
    return bool(zero) and int(fields.mended["sform_code"]) == 0


def _unit_code(fields: Fields) -> int:
    return int(fields.raw["xyzt_units"]) % _SPACE_CODES


def _changes(name: str, before: Any, after: Any) -> Iterator[str]:
    if before.tobytes() == after.tobytes():
        # As nearly all are, and there are 43 of them a header.
        return
    indices = range(np.size(before))
    for index, old, new in zip(indices, np.atleast_1d(before), np.atleast_1d(after), strict=True):
        # NaN is the same as itself.
        if old.tobytes() != new.tobytes():
            place = f"{name}[{index}]" if np.ndim(before) else name
            yield f"{place} {old!s} taken as {new!s}"
