"""Samples for training: streams beside Arrow and zarr-python, workers, drawing, start-up, memory."""

import itertools
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import zarr

import ctspine_zarr as cz
from benchmarks.read import goal
from ctspine_zarr.format import layout

CASES, SLICES, LABELS = 1005, 500, 20
PATCH = 96
SAMPLES = 64

START = """
import sys, time
begun = time.perf_counter()
import ctspine_zarr as cz
store = cz.open_store(sys.argv[1])
stream = cz.SliceStream(store)
patches = cz.PatchStream(store, 8, strategy=cz.Balanced())
next(iter(stream)), next(iter(patches))
print(time.perf_counter() - begun)
"""


def run(source: Path, scratch: Path, repeats: int) -> dict[str, Any]:
    """Measure, print and return the figures."""
    store = prepare(source, scratch / "train.zarr")
    print(f"\nsamples of {', '.join(store)}, float32 and int32, one thread; milliseconds a sample")
    ways = slice_ways(store, scratch) | patch_ways(store)
    times = measured(ways, repeats)
    for name, found in times.items():
        low, high = min(found), max(found)
        print(f"{name:<58}{statistics.median(found):>8.2f}   ({low:.2f} to {high:.2f})")
    workers = worker_figures(store, repeats)
    seconds = start_up(scratch, repeats)
    goals = list(goals_met(times, workers, seconds, drawing(store)))
    print("targets, on real CT:", *goals, sep="\n")
    return {"samples": times, "workers": workers, "start_up": seconds, "goals": goals}


def prepare(source: Path, location: Path) -> cz.Store:
    """A store of the dataset, and of it the case with most slices."""
    cz.build_store(cz.plan_build(source, location, workers=1))
    store = cz.open_store(location, threads=1)
    return store.select(min_slices=int(store.cases.slices.max()))


type Way = Callable[[], Iterable[Any]]


def slice_ways(store: cz.Store, scratch: Path) -> dict[str, Way]:
    """Axial slices, image and mask, in random order."""
    (case,) = store.values()
    order = random.Random(0).sample(range(case.shape[0]), case.shape[0])  # noqa: S311 - no secret
    arrays = [
        zarr.open_array(Path(store.location) / case.record.path / path, mode="r")
        for path in (layout.IMAGE, layout.mask_path(store.spec.mask))
    ]

    def zarr_python() -> Iterator[Any]:
        image, mask = arrays
        for z in order[:40]:
            yield np.asarray(image[z], np.float32), np.asarray(mask[z], np.int32)

    ways: dict[str, Way] = {
        "SliceStream": lambda: cz.SliceStream(store),
        "SliceStream, stored dtypes": lambda: cz.SliceStream(store, keep_dtype=True),
        "SliceDataset, shuffled": lambda: map(cz.SliceDataset(store).__getitem__, order[:40]),
        "zarr-python, shuffled": zarr_python,
    }
    try:
        rows = arrow(case, scratch / "arrow-train")
    except ImportError as error:
        print(f"Arrow: not installed ({error})")
        return ways
    return ways | {"Arrow 2d, uncompressed and warm, shuffled": lambda: map(rows.__getitem__, order[:100])}


def arrow(case: cz.Case, folder: Path) -> Any:
    """Hugging Face Arrow as the dataset card's loader makes it: a row a slice."""
    import datasets  # noqa: PLC0415 - not everyone has it

    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "image": datasets.Array2D(case.shape[1:], "float32"),
            "segmentation": datasets.Array2D(case.shape[1:], "int32"),
        }
    )
    columns = {
        "image": list(case.voxels("image")[...].astype(np.float32)),
        "segmentation": list(case.voxels("segmentation")[...].astype(np.int32)),
    }
    datasets.Dataset.from_dict(columns, features).save_to_disk(folder)
    return datasets.load_from_disk(folder).with_format("numpy")


def patch_ways(store: cz.Store) -> dict[str, Way]:
    """Patches, image and mask."""
    options: dict[str, Any] = {"size": PATCH, "samples_per_volume": SAMPLES}
    return {
        "PatchDataset": lambda: cz.PatchDataset(store, **options),
        "PatchStream, 4 patches a region": lambda: cz.PatchStream(store, **options),
        "PatchDataset, class-balanced": lambda: cz.PatchDataset(store, **options, strategy=cz.Balanced()),
        "PatchDataset, resampled to 1 mm": lambda: cz.PatchDataset(store, **options, spacing=1),
    }


def measured(ways: dict[str, Way], repeats: int) -> dict[str, list[float]]:
    """Milliseconds a sample; the ways take turns, in an order drawn anew each time."""
    chooser = random.Random(0)  # noqa: S311 - no secret
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name in chooser.sample(list(ways), len(ways)):
            begun = time.perf_counter()
            count = sum(1 for _ in ways[name]())
            times[name].append((time.perf_counter() - begun) / count * 1000)
    return times


def drawing(store: cz.Store) -> dict[str, float]:
    """Milliseconds to draw a patch, without reading it."""

    def draw(strategy: Any) -> float:
        dataset = cz.PatchDataset(store, PATCH, samples_per_volume=500, strategy=strategy)
        begun = time.perf_counter()
        for number in range(len(dataset)):
            dataset._unit(number)  # noqa: SLF001 - what is measured
        return (time.perf_counter() - begun) / len(dataset) * 1000

    return {"uniform": draw(cz.Uniform()), "balanced": draw(cz.Balanced())}


