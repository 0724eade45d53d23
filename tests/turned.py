"""Cases whose files lie in any orientation, straight or oblique."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from trees import Tree, in_mm

SHAPE = (15, 18, 13)
"""(i, j, k), before a case is turned."""
AXES = np.diag([0.8, 0.9, 2.5, 1])


def rotated(affine: Any, degrees: float = 12) -> NDArray[Any]:
    """An affine turned about x, then about z, and moved."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    about_z = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = about_z @ about_x @ np.asarray(affine)
    found[:3, 3] = -120.5, 33.25, 700
    return np.asarray(found)


def masked(shape: tuple[int, ...] = SHAPE, dtype: Any = "uint8") -> NDArray[Any]:
    """Three labels of many voxels, that no symmetry hides."""
    mask = np.zeros(shape, dtype)
    mask[3:11, 4:12, 1:4] = 24
    mask[3:10, 5:13, 5:8] = 23
    mask[4:12, 3:11, 8:12] = 22
    mask[3, 4, 1:3] = 0
    return mask


def added(tree: Tree, case: str, codes: str, affine: Any = AXES) -> None:
    """A case whose files lie in an orientation."""
    ornt = nibabel.orientations.ornt_transform(
        *(nibabel.orientations.axcodes2ornt(one) for one in ("RAS", codes))
    )
    hu = np.random.default_rng(len(case)).integers(-1024, 3000, SHAPE).astype("int16")
    image, mask = (in_mm(array, affine).as_reoriented(ornt) for array in (hu, masked()))
    image.header["descrip"] = b"by a scanner"
    image.set_qform(image.affine, code="scanner")
    mask = nibabel.Nifti1Image(np.asarray(mask.dataobj).astype("float64"), mask.affine, mask.header)
    mask.header.set_data_dtype("float64")
    tree.add(case, image, mask)
