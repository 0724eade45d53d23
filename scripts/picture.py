"""The picture of docs/pictures.md: a drawn spine, for no CT may be shown here, built as any case is.

    python scripts/picture.py FILE.png [--height N]

The body is made of simple solids in mm: x to the right, y to the front, z upwards from the lowest slice.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

import ctspine_zarr as cz

type Plane = NDArray[np.floating[Any]]

STEP = np.array([1.2, 1.2, 1.5])
"""mm of a voxel, (x, y, z)."""
SIZE = (300, 216, 340)
FIRST, LAST = 8, 24  # T1 to L5
LUMBAR = 20
CASE = "volume-drawn_ct"


@dataclass(frozen=True)
class Bone:
    """A vertebra: its label, middle of its body and half sizes in mm, and how it leans, as tangents."""

    label: int
    middle: tuple[float, float, float]
    half: tuple[float, float, float]
    lean: tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--height", type=int, default=440)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source, store = Path(scratch) / "source", Path(scratch) / "drawn.zarr"
        write(source)
        cz.build_store(cz.plan_build(source, store, workers=1))
        cz.preview(store, arguments.file, CASE, height=arguments.height, overwrite=True)


def write(root: Path) -> None:
    """The volume and its mask in CTSpine1K's layout."""
    bones = list(column())
    # In memory as on disk, slice by slice.
    image, mask = np.empty(SIZE, np.int16, order="F"), np.empty(SIZE, np.uint8, order="F")
    noise = np.random.default_rng(0)
    x = ((np.arange(SIZE[0]) - SIZE[0] / 2) * STEP[0]).astype(np.float32)[:, None]
    y = ((np.arange(SIZE[1]) - SIZE[1] / 2) * STEP[1]).astype(np.float32)[None, :]
    for index in range(SIZE[2]):
        hu, labels = slice_at(x, y, index * STEP[2], bones)
        image[..., index] = np.rint(hu + noise.normal(0, 9, hu.shape))
        mask[..., index] = labels
    affine = np.diag([*STEP, 1.0])
    for folder, name, voxels in (("volumes", CASE, image), ("labels", f"{CASE}_seg", mask)):
        path = root / "raw_data" / folder / "COVID-19" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        file = nibabel.Nifti1Image(voxels, affine)
        file.header.set_xyzt_units("mm")
        nibabel.save(file, path)
    listing = root / "metadata" / "data_split.txt"
    listing.parent.mkdir()
    listing.write_text(f"trainset:\n{CASE}.nii.gz\ntest_public:\ntest_private:\n")


def bend(z: float) -> tuple[float, float]:
    """Where the middle of the bodies is at a height: x of a slight scoliosis, y of kyphosis and lordosis."""
    share = z / 500
    return 13 * np.sin(2 * np.pi * share * 1.1), -25 + 15 * np.cos(2 * np.pi * (share - 0.22) * 1.05)


def column() -> Iterator[Bone]:
    """The vertebrae from the lowest to the highest, and one below, without a label, for the sacrum."""
    z = 26.0
    for label in range(LAST + 1, FIRST - 1, -1):
        share = (label - FIRST) / (LAST - FIRST)
        half = (14.5 + 12 * share, 10 + 8 * share, 8 + 5.5 * share)
        middle = z + half[2]
        x, y = bend(middle)
        lean = tuple((high - low) / 10 for low, high in zip(bend(middle - 5), bend(middle + 5), strict=True))
        yield Bone(label if label <= LAST else 0, (x, y, middle), half, (lean[0], lean[1]))
        z = middle + half[2] + 2.5 + 5 * share


def slice_at(x: Plane, y: Plane, z: float, bones: list[Bone]) -> tuple[Plane, NDArray[np.uint8]]:
    """HU and labels of the slice at a height."""
    hu = organs(x, y, z)
    labels = np.zeros(hu.shape, np.uint8)
    place = bend(z)
    disc = ellipse(x, y, (place[0], place[1]), (18, 13))
    hu[disc < 1] = 95
    canal = ellipse(x, y, (place[0], place[1] - 24), (8, 7))
    for bone in bones:
        if abs(z - bone.middle[2]) < 55:
            depth = distance(x, y, z, bone)
            inside = (depth < 0) & (canal > 1)
            shell = np.clip(-depth / 2.2, 0, 1)
            hu[inside] = (640 - 430 * shell)[inside]
            labels[inside] = bone.label
    hu[canal <= 1] = 25
    return hu, labels


