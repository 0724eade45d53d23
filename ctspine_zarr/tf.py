"""Samples as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ctspine_zarr.errors import MissingDependency
from ctspine_zarr.training.datasets import Dataset
from ctspine_zarr.training.samples import SampleSpec
from ctspine_zarr.training.streams import Stream

try:
    import tensorflow as tf
except ImportError as error:
    message = "this needs TensorFlow: pip install 'ctspine-zarr[tf]'"
    raise MissingDependency(message) from error

__all__ = ["from_samples"]


def from_samples(samples: Dataset[Any] | Stream[Any]) -> tf.data.Dataset:
    """A `tf.data.Dataset` of dictionaries, read as they are asked for.

    Each full pass is the next epoch, so that `repeat` draws anew.

    Args:
        samples: of any kind here, without a `transform`; use `map` instead. Lengths that differ
            between samples are None in the signature.

    Raises:
        UnknownValue: there is a transform.
    """

    def one_pass() -> Iterator[Any]:
        yield from samples
        samples.set_epoch(samples.epoch + 1)

    return tf.data.Dataset.from_generator(one_pass, output_signature=_signature(samples.spec()))


def _signature(spec: SampleSpec) -> dict[str, tf.TensorSpec]:
    return {
        key: tf.TensorSpec(shape, tf.string if dtype == np.dtype(object) else tf.as_dtype(dtype))
        for key, (dtype, shape) in spec.items()
    }
