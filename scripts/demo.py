"""The whole path in a minute: a dataset, a store from it, lazy reads, a table and a picture.

    python scripts/demo.py [--source DIR] [--output DIR]

Without --source it writes a synthetic dataset first, in CTSpine1K's own layout.
"""

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from arguments import local_cases
from numpy.typing import NDArray

import ctspine_zarr as cz
from ctspine_zarr.cli.progress import follow
from ctspine_zarr.datasets.phantom import write_phantom
from ctspine_zarr.text import size

REPEATS = 5
PATCH = (96, 96, 96)


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    source = arguments.source or write_phantom(output / "phantom")
    print(f"source: {source}")
    store = build(source, output / "spine.zarr")
    compare(source, store)
    fullest = max(store.values(), key=lambda case: len(case.labels))
    picture = output / "overview.png"
    fullest.preview().save(picture)
    print(f"\n{fullest}\npicture: {picture}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a copy of the dataset; default: a synthetic one")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="default: demo")
    return parser.parse_args()


def build(source: Path, location: Path) -> cz.Store:
    """A fresh store, so that the times shown are those of a build."""
    shutil.rmtree(location, ignore_errors=True)
    plan = cz.plan_build(source, location)
    print("\n".join(cz.describe(plan)))
    with follow(plan) as on_event:
        result = cz.build_store(plan, on_event)
    print(f"built {len(result.built)} cases in {result.seconds:.1f} s\n")
    return cz.open_store(location)


def compare(source: Path, store: cz.Store) -> None:
    """Sizes, and times of a slice and a patch, beside nibabel on the same `.nii.gz`."""
    files = {case.id: case.image for case in local_cases(source)}
    print(f"{'':<57}{'axial slice, ms':>20}{'96-cube, ms':>20}")
    columns = f"{'nibabel':>10}{'store':>10}"
    print(f"{'case':<30}{'.nii.gz':>10}{'store':>10}{'ratio':>7}{columns}{columns}")
    for case in store.values():
        sizes = f"{size(case.record.source_bytes):>10}{size(case.record.stored_bytes):>10}"
        times = "".join(f"{time:>10.1f}" for time in read_times(case, files[case.id]))
        print(f"{case.id:<30}{sizes}{case.record.stored_bytes / case.record.source_bytes:>7.3f}{times}")
    print(f"store: {tree_bytes(store.location)} in all, {ratio(store):.3f} of the .nii.gz")
    print("the store's times are for image and mask, nibabel's for the image alone")


def read_times(case: cz.Case, path: Path) -> list[float]:
    """Milliseconds of an axial slice, nibabel and store, then of a 96-cube, after seeing both equal."""
    corner = [max(0, (n - edge) // 2) for n, edge in zip(case.shape, PATCH, strict=True)]
    box = tuple(slice(c, c + edge) for c, edge in zip(corner, PATCH, strict=True))
    index = case.shape[0] // 2
    if not np.array_equal(nibabel_read(path, (index,)), case.slice(index)["image"]):
        sys.exit(f"{case.id}: the store's slice is not nibabel's")
    return [
        milliseconds(partial(nibabel_read, path, (index,))),
        milliseconds(partial(case.slice, index)),
        milliseconds(partial(nibabel_read, path, box)),
        milliseconds(partial(case.patch, start=corner, size=PATCH)),
    ]


def nibabel_read(path: Path, index: tuple[int | slice, ...]) -> NDArray[Any]:
    """A part of a `.nii.gz`, canonical, (z, y, x): what a loader without a store does."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj).transpose()[index]


def milliseconds(work: Callable[[], object]) -> float:
    """Median wall time of a few runs."""
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def tree_bytes(folder: str) -> str:
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return size(sum(path.stat().st_size for path in paths))


def ratio(store: cz.Store) -> float:
    cases = store.cases
    return float(cases.stored_bytes.sum() / cases.source_bytes.sum())


if __name__ == "__main__":
    main()
