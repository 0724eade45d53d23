"""Train a small U-Net to find what masks mark, 2-D and 3-D: the whole path, in two minutes each.

    python scripts/train_unet.py [--store STORE] [--mode 2d|3d] [--steps N] [--output DIR]

Without --store it makes the synthetic dataset and its store first. It trains on the cases of
the split `train` that have masks, validates on those of `validation` (in 3-D by overlapping
windows put together again), and writes a curve and an overlay as PNG. It fails where the loss does
not fall or the Dice does not rise.
Needs PyTorch and matplotlib: pip install 'ctspine-zarr[torch]' matplotlib
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from arguments import positive
from numpy.typing import NDArray
from torch import nn

import ctspine_zarr as cz
from ctspine_zarr.datasets.phantom import write_phantom
from ctspine_zarr.errors import CtspineError
from ctspine_zarr.torch import Dataset, Stream, make_loader

mpl.use("Agg")
import matplotlib.pyplot as plt

# Soft tissue to bone.
LOOK: dict[str, Any] = {"window": (-200.0, 1000.0), "channel": True}
PATCH = (32, 64, 64)
SEED = 0


@dataclass
class Curve:
    """Loss of every step, and validation Dice by step."""

    losses: list[float] = field(default_factory=list)
    dice: dict[int, float] = field(default_factory=dict)


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(SEED)
    arguments.output.mkdir(parents=True, exist_ok=True)
    store = opened(arguments.store, arguments.output)
    stores = {split: store.select(split=split, has_mask=True) for split in ("train", "validation")}
    print(f"{store.location}: cases", {split: len(chosen) for split, chosen in stores.items()})
    if not all(stores.values()):
        sys.exit("error: the store needs cases of both splits, with masks")
    for mode in ("2d", "3d") if arguments.mode is None else (arguments.mode,):
        train(stores, mode, arguments.steps, arguments.workers, arguments.output)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, help="default: a store of the synthetic dataset")
    parser.add_argument("--mode", choices=("2d", "3d"), help="default: both")
    parser.add_argument("--steps", type=positive, default=120, help="batches to train on; default: 120")
    parser.add_argument("--workers", type=positive, default=1, help="processes that read; default: 1")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="default: demo")
    return parser.parse_args()


def opened(location: Path | None, output: Path) -> cz.Store:
    """The store asked for, or one of the synthetic dataset."""
    if location is None:
        location = output / "train.zarr"
        source = write_phantom(output / "train-phantom", rows=128)
        cz.build_store(cz.plan_build(source, location))
    return cz.open_store(location)


def train(stores: dict[str, cz.Store], mode: str, steps: int, workers: int, output: Path) -> None:
    begun = time.perf_counter()
    held_out = stores["validation"]
    dimensions = 2 if mode == "2d" else 3
    stream, batch = streams(stores["train"], mode)
    validate = {"2d": dice_2d, "3d": dice_3d}[mode]
    model = unet(dimensions)
    curve = Curve(dice={0: validate(model, held_out)})
    # Whole volumes take longer to check than slices.
    checks = {steps * part // 4 for part in ((1, 2, 3, 4) if mode == "2d" else (2, 4))}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step, samples in enumerate(endless(make_loader(stream, batch, workers=workers, seed=SEED), steps), 1):
        optimizer.zero_grad()
        loss = loss_of(model(samples["image"]), (samples["segmentation"] > 0).float())
        loss.backward()
        optimizer.step()
        curve.losses.append(loss.item())
        if step in checks:
            curve.dice[step] = validate(model, held_out)
            print(f"{mode} step {step}: loss {loss.item():.3f}, validation Dice {curve.dice[step]:.3f}")
    draw_curve(curve, mode, output / f"unet-{mode}-curve.png")
    draw_overlay(model, held_out, mode, output / f"unet-{mode}-overlay.png")
    print(f"{mode}: {time.perf_counter() - begun:.0f} s; pictures in {output}")
    require_progress(curve, mode)


def streams(store: cz.Store, mode: str) -> tuple[Stream[cz.TrainingSample], int]:
    """The stream to train on, and the samples of a batch."""
    if mode == "2d":
        return Stream(store, cz.Slices(foreground_only=True, seed=SEED, **LOOK)), 12
    strategy = cz.Foreground(probability=2 / 3)
    return Stream(store, cz.Patches(PATCH, samples_per_volume=16, strategy=strategy, seed=SEED, **LOOK)), 4


def endless(loader: Any, steps: int) -> Iterator[dict[str, Any]]:
    """Batches of epoch after epoch; the loader counts the epochs."""
    passes = itertools.chain.from_iterable(itertools.repeat(loader))
    return itertools.islice(passes, steps)


class Joined(nn.Module):
    """A level of the U-Net: what goes down and comes up again, beside what goes straight."""

    def __init__(self, down: nn.Module, inner: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.inner, self.up = down, inner, up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(self.inner(self.down(x)))
        # An odd size loses its last voxels on the way down.
        pad = [n for a, b in zip(x.shape[:1:-1], y.shape[:1:-1], strict=True) for n in (0, a - b)]
        return torch.cat([x, nn.functional.pad(y, pad)], 1)


def unet(dimensions: int, channels: tuple[int, ...] = (8, 16, 32)) -> nn.Module:
    """Logits of one class from one channel, of the input's size."""
    conv, norm, pool, transposed = {
        2: (nn.Conv2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.ConvTranspose2d),
        3: (nn.Conv3d, nn.InstanceNorm3d, nn.MaxPool3d, nn.ConvTranspose3d),
    }[dimensions]

    def block(before: int, after: int) -> nn.Module:
        layers = [
            layer
            for width in (before, after)
            for layer in (conv(width, after, 3, padding=1), norm(after, affine=True), nn.LeakyReLU(0.01))
        ]
        return nn.Sequential(*layers)

    def level(at: int) -> nn.Module:
        if at == len(channels) - 1:
            return block(channels[at - 1], channels[at])
        before = channels[at - 1] if at else 1
        width, below = channels[at], channels[at + 1]
        return nn.Sequential(
            block(before, width),
            Joined(pool(2), level(at + 1), transposed(below, width, 2, 2)),
            block(2 * width, width),
        )

    return nn.Sequential(level(0), conv(channels[0], 1, 1))


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy and soft Dice, half and half."""
    found = logits.sigmoid()
    overlap = 2 * (found * truth).sum() + 1
    dice = overlap / (found.sum() + truth.sum() + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def dice_2d(model: nn.Module, store: cz.Store) -> float:
    """Dice over every second slice."""
    loader = make_loader(Dataset(store, cz.Slices(every=2, **LOOK)), 16, workers=0)
    return dice((logits_of(model, batch["image"]) > 0, batch["segmentation"].numpy() > 0) for batch in loader)


def dice_3d(model: nn.Module, store: cz.Store) -> float:
    """Dice over whole volumes, from overlapping windows put together again."""
    windows: Dataset[cz.TrainingSample] = Dataset(store, cz.Windows(PATCH, overlap=0.25, **LOOK))
    return dice(
        (predicted(model, windows, number) > 0, case.voxels("segmentation")[...] > 0)
        for number, case in enumerate(store.values())
    )


def predicted(model: nn.Module, windows: Dataset[cz.TrainingSample], case: int) -> NDArray[np.float32]:
    """(z, y, x) logits of a whole case."""
    samples = (windows[number] for number in windows.numbers_of(case))
    patches = (
        (sample["start"], logits_of(model, torch.from_numpy(sample["image"])[None])[0, 0])
        for sample in samples
    )
    return cz.assemble(patches, windows.shape_of(case))


def logits_of(model: nn.Module, images: torch.Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = model(images).numpy()
    return logits


def dice(pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """2 |A and B| / (|A| + |B|) over all pairs."""
    overlap = total = 0
    for found, truth in pairs:
        overlap += 2 * int(np.count_nonzero(found & truth))
        total += int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
    return overlap / max(total, 1)


def draw_curve(curve: Curve, mode: str, path: Path) -> None:
    drawing, left = plt.subplots(figsize=(7, 4), layout="constrained")
    left.plot(range(1, len(curve.losses) + 1), curve.losses, color="#94a3b8", label="loss, training")
    right = left.twinx()
    right.plot(list(curve.dice), list(curve.dice.values()), "o-", color="#c2410c", label="Dice, validation")
    left.set(xlabel="step", ylabel="loss", ylim=(0, None), title=f"U-Net, {mode}")
    right.set(ylabel="Dice", ylim=(0, 1))
    drawing.legend(loc="outside lower center", ncols=2)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def draw_overlay(model: nn.Module, store: cz.Store, mode: str, path: Path) -> None:
    """A slice of the first case: the truth filled, what was found outlined."""
    case = next(iter(store.values()))
    image, truth, logits, aspect = {"2d": axial, "3d": sagittal}[mode](model, store, case)
    drawing, panel = plt.subplots(figsize=(6, 6), layout="constrained")
    panel.imshow(image, cmap="gray", vmin=-200, vmax=1000, origin="lower", aspect=aspect)
    panel.imshow(np.ma.masked_equal(truth, 0), cmap="autumn", alpha=0.35, origin="lower", aspect=aspect)
    panel.contour(logits, levels=[0], colors="#38bdf8", linewidths=1.2)
    panel.set_title(f"{case.id}: truth filled, found outlined")
    panel.axis("off")
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


type Overlay = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32], float]


def axial(model: nn.Module, store: cz.Store, case: cz.Case) -> Overlay:
    """Image, truth, logits and pixel aspect of the axial slice with most labelled voxels."""
    index = int((case.voxels("segmentation")[...] > 0).sum((1, 2)).argmax())
    sample = cz.Dataset(store, cz.Slices(**LOOK))[index]
    logits = logits_of(model, torch.from_numpy(sample["image"])[None])[0, 0]
    return case.slice(index)["image"], sample["segmentation"][0] > 0, logits, 1.0


def sagittal(model: nn.Module, store: cz.Store, case: cz.Case) -> Overlay:
    """The same of the sagittal slice through the labels' middle."""
    middle = round(float(np.mean([label.centroid[2] for label in case.record.labels])))
    found = case.slice(middle, "sagittal")
    logits = predicted(model, Dataset(store, cz.Windows(PATCH, overlap=0.25, **LOOK)), 0)[:, :, middle]
    return found["image"], found["segmentation"] > 0, logits, case.spacing[0] / case.spacing[1]


def require_progress(curve: Curve, mode: str) -> None:
    tenth = max(1, len(curve.losses) // 10)
    before, after = np.mean(curve.losses[:tenth]), np.mean(curve.losses[-tenth:])
    first, last = curve.dice[0], curve.dice[len(curve.losses)]
    print(f"{mode}: loss {before:.3f} to {after:.3f}, validation Dice {first:.3f} to {last:.3f}")
    if not (after < before and last > first):
        sys.exit(f"{mode}: no progress")


if __name__ == "__main__":
    try:
        main()
    except CtspineError as error:
        sys.exit(f"error: {error}")
