"""A synthetic CTSpine1K: few small cases in the dataset's own layout, with its traps.

Each is a torso of simple solids (fat, muscle, lungs or bowel, a curved spine of cortical and
trabecular bone) with correlated noise, so that it compresses about as CT does. It shows
nobody. The set has all four sources, three splits, dotted ids, a split list with CRLF, files
stored as int32 and with `scl_inter`, a float64 mask, orientations other than RAS, padding
outside the field of view, a listed transitional case, an L6 and a spreadsheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import openpyxl
import scipy.ndimage
from numpy.typing import NDArray

from ctspine_zarr import nifti
from ctspine_zarr.datasets.ctspine1k import SPLIT_FILE, SPREADSHEET, CTSpine1K
from ctspine_zarr.datasets.splits import SPLITS
from ctspine_zarr.datasets.vertebrae import LABELS
from ctspine_zarr.geometry import Affine, Reorientation

type Plane = NDArray[np.bool_]

_RAS: Final = Reorientation((2, 1, 0), (False, False, False))
_LPS: Final = Reorientation((2, 1, 0), (False, True, True))
_PIR: Final = Reorientation((1, 0, 2), (True, True, False))

# mm: the torso's half axes, and how far behind its middle the spine runs.
_TORSO: Final = (115.0, 165.0)
_NECK: Final = (65.0, 75.0)
_SPINE_BEHIND: Final = 0.45
_FIELD_OF_VIEW: Final = 400.0
# HU
_AIR, _FAT, _MUSCLE, _LUNG, _GAS = -1000, -100, 50, -850, -950
_CORTICAL, _TRABECULAR, _DISC, _PADDING = 700, 220, 80, -3024
_NOISE: Final = 22.0
# mm: height of a vertebra with its disc, and half its width, by region.
_LEVELS: Final = {"C": (17.0, 9.0), "T": (25.0, 15.0), "L": (34.0, 23.0)}
_DISC_SHARE: Final = 0.2
_CORTEX: Final = 2.0


@dataclass(frozen=True)
class _Recipe:
    """One case of the phantom."""

    case: str
    source: str
    section: str
    top: str
    slices: int
    spacing_z: float
    reorientation: Reorientation = _LPS
    dtype: str = "i2"
    mask_dtype: str = "u1"
    inter: int = 0
    padded: bool = False
    last: str = "L5"


_CASES: Final = (
    _Recipe("1.3.6.1.4.1.9328.50.4.0001", "COLONOG", "trainset", "T11", 120, 2.0),
    _Recipe("1.3.6.1.4.1.9328.50.4.0004", "COLONOG", "trainset", "T12", 100, 2.5, last="L6"),
    _Recipe("1.3.6.1.4.1.9328.50.4.0064", "COLONOG", "test_private", "T12", 90, 2.5, dtype="i4", padded=True),
    _Recipe("CTC-1000000001", "COLONOG", "test_public", "T11", 80, 2.5),
    _Recipe("liver_0", "MSD-T10", "trainset", "T8", 60, 5.0, dtype="u2", inter=-1024),
    _Recipe("liver_12", "MSD-T10", "test_public", "T9", 50, 5.0, _RAS, dtype="i4", padded=True),
    _Recipe("HN_P001", "HNSCC-3DCT-RT", "trainset", "C1", 90, 2.0, _PIR),
    _Recipe("volume-covid19-A-0001_ct", "COVID-19", "trainset", "T1", 70, 5.0, mask_dtype="f8"),
    _Recipe("volume-covid19-A-0002_0_ct", "COVID-19", "test_private", "T1", 64, 5.0, mask_dtype="i4"),
)


def write_phantom(root: Path, *, rows: int = 256, seed: int = 0) -> Path:
    """Write the phantom below `root`, laid out as the dataset is on the Hub.

    The same arguments give the same voxels.

    Args:
        root: made where it does not exist.
        rows: in-plane rows and columns; slices shrink with them, the body does not.
        seed: of the noise.

    Returns:
        `root`, a SOURCE for a build.
    """
    for number, recipe in enumerate(_CASES):
        _write_case(root, recipe, rows, np.random.default_rng([seed, number]))
    (root / SPLIT_FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / SPLIT_FILE).write_bytes(_split_list().encode())
    _write_spreadsheet(root / SPREADSHEET)
    return root


def _split_list() -> str:
    sections = (
        [f"{section}:", *(f"{r.case}.nii.gz" for r in _CASES if r.section == section)] for section in SPLITS
    )
    return "\r\n\r\n".join("\r\n".join(lines) for lines in sections) + "\r\n"


def _write_spreadsheet(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["Patient Id", "Age", "Position"])
    for recipe in _CASES:
        if recipe.source == "COLONOG":
            sheet.append([recipe.case, 50 + len(recipe.case), "supine"])
    book.save(path)


def _write_case(root: Path, recipe: _Recipe, rows: int, noise: np.random.Generator) -> None:
    body = _Body.of(recipe, rows)
    image, mask = body.draw()
    image += scipy.ndimage.gaussian_filter(noise.normal(0, 2 * _NOISE, image.shape), (0, 0.7, 0.7))
    values = np.rint(image)
    if recipe.padded:
        values[:, ~body.field_of_view] = _PADDING
    layout, names = CTSpine1K(), (SPLITS[recipe.section], recipe.source, recipe.case)
    stored_image = (values - recipe.inter).clip(min=_least(recipe)).astype(recipe.dtype)
    for path, stored, inter in (
        (layout.image_path(*names), stored_image, recipe.inter),
        (layout.mask_path(*names), mask.astype(recipe.mask_dtype), 0),
    ):
        disk = recipe.reorientation.undo(stored)
        affine = _disk_affine(body.affine, recipe.reorientation, disk.shape)
        nifti.write(root / path, [nifti.encode(disk, affine, inter)])


def _least(recipe: _Recipe) -> int:
    return int(np.iinfo(recipe.dtype).min)


def _disk_affine(canonical: Affine, reorientation: Reorientation, shape: tuple[int, ...]) -> Affine:
    i, j, k = shape
    return canonical @ np.linalg.inv(reorientation.affine(np.eye(4), (i, j, k)))


@dataclass(frozen=True)
class _Body:
    """A torso on a voxel grid; y and x are mm from its middle, one value a row and a column."""

    recipe: _Recipe
    slices: int
    rows: int
    y: NDArray[np.float64]
    x: NDArray[np.float64]

    @classmethod
    def of(cls, recipe: _Recipe, rows: int) -> _Body:
        line: NDArray[np.float64] = (np.arange(rows, dtype=np.float64) - (rows - 1) / 2) * (
            _FIELD_OF_VIEW / rows
        )
        slices = max(4, recipe.slices * rows // 256)
        return cls(recipe, slices, rows, line[:, None], line[None, :])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(z, y, x) mm; fewer slices are thicker, so that the body stays as long."""
        pixel = _FIELD_OF_VIEW / self.rows
        return self.recipe.spacing_z * self.recipe.slices / self.slices, pixel, pixel

    @property
    def affine(self) -> Affine:
        z, y, x = self.spacing
        affine = np.diag([x, y, z, 1.0])
        affine[:3, 3] = [self.x.min(), self.y.min(), -300.0]
        return affine

    @property
    def field_of_view(self) -> Plane:
        """The circle that the scanner reconstructs."""
        return self._ellipse((0, 0), (_FIELD_OF_VIEW / 2, _FIELD_OF_VIEW / 2))

    def draw(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """HU and labels, (z, y, x), without noise."""
        planes = [self._plane(height) for height in self._heights()]
        return np.array([hu for hu, _ in planes]), np.array([labels for _, labels in planes])

    def _heights(self) -> Iterator[float]:
        """The mm below the top of the scan, from the lowest slice up."""
        for index in range(self.slices):
            yield (self.slices - 1 - index) * self.spacing[0]

    def _plane(self, depth: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        level = _level_at(self.recipe, depth)
        half = _NECK if level.name.startswith("C") else _TORSO
        hu = np.full((self.rows, self.rows), float(_AIR))
        hu[self._ellipse((0, 0), half)] = _FAT
        hu[self._ellipse((0, 0), (half[0] - 12, half[1] - 12))] = _MUSCLE
        self._draw_organs(hu, level.name, half)
        labels = np.zeros(hu.shape, np.uint8)
        self._draw_spine(hu, labels, level, (-_SPINE_BEHIND * half[0] + 8 * np.sin(depth / 70), 0.0))
        return hu, labels

    def _draw_organs(self, hu: NDArray[np.float64], level: str, half: tuple[float, float]) -> None:
        if level.startswith("C"):
            hu[self._ellipse((25, 0), (8, 10))] = _GAS
        elif level.startswith("T"):
            for side in (-1, 1):
                hu[self._ellipse((15, side * half[1] * 0.5), (half[0] * 0.6, half[1] * 0.32))] = _LUNG
        else:
            for side in (-1, 0, 1):
                hu[self._ellipse((50, side * 60), (16, 22))] = _GAS

    def _draw_spine(
        self, hu: NDArray[np.float64], labels: NDArray[np.uint8], level: _Level, middle: tuple[float, float]
    ) -> None:
        width = level.half_width
        body = self._ellipse(middle, (width * 0.75, width))
        if level.in_disc:
            hu[body] = _DISC
            return
        # The arch overlaps the body, so that a vertebra is one piece; the canal runs between.
        arch = self._ellipse((middle[0] - width * 1.35, 0), (width, width * 0.95))
        canal = self._ellipse((middle[0] - width * 1.05, 0), (width * 0.4, width * 0.5))
        bone = (body | arch) & ~canal
        inner = self._ellipse(middle, (width * 0.75 - _CORTEX, width - _CORTEX))
        hu[bone] = _CORTICAL
        hu[inner & bone] = _TRABECULAR
        hu[canal] = _MUSCLE
        labels[bone] = level.label

    def _ellipse(self, middle: tuple[float, float], half: tuple[float, float]) -> Plane:
        inside: Plane = ((self.y - middle[0]) / half[0]) ** 2 + ((self.x - middle[1]) / half[1]) ** 2 <= 1
        return inside


@dataclass(frozen=True)
class _Level:
    """Where along the spine a slice is."""

    name: str
    label: int
    half_width: float
    in_disc: bool


def _level_at(recipe: _Recipe, depth: float) -> _Level:
    """The vertebra at `depth` mm below the top of the scan; below the last one, its shadow."""
    names = list(LABELS)[LABELS[recipe.top] - 1 : LABELS[recipe.last]]
    upper = 0.0
    for name in names:
        height, half_width = _LEVELS[name[0]]
        if depth < upper + height:
            in_disc = depth - upper >= height * (1 - _DISC_SHARE)
            return _Level(name, LABELS[name], half_width, in_disc)
        upper += height
    return _Level("sacrum", 0, _LEVELS["L"][1], in_disc=False)
