"""A store as a Hugging Face `IterableDataset`, with the features that the dataset's card promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctspine_zarr.errors import MissingDependency, UnknownValue
from ctspine_zarr.read.sample import NAMES
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.units import HUB
from ctspine_zarr.training.datasets import Dataset
from ctspine_zarr.training.kinds import Slices, Volumes
from ctspine_zarr.training.making import TrainingSample

try:
    import datasets
except ImportError as error:
    message = "this needs Hugging Face datasets: pip install 'ctspine-zarr[hf]'"
    raise MissingDependency(message) from error

__all__ = ["iterable_dataset"]


def iterable_dataset(store: Store, kind: Slices | Volumes | None = None) -> datasets.IterableDataset:
    """An `IterableDataset` of examples as the Hub's loader makes them, read as they are asked for; nothing
    is materialised.

    `Slices(orientation="hub")`, the default, and `Volumes(orientation="hub")` give what the loader's `2d`
    and `3d` gave, along the source array's third axis: `image` float32, `segmentation` int32 but for
    `segmentation=False`, `patient_id`, `index` (the volume's number), and of slices `slice_index`. Cases
    come in the store's order, by split, source and id, each slab being decoded once; `shuffle`, `map`,
    `take`, `batch`, splitting by node and a DataLoader's workers work as with any other, a case being
    a shard. Where in-plane sizes differ, so do the examples', and Arrow formats, which want one
    size, are not to be had.

    Args:
        store: the selection, such as `store.select(split="train")`.
        kind: of samples; `map` is instead of a transform.

    Raises:
        UnknownValue: an empty selection, or samples of another kind.
    """
    samples = Dataset(store, _examined(Slices(orientation=HUB) if kind is None else kind))
    found = datasets.IterableDataset.from_generator(
        _examples,
        features=_features(samples),
        gen_kwargs={"cases": list(range(len(store))), "samples": samples},
    )
    found.info.license, found.info.citation = store.spec.licence, store.spec.citation
    return found


def _examined(kind: object) -> Slices | Volumes:
    if not isinstance(kind, Slices | Volumes):
        message = f"{kind!r} as examples; legal: Slices(...) or Volumes(...)"
        raise UnknownValue(message)
    return kind


def _examples(cases: Sequence[int], samples: Dataset[TrainingSample]) -> Iterator[dict[str, Any]]:
    names = _features(samples)
    for case in cases:
        for sample in samples.of_case(case):
            values: Mapping[str, Any] = sample
            yield {name: values[name] for name in names}


def _features(samples: Dataset[TrainingSample]) -> datasets.Features:
    spec = samples.spec()
    _, shape = spec["image"]
    if "slice_index" not in spec:
        shape = (*shape[:-3], None, *shape[-2:])
    array = {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D}[len(shape)]
    number = datasets.Value("int32")
    slices = {"slice_index": number} if "slice_index" in spec else {}
    return datasets.Features(
        {
            **{name: array(shape, spec[name][0].name) for name in NAMES if name in spec},
            "patient_id": datasets.Value("string"),
            "index": number,
            **slices,
        }
    )