def worker_figures(store: cz.Store, repeats: int) -> list[dict[str, Any]]:
    """Samples a second by one and by two workers, and what a worker holds; [] without PyTorch."""
    try:
        from ctspine_zarr.torch import PatchStream, SliceStream  # noqa: PLC0415 - not everyone has it
    except cz.CtspineError as error:
        print(f"workers: not measured ({error})")
        return []
    patches = PatchStream(store, PATCH, samples_per_volume=4 * SAMPLES)
    streams: dict[str, tuple[Any, int]] = {
        "SliceStream": (SliceStream(store), 16),
        "PatchStream": (patches, 4),
    }
    found = []
    for (name, (stream, batch)), workers in itertools.product(streams.items(), (1, 2)):
        figures = {"stream": name, "workers": workers, **loaded(stream, batch, workers, repeats)}
        rate, own = statistics.median(figures["rates"]), figures["own"]
        print(f"{name}, {workers} workers, batches of {batch}: {rate:.0f} a second, {own:.0f} MB each")
        found.append(figures)
    return found


def loaded(stream: Any, batch: int, workers: int, repeats: int) -> dict[str, Any]:
    """Samples a second of each pass but the first, and the largest worker's megabytes: its own,
    without what it shares with the training process, such as PyTorch's libraries.
    """
    import psutil  # noqa: PLC0415 - not everyone has it

    from ctspine_zarr.torch import make_loader  # noqa: PLC0415 - not everyone has it

    loader = make_loader(stream, batch, workers=workers)
    rates, own = [], 0.0
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        count = sum(len(samples["image"]) for samples in loader)
        rates.append(count / (time.perf_counter() - begun))
        for child in psutil.Process().children():
            own = max(own, child.memory_full_info().uss / 1e6)
    return {"rates": rates[1:], "own": own}


def start_up(scratch: Path, repeats: int) -> list[float]:
    """Seconds from importing the package to the first samples of a store of 1,005 cases."""
    source = scratch / "tiny"
    affine = np.diag([4.0, 4.0, 1.0, 1.0])
    names = [f"liver_{number}" for number in range(CASES)]
    # As many slices and labels as real ones have, and few voxels.
    mask = np.zeros((16, 16, SLICES), np.uint8)
    for level in range(LABELS):
        mask[4:12, 4:12, level * 25 : level * 25 + 20] = LABELS - level
    for folder, suffix, voxels in (("volumes", "", mask.astype(np.int16)), ("labels", "_seg", mask)):
        (source / "raw_data" / folder / "MSD-T10").mkdir(parents=True)
        first = source / "raw_data" / folder / "MSD-T10" / f"{names[0]}{suffix}.nii.gz"
        nibabel.Nifti1Image(voxels, affine).to_filename(first)
        for name in names[1:]:
            shutil.copy(first, first.with_name(f"{name}{suffix}.nii.gz"))
    (source / "metadata").mkdir()
    lines = "\n".join(f"{name}.nii.gz" for name in names)
    (source / "metadata" / "data_split.txt").write_text(f"trainset:\n{lines}\n")
    store = scratch / "tiny.zarr"
    cz.build_store(cz.plan_build(source, store, workers=1))
    command = [sys.executable, "-c", START, str(store)]
    seconds = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - our own
        for _ in range(repeats)
    ]
    print(f"first samples of {CASES} cases, imports included: {statistics.median(seconds):.2f} s")
    return seconds


def goals_met(
    times: dict[str, list[float]],
    workers: list[dict[str, Any]],
    seconds: list[float],
    draws: dict[str, float],
) -> Iterator[str]:
    """Each goal with what was reached: medians of the ratios turn by turn."""

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))

    others = {"Arrow 2d, uncompressed and warm, shuffled": 0.8, "zarr-python, shuffled": 10}
    for other, least in others.items():
        if other in times:
            reached = ratio(other, "SliceStream")
            yield goal(f"SliceStream: times the slices a second of {other}", reached, least, at_least=True)
    reached = ratio("PatchDataset", "PatchStream, 4 patches a region")
    yield goal("PatchStream: times the patches a second of PatchDataset", reached, 1.5, at_least=True)
    uniform = statistics.median(times["PatchDataset"])
    extra = (draws["balanced"] - draws["uniform"]) / uniform
    yield goal("class-balanced: what drawing costs more than uniform, of a patch's time", extra, 0.05)
    # Bone and its mask compress less than air, so that such patches are more work for any reader.
    balanced = ratio("PatchDataset, class-balanced", "PatchDataset")
    print(f"class-balanced patches take {balanced:.2f} times what uniform ones take")
    for one, two in zip(workers[::2], workers[1::2], strict=True):
        reached = statistics.median(two["rates"]) / statistics.median(one["rates"])
        name = one["stream"]
        yield goal(f"{name}: times faster with two workers than with one", reached, 1.7, at_least=True)
        yield goal(f"{name}: MB of a worker's own memory", max(one["own"], two["own"]), 400)
    yield goal(f"seconds to the first samples of {CASES} cases", statistics.median(seconds), 1)