def organs(x: Plane, y: Plane, z: float) -> Plane:
    """HU of a trunk without its spine."""
    up = z / 500
    waist = 1 - 0.1 * np.sin(np.pi * np.clip(up * 1.5, 0, 1)) - 0.35 * np.clip(up - 0.88, 0, 1) * 5
    half = (162 * waist, 108 * waist)
    body = ellipse(x, y, (0, 0), half)
    hu = np.full(body.shape, -1000, np.float32)
    hu[body < 1] = -100
    hu[ellipse(x, y, (0, 0), (half[0] - 14, half[1] - 11)) < 1] = 52
    chest = ellipse(x, y, (0, 4), (half[0] - 26, half[1] - 24))
    if up > 0.42:
        dome = np.sqrt(np.clip((up - 0.42) / 0.1, 0, 1))
        tip = np.sqrt(np.clip((1.0 - up) / 0.25, 0, 1))
        for side in (-1, 1):
            lung = ellipse(x, y, (side * 70, 6), (58 * dome * tip + 1, 78 * dome * tip + 1))
            hu[(lung < 1) & (chest < 1)] = -840
        heart = ellipse(x, y, (-18, 30), (52, 40)) + ((z - 285) / 55) ** 2
        hu[heart < 1] = 60
        # Each rib goes round the chest and falls to the front.
        slope = (z - 0.25 * y + 500) % 27
        hu[(np.abs(chest - 1.0) < 0.09) & (slope < 9) & (y < 70)] = 420
        hu[(np.abs(x) < 15) & (np.abs(y - (half[1] - 20)) < 5) & (up > 0.5) & (up < 0.9)] = 330
    else:
        hu[(ellipse(x, y, (62, 14), (62, 62)) + ((z - 190) / 62) ** 2) < 1] = 105
        for side in (-1, 1):
            kidney = ellipse(x, y, (side * 66, -38), (26, 22)) + ((z - 135) / 52) ** 2
            hu[kidney < 1] = 160
        bowel = np.sin(x / 15 + z / 40) * np.sin(y / 13 - z / 31) + ellipse(x, y, (0, 50), (95, 40))
        hu[bowel < 0.35] = -300
    muscle = np.minimum(*(ellipse(x, y, (side * 32, -72), (28, 18)) for side in (-1, 1)))
    hu[(muscle < 1) & (body < 0.92)] = 66
    place = bend(z)
    hu[ellipse(x, y, (place[0] - 20, place[1] + 26), (11, 11)) < 1] = 190
    return hu


def ellipse(x: Plane, y: Plane, middle: tuple[float, float], half: tuple[float, float]) -> Plane:
    """Below 1 inside an ellipse."""
    found: Plane = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2
    return found


def distance(x: Plane, y: Plane, z: float, bone: Bone) -> Plane:
    """Mm from a vertebra's surface, about, below 0 inside it."""
    wide, deep, tall = bone.half
    above = z - bone.middle[2]
    # Turned by its lean, small enough for shears to do.
    u, v = x - bone.middle[0] - above * bone.lean[0], y - bone.middle[1] - above * bone.lean[1]
    w = above + u * bone.lean[0] + v * bone.lean[1]
    waist = 1 - 0.13 * (1 - np.clip(w / tall, -1, 1) ** 2)
    rim = (np.abs(u / (wide * waist)) ** 2.4 + np.abs(v / (deep * waist)) ** 2.4) ** (1 / 2.4)
    body = np.maximum((rim - 1) * deep, np.abs(w) - tall + 1.5 * np.abs(rim - 0.6))
    back = -deep - 9
    ring = np.maximum(np.abs(np.hypot(u, (v - back) * 1.1) - 12) - 3.2, np.abs(w - 0.1 * tall) - 0.65 * tall)
    is_lumbar = bone.label == 0 or bone.label >= LUMBAR
    tip = -0.3 * tall if is_lumbar else -1.4 * tall
    spine = capsule((u, v, w / (1.9 if is_lumbar else 1.1)), (0, back - 13, 0), (0, back - 33, tip / 2), 3.8)
    arms = [
        capsule((u, v, w), (side * 11, back, 0.2 * tall), (side * (wide + 11), back - 9, 0.35 * tall), 4.2)
        for side in (-1, 1)
    ]
    found: Plane = np.minimum.reduce([body, ring, spine, *arms])
    return found


def capsule(
    at: tuple[Plane, Plane, Plane], start: tuple[float, ...], end: tuple[float, ...], radius: float
) -> Plane:
    """Mm from the surface of a rod with round ends."""
    along = np.subtract(end, start)
    away = [one - first for one, first in zip(at, start, strict=True)]
    share = np.clip(sum(a * b for a, b in zip(away, along, strict=True)) / (along @ along), 0, 1)
    parts = [(a - share * b) ** 2 for a, b in zip(away, along, strict=True)]
    found: Plane = np.sqrt(parts[0] + parts[1] + parts[2]) - radius
    return found


if __name__ == "__main__":
    main()
