"""nnU-Net's trainer for spines, which reads from a store where a configuration says so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.nnunet.dataset import register

try:
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
        nnUNetTrainerNoMirroring,
    )
except ImportError as error:
    message = "this needs nnU-Net: pip install 'ctspine-zarr[nnunet]'"
    raise MissingDependency(message) from error

TRAINERS: Final = Path(__file__).parent / "external"
"""The folder for `nnUNet_extTrainer`, in which nnU-Net finds the trainer by its name."""


class CTSpineTrainer(nnUNetTrainerNoMirroring):
    """nnU-Net's trainer without mirroring, as levels and sides are not to be confused.

    Where it is imported, configurations whose name ends with `_direct` are read from the store.
    """


register()
