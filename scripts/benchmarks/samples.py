"""The ways to get samples for training, each in a process of its own."""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import ctspine_zarr as cz
from benchmarks.processes import WITHOUT_KERNEL
from ctspine_zarr.format import layout

PATCH = 96
SAMPLES = 64

SLICES = "Stream of slices"
PLAIN_SLICES = "Stream of slices, without kernel"
ZARR = "zarr-python, shuffled"
ARROW = "Arrow 2d, uncompressed and warm, shuffled"
RANDOM_PATCHES = "Dataset of patches"
PATCHES = "Stream of patches, 4 patches a region"
PLAIN_PATCHES = "Stream of patches, 4 patches a region, without kernel"
BALANCED = "Dataset of patches, class-balanced"


@dataclass(frozen=True)
class Place:
    """Where the samples are.

    Attributes:
        store: of the dataset.
        folder: for the same in Arrow.
    """

    store: Path
    folder: Path

    def open(self) -> cz.Store:
        """The case with most slices, read by one thread."""
        store = cz.open_store(self.store, threads=1)
        return store.select(min_slices=int(store.cases.slices.max()))

    @property
    def rows(self) -> Path:
        """The Arrow files."""
        return self.folder / "arrow-train"


type Pass = Callable[[], Iterable[Any]]
"""A pass over samples."""


@dataclass(frozen=True)
class Way:
    """A way to get samples.

    Attributes:
        open: in the process that is to read.
        environment: of it.
        write: what is to be opened, in another process.
    """

    open: Callable[[Place], Pass]
    environment: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[Place], None] | None = None


def stream(place: Place, *, keep_dtype: bool = False) -> Pass:
    """Axial slices, image and mask, in random order."""
    store = place.open()
    return lambda: cz.Stream(store, cz.Slices(keep_dtype=keep_dtype))


def order(case: cz.Case) -> list[int]:
    return random.Random(0).sample(range(case.shape[0]), case.shape[0])  # noqa: S311 - no secret


def one_by_one(place: Place) -> Pass:
    """The same, a slice at a time."""
    store = place.open()
    (case,) = store.values()
    return lambda: map(cz.Dataset(store, cz.Slices()).__getitem__, order(case)[:40])


def zarr_python(place: Place) -> Pass:
    """The same by zarr-python."""
    store = place.open()
    (case,) = store.values()
    image, mask = (
        zarr.open_array(Path(store.location) / case.record.path / path, mode="r")
        for path in (layout.IMAGE, layout.mask_path(store.spec.mask))
    )

    def read() -> Iterator[Any]:
        for z in order(case)[:40]:
            yield np.asarray(image[z], np.float32), np.asarray(mask[z], np.int32)

    return read


def write_arrow(place: Place) -> None:
    """Hugging Face Arrow as the dataset card's loader makes it: a row a slice."""
    import datasets  # noqa: PLC0415 - not everyone has it

    datasets.disable_progress_bars()
    (case,) = place.open().values()
    image, mask = case.voxels("image")[...], case.voxels("segmentation")[...]
    columns = {"image": list(image.astype(np.float32)), "segmentation": list(mask.astype(np.int32))}
    types = {"image": "float32", "segmentation": "int32"}
    features = {name: datasets.Array2D(case.shape[1:], dtype) for name, dtype in types.items()}
    datasets.Dataset.from_dict(columns, datasets.Features(features)).save_to_disk(place.rows)


def arrow(place: Place) -> Pass:
    """Its rows in random order."""
    import datasets  # noqa: PLC0415 - not everyone has it

    (case,) = place.open().values()
    rows = datasets.load_from_disk(place.rows).with_format("numpy")
    return lambda: map(rows.__getitem__, order(case)[:100])


def random_patches(place: Place, **options: Any) -> Pass:
    """Patches, image and mask."""
    dataset = cz.Dataset(place.open(), cz.Patches(PATCH, samples_per_volume=SAMPLES, **options))
    return lambda: dataset


def class_balanced(place: Place) -> Pass:
    """As many of each vertebra."""
    return random_patches(place, strategy=cz.Balanced())


def patches(place: Place) -> Pass:
    """Patches of regions."""
    store = place.open()
    return lambda: cz.Stream(store, cz.Patches(PATCH, samples_per_volume=SAMPLES))


WAYS: dict[str, Way] = {
    SLICES: Way(stream),
    PLAIN_SLICES: Way(stream, WITHOUT_KERNEL),
    "Stream of slices, stored dtypes": Way(partial(stream, keep_dtype=True)),
    "Dataset of slices, shuffled": Way(one_by_one),
    ZARR: Way(zarr_python),
    ARROW: Way(arrow, write=write_arrow),
    RANDOM_PATCHES: Way(random_patches),
    PATCHES: Way(patches),
    PLAIN_PATCHES: Way(patches, WITHOUT_KERNEL),
    BALANCED: Way(class_balanced),
    "Dataset of patches, resampled to 1 mm": Way(partial(random_patches, spacing=1)),
}


class Sampler:
    """In a process of its own: one way, opened.

    Args:
        name: of the way.
        place: of the samples.
    """

    def __init__(self, name: str, place: Place) -> None:
        self._pass = WAYS[name].open(place)

    def warm_up(self) -> None:
        """Read the first samples."""
        for _ in itertools.islice(self._pass(), 20):
            pass

    def times(self) -> tuple[float, float]:
        """Milliseconds a sample of wall and CPU time, over a pass."""
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(1 for _ in self._pass())
        found = time.perf_counter() - wall, time.process_time() - cpu
        return found[0] / count * 1000, found[1] / count * 1000


def drawing(place: Place) -> dict[str, float]:
    """Milliseconds to draw a patch, without reading it."""
    store = place.open()

    def draw(strategy: Any) -> float:
        dataset = cz.Dataset(store, cz.Patches(PATCH, samples_per_volume=500, strategy=strategy))
        begun = time.perf_counter()
        for number in range(len(dataset)):
            dataset._unit(number)  # noqa: SLF001 - what is measured
        return (time.perf_counter() - begun) / len(dataset) * 1000

    return {"uniform": draw(cz.Uniform()), "balanced": draw(cz.Balanced())}
