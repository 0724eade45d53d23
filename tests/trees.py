"""Small datasets in CTSpine1K's layout, made to order for one test."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

AFFINE = np.diag([0.8, 0.8, 2.5, 1.0])
SHAPE = (20, 24, 18)
"""(i, j, k)"""


def voxels(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> NDArray[Any]:
    """Random HU."""
    return np.random.default_rng(seed).integers(-1024, 3071, shape).astype(dtype)


def labels(shape: tuple[int, ...] = SHAPE, dtype: str = "uint8") -> NDArray[Any]:
    """L5 below L4, each one piece."""
    mask = np.zeros(shape, dtype)
    mask[5:12, 5:12, 2:6] = 24
    mask[5:12, 5:12, 8:12] = 23
    return mask


class Tree:
    """A source folder that grows case by case."""

    def __init__(self, root: Path, data: str = "raw_data") -> None:
        self.root = root
        self.data = data
        self.sections: dict[str, list[str]] = {"trainset": [], "test_public": [], "test_private": []}

    def add(
        self,
        case: str = "liver_1",
        image: Any = None,
        mask: Any = None,
        *,
        source: str = "MSD-T10",
        section: str | None = "trainset",
    ) -> Path:
        """Add a case; image and mask are arrays, nibabel images, bytes, or False for no file."""
        path = self._write("volumes", source, f"{case}.nii.gz", voxels() if image is None else image)
        self._write("labels", source, f"{case}_seg.nii.gz", labels() if mask is None else mask)
        if section is not None:
            self.sections[section].append(case)
        self.write_splits()
        return path

    def write_splits(self, text: str | None = None) -> None:
        path = self.root / "metadata" / "data_split.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            text = "\r\n\r\n".join(
                "\r\n".join([f"{name}:", *(f"{case}.nii.gz" for case in cases)])
                for name, cases in self.sections.items()
            )
        path.write_bytes(f"{text}\r\n".encode())

    def _write(self, folder: str, source: str, name: str, content: Any) -> Path:
        path = self.root / self.data / folder / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not False:
            path.write_bytes(content if isinstance(content, bytes) else packed(content))
        return path


def packed(content: Any) -> bytes:
    """An array, a nibabel image or the bytes of a `.nii` as those of a `.nii.gz`."""
    return gzip.compress(content if isinstance(content, bytes) else unpacked(content), 1, mtime=0)


def unpacked(content: Any) -> bytes:
    """An array or nibabel image as the bytes of a `.nii`."""
    image = nibabel.Nifti1Image(content, AFFINE) if isinstance(content, np.ndarray) else content
    return bytes(image.to_bytes())


def edited(stored: NDArray[Any], **fields: Any) -> bytes:
    """The bytes of a `.nii` over exactly these stored voxels, header fields set after the fact."""
    data = unpacked(nibabel.Nifti1Image(stored, AFFINE, dtype=stored.dtype))
    header = nibabel.Nifti1Header(data[:348])
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + data[348:]


def scaled(stored: NDArray[Any], slope: float, inter: float) -> bytes:
    """The bytes of a `.nii` with this scaling over exactly these stored voxels."""
    return edited(stored, scl_slope=slope, scl_inter=inter)


def load(path: Path) -> Any:
    """`nibabel.load`, whose declared type has no voxels."""
    return nibabel.load(path)


def nibabel_canonical(path: Path) -> NDArray[Any]:
    """What nibabel says the canonical (z, y, x) values of a file are."""
    image = nibabel.as_closest_canonical(load(path))
    return np.asarray(image.dataobj).transpose()
