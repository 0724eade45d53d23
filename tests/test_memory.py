"""A worker's memory stays within the bound that the plan prints."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isal import igzip
from numpy.typing import NDArray
from trees import AFFINE

import ctspine_zarr as cz
from ctspine_zarr import nifti
from ctspine_zarr.write.estimates import worker_memory

SHAPE = (512, 512, 1000)
STATUS = Path("/proc/self/status")


def noise(random: np.random.Generator, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A plane that no codec makes smaller; of int32, one that int16 holds."""
    if dtype.kind == "f":
        return random.normal(0, 1000, SHAPE[:2]).astype(dtype)
    limits = np.iinfo(dtype if dtype.itemsize <= 2 else np.int16)
    return random.integers(limits.min, limits.max, SHAPE[:2], dtype, endpoint=True)


def write_large(path: Path, dtype: str, slope: float = 1, *, label: bool) -> None:
    """A large file, plane by plane; the tests' own memory is none of a worker's."""
    header = nifti.encode(np.empty((0, 0, 0), dtype), AFFINE)[:352]
    edited = bytearray(header)
    edited[40:56] = np.array([3, *SHAPE, 1, 1, 1, 1], "<i2").tobytes()[:16]
    edited[112:120] = np.array([slope, 0], "<f4").tobytes()
    random = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with igzip.IGzipFile(path, "wb", 0) as file:
        file.write(edited)
        for index in range(SHAPE[2]):
            plane = np.zeros(SHAPE[:2], dtype)
            if not label:
                plane += noise(random, np.dtype(dtype))
            elif 300 <= index < 340:
                plane[200:260, 200:260] = 20
            # Strays in opposite corners make a label's box the whole volume.
            elif index in {0, SHAPE[2] - 1}:
                plane[-(index > 0), -(index > 0)] = 6
            file.write(plane.tobytes(order="F"))


def build_and_weigh(source: Path, store: Path) -> tuple[int, int, tuple[str, ...]]:
    """Bound, peak and refusals of a build in this process."""
    plan = cz.plan_build(source, store, workers=1)
    result = cz.build_store(plan)
    bound = worker_memory(planned.working_bytes for planned in plan.pending)
    return bound, peak_bytes(), tuple(refusal.reason for refusal in result.refused)


def peak_bytes() -> int:
    """The most memory that this process has had; `getrusage` has that of the one that started it, too."""
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not STATUS.exists(), reason="needs the peak of a process's memory")
@pytest.mark.parametrize(
    ("image", "slope", "mask"),
    [
        ("int32", 1, "int32"),
        ("int16", 1, "uint8"),
        ("float32", 1, "uint8"),
        ("uint8", 1, "int32"),
        # Decoded its values take a multiple of the file.
        ("uint8", 0.5, "uint8"),
    ],
)
def test_a_worker_stays_within_its_bound(tmp_path: Path, image: str, slope: float, mask: str) -> None:
    source = tmp_path / "source"
    write_large(source / "raw_data/volumes/MSD-T10/liver_1.nii.gz", image, slope, label=False)
    write_large(source / "raw_data/labels/MSD-T10/liver_1_seg.nii.gz", mask, label=True)
    (source / "metadata").mkdir()
    (source / "metadata/data_split.txt").write_text("trainset:\nliver_1.nii.gz\n")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        bound, peak, refused = worker.submit(build_and_weigh, source, tmp_path / "s.zarr").result()
    assert refused == ()
    assert peak <= bound, f"peak {peak / 1e6:.0f} MB, bound {bound / 1e6:.0f} MB"
    if image == "int32":
        assert peak < 2.5e9
    [case] = cz.open_store(tmp_path / "s.zarr").values()
    assert (case.image.dtype.kind == "f") == (image == "float32" or slope != 1)
    assert "stray_label" in {finding.code for finding in case.record.findings}
