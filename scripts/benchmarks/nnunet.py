"""What nnU-Net's own loader takes of a store, beside the copy that its preprocessing writes.

Both have each case's own spacing, and give the same patches by the same seeds. Each has, in each run, a
fresh process, and one process loads; they take turns. nnU-Net and PyTorch must be installed.
"""

import json
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from arguments import selection

import ctspine_zarr as cz
from benchmarks import goals
from benchmarks.goals import Goal
from benchmarks.processes import Worker
from ctspine_zarr.nnunet.raw import write_raw

COPY, STORE = "nnU-Net's preprocessed copy", "from the store, CTSpineTrainer"
BATCH = 2
# The larger is what nnU-Net reads for a patch of 80 x 160 x 160, to turn it.
READ, PATCH, SMALL = (94, 188, 188), (80, 160, 160), (16, 64, 64)
_CONFIGURATION = "own"
_TURNS = 3
_FOREGROUND = 1 / 3


@dataclass(frozen=True)
class Loading:
    """A way of loading.

    Attributes:
        name: for the table.
        read, patch: (z, y, x) voxels that are read and that come out.
        is_augmented: whether nnU-Net's augmentation lies between.
        batches: of a turn.
    """

    name: str
    read: tuple[int, int, int]
    patch: tuple[int, int, int]
    is_augmented: bool
    batches: int


LOADINGS = (
    Loading("80 x 160 x 160, augmented", READ, PATCH, True, 3),
    Loading("80 x 160 x 160", PATCH, PATCH, False, 20),
    Loading("16 x 64 x 64", SMALL, SMALL, False, 40),
)

type Times = dict[str, dict[str, list[float]]]
"""Loading, then way -> milliseconds of wall time a batch, of each turn."""


def run(source: Path, scratch: Path, case: str | None, runs: int) -> dict[str, Any]:
    """Measure all cases or one, print a table, return the figures."""
    folder = preprocessed(source, scratch, case)
    taken = [one_run(folder, number) for number in range(runs)]
    print(
        f"\nnnU-Net's loader, one process, batches of {BATCH}; milliseconds a batch, median (range over runs)"
    )
    print(f"{'':<30}{COPY:>34}{STORE:>34}")
    for loading in LOADINGS:
        cells = (goals.ranged([middle(times, loading, way) for times in taken]) for way in (COPY, STORE))
        print(f"{loading.name:<30}" + "".join(f"{cell:>34}" for cell in cells))
    augmented, *_ = LOADINGS
    over = [middle(times, augmented, STORE) / middle(times, augmented, COPY) for times in taken]
    text = f"nnU-Net's loader, {augmented.name}: time from the store over that from the copy"
    aims = [Goal(text, 1.0, 1.1, over)]
    goals.report(aims, " of nnU-Net")
    return {"times": taken, "goals": [aim.in_json for aim in aims]}


def preprocessed(source: Path, scratch: Path, case: str | None) -> Path:
    """The folder of a dataset below nnUNet_preprocessed, with the copy and what stands for it."""
    from ctspine_zarr.nnunet import planning, preprocess  # noqa: PLC0415 - optional

    cz.build_store(cz.plan_build(source, scratch / "nnunet.zarr", selection=selection(case)))
    raw = write_raw(cz.open_store(scratch / "nnunet.zarr"), scratch / "raw", id=601)
    folder = planning.plan(raw, scratch / "preprocessed", fingerprint="catalog")
    path = folder / f"{planning.PLANS}.json"
    plans = json.loads(path.read_text())
    own = plans["configurations"]["3d_fullres"] | preprocess.NO_RESAMPLING
    plans["configurations"][_CONFIGURATION] = own | {"data_identifier": _CONFIGURATION}
    path.write_text(json.dumps(plans))
    for direct in (False, True):
        preprocess.preprocess(raw, scratch / "preprocessed", configuration=_CONFIGURATION, direct=direct)
    return folder


def one_run(folder: Path, number: int) -> Times:
    """Fresh processes; the first turn of each warms it."""
    chooser = random.Random(number)  # noqa: S311 - no secret
    with ExitStack() as stack:
        loaders = {
            way: stack.enter_context(Worker(partial(Loaders, folder, is_direct=way == STORE)))
            for way in (COPY, STORE)
        }
        for loader in loaders.values():
            loader.ready()
        times: Times = {}
        for loading in LOADINGS:
            found: dict[str, list[float]] = {way: [] for way in loaders}
            for turn in range(_TURNS + 1):
                sums = {}
                for way in chooser.sample(list(loaders), len(loaders)):
                    seconds, sums[way] = loaders[way].ask(Loaders.load, loading, turn)
                    found[way].append(1e3 * seconds)
                if len(set(sums.values())) != 1:
                    message = f"patches from the copy and from the store differ: {sums}"
                    raise ValueError(message)
            times[loading.name] = {way: one[1:] for way, one in found.items()}
    return times


class Loaders:
    """In a process of its own: nnU-Net's loader over one of both datasets.

    Args:
        folder: of the dataset below nnUNet_preprocessed.
        is_direct: the dataset that is read from the store.

    Raises:
        CtspineError: nnU-Net is not installed.
    """

    def __init__(self, folder: Path, *, is_direct: bool) -> None:
        from ctspine_zarr.nnunet.dataset import StoreDataset  # noqa: PLC0415 - optional

        import torch  # isort: skip  # noqa: PLC0415
        from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2  # noqa: PLC0415
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

        torch.set_num_threads(1)
        description = json.loads((folder / "dataset.json").read_text())
        self._labels = PlansManager(str(folder / "nnUNetPlans.json")).get_label_manager(description)
        kind = StoreDataset if is_direct else nnUNetDatasetBlosc2
        self._dataset = kind(str(folder / f"{_CONFIGURATION}{'_direct' if is_direct else ''}"))

    def load(self, loading: Loading, seed: int) -> tuple[float, float]:
        """Seconds a batch, and a sum over what was not augmented, in which labels below 0 count as 0."""
        import torch  # noqa: PLC0415
        from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader  # noqa: PLC0415

        loader = nnUNetDataLoader(
            self._dataset,
            BATCH,
            loading.read,
            loading.patch,
            self._labels,
            _FOREGROUND,
            transforms=augmentation(loading.patch) if loading.is_augmented else None,
        )
        np.random.seed(seed)  # noqa: NPY002 - nnU-Net draws by it
        torch.manual_seed(seed)
        begun = time.perf_counter()
        batches = [next(loader) for _ in range(loading.batches)]
        seconds = (time.perf_counter() - begun) / loading.batches
        if loading.is_augmented:
            return seconds, 0.0
        return seconds, sum(
            float(one["data"].double().sum() + one["target"].clamp(0).sum()) for one in batches
        )


def augmentation(patch: tuple[int, int, int]) -> Any:
    """nnU-Net's own for three dimensions, without mirroring."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: PLC0415

    turns = (-np.pi / 6, np.pi / 6)
    scales = [[1, 1, 1], [0.5, 0.5, 0.5]]
    return nnUNetTrainer.get_training_transforms(patch, turns, scales, None, False, [False])


def middle(times: Times, loading: Loading, way: str) -> float:
    return float(np.median(times[loading.name][way]))
