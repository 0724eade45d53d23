"""A store as a Hugging Face `IterableDataset`, with the features that the dataset's card promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Unpack

from ctspine_zarr.errors import MissingDependency, choose
from ctspine_zarr.read.store import Store
from ctspine_zarr.sampling.units import HUB
from ctspine_zarr.training.datasets import SliceDataset, VolumeDataset
from ctspine_zarr.training.form import Options
from ctspine_zarr.training.samples import Samples

try:
    import datasets
except ImportError as error:
    message = "this needs Hugging Face datasets: pip install 'ctspine-zarr[hf]'"
    raise MissingDependency(message) from error

__all__ = ["iterable_dataset"]

type Mode = Literal["2d", "3d"]


def iterable_dataset(store: Store, mode: Mode = "2d", **options: Unpack[Options]) -> datasets.IterableDataset:
    """An `IterableDataset` of examples as the Hub's loader makes them, read as they are asked for; nothing
    is materialised.

    `2d` gives slices along the source array's third axis, nearly always axial ones, `3d` volumes:
    `image` float32, `segmentation` int32 but for `segmentation=False`, `patient_id`, `index` (the
    volume's number), and in `2d` `slice_index`. Cases come in the store's order, by split, source
    and id, each slab being decoded once; `shuffle`, `map`, `take`, `batch`, splitting by node and a
    DataLoader's workers work as with any other, a case being a shard. Where in-plane sizes differ,
    so do the examples', and Arrow formats, which want one size, are not to be had.

    Args:
        store: the selection, such as `store.select(split="train")`.
        mode: `2d` or `3d`.
        options: see `Options`; `orientation` is "hub" by default, and there is `map` instead of
            `transform`.

    Raises:
        UnknownValue: an empty selection, or an argument that is not legal.
    """
    options.setdefault("orientation", HUB)
    samples = choose("mode", mode, {"2d": SliceDataset, "3d": VolumeDataset})(store, **options)
    found = datasets.IterableDataset.from_generator(
        _examples,
        features=_features(samples),
        gen_kwargs={"cases": list(range(len(store))), "samples": samples},
    )
    found.info.license, found.info.citation = store.spec.licence, store.spec.citation
    return found


def _examples(cases: Sequence[int], samples: SliceDataset | VolumeDataset) -> Iterator[dict[str, Any]]:
    names = _features(samples)
    for case in cases:
        for sample in samples.of_case(case):
            yield {name: sample[name] for name in names}


def _features(samples: Samples[Any]) -> datasets.Features:
    spec = samples.spec()
    _, shape = spec["image"]
    if "slice_index" not in spec:
        shape = (*shape[:-3], None, *shape[-2:])
    array = {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D}[len(shape)]
    number = datasets.Value("int32")
    slices = {"slice_index": number} if "slice_index" in spec else {}
    return datasets.Features(
        {
            **{name: array(shape, spec[name][0].name) for name in samples.form.names},
            "patient_id": datasets.Value("string"),
            "index": number,
            **slices,
        }
    )
