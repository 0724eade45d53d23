"""What is left of a wave along one axis after resampling, by ours and by others. Pure.

Its frequency is in cycles a step of the coarser lattice: up to 0.5 the lattice can say it, and all of it
should be left; above, what is left is seen at another frequency, and nothing should be.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from benchmarks.goals import short
from ctspine_zarr.derive.filtering import Taps

STEP = 3.0
FREQUENCIES = (0.1, 0.25, 0.4, 0.6, 0.8, 1.0, 1.25)
_COUNT = 400
_FIRST = (STEP - 1) / 2
_MARGIN = 10

type Resample = Callable[[NDArray[np.float32]], NDArray[Any]]


def linear(values: NDArray[np.float32]) -> NDArray[Any]:
    """As SimpleITK, TorchIO and MONAI resample unless told otherwise."""
    return scipy.ndimage.map_coordinates(values, [_FIRST + STEP * np.arange(_COUNT)], order=1)


def cubic(values: NDArray[np.float32]) -> NDArray[Any]:
    """As nnU-Net resamples images."""
    return scipy.ndimage.map_coordinates(values, [_FIRST + STEP * np.arange(_COUNT)], order=3)


def smoothed(values: NDArray[np.float32]) -> NDArray[Any]:
    """Linear after a Gaussian, as scikit-image's `resize` has by default: sigma (step - 1) / 2."""
    return linear(scipy.ndimage.gaussian_filter1d(values, (STEP - 1) / 2))


def triangle(values: NDArray[np.float32]) -> NDArray[Any]:
    """Ours."""
    return Taps.of(_FIRST, STEP, _COUNT, len(values)).along(values, 0)


WAYS: dict[str, Resample] = {
    "ctspine-zarr, triangle": triangle,
    "linear": linear,
    "cubic spline": cubic,
    "Gaussian, then linear": smoothed,
}


def left(resample: Resample) -> Iterator[float]:
    """The root mean square of each wave's resampling over that of the wave, over all phases."""
    places = np.arange(int(_COUNT * STEP)) / STEP
    for frequency in FREQUENCIES:
        phases = [2 * np.pi * (frequency * places + turn / 8) for turn in range(8)]
        found = [resample(np.sin(phase).astype(np.float32))[_MARGIN:-_MARGIN] for phase in phases]
        yield float(np.sqrt(2 * np.mean(np.square(found))))


def report() -> dict[str, list[float]]:
    """Print the table, return the figures."""
    found = {name: list(left(resample)) for name, resample in WAYS.items()}
    print(f"\nwhat is left of a wave, of so many cycles a step of {STEP:g} voxels")
    print(f"{'':<30}" + "".join(f"{frequency:>8g}" for frequency in FREQUENCIES))
    for name, shares in found.items():
        print(f"{name:<30}" + "".join(f"{short(share):>8}" for share in shares))
    return found
