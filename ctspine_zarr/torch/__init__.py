"""Datasets and streams for PyTorch, and a DataLoader over them with sound defaults.

    from ctspine_zarr import Slices
    from ctspine_zarr.torch import Stream, make_loader

    stream = Stream(store.select(split="train"), Slices(window=(-450, 1050), channel=True))
    for batch in make_loader(stream, batch_size=16):
        batch["image"]  # (16, 1, 512, 512) float32

Samples hold numpy arrays; the DataLoader makes tensors of them.
"""

from ctspine_zarr.errors import MissingDependency

try:
    import torch  # noqa: F401 - first of all, whether it is there
except ImportError as error:
    message = "this needs PyTorch: pip install 'ctspine-zarr[torch]'"
    raise MissingDependency(message) from error

from ctspine_zarr.torch.loader import Loader, make_loader
from ctspine_zarr.torch.samples import Dataset, Stream

__all__ = ["Dataset", "Loader", "Stream", "make_loader"]
