"""Hugging Face datasets and TensorFlow: the same samples, with the features and signatures promised."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import ctspine_zarr as cz
from ctspine_zarr.errors import UnknownValue


@pytest.fixture(scope="module")
def store(phantom_store: cz.Store) -> cz.Store:
    return phantom_store.select(split="train")


@pytest.fixture(scope="module")
def hf() -> Any:
    pytest.importorskip("datasets", reason="needs Hugging Face datasets: pip install 'ctspine-zarr[hf]'")
    from ctspine_zarr import hf  # noqa: PLC0415 - after it is known to be there

    return hf


def test_slices_are_the_hubs_rows(hf: Any, store: cz.Store) -> None:
    found = hf.iterable_dataset(store)
    names = ["image", "segmentation", "patient_id", "index", "slice_index"]
    assert list(found.features) == names
    assert [found.features[name].dtype for name in names] == [
        "float32",
        "int32",
        "string",
        "int32",
        "int32",
    ]
    expected: Any = cz.Dataset(store, cz.Slices(orientation="hub"))
    count = 0
    for example, sample in zip(found, expected, strict=True):
        assert list(example) == names
        assert all(np.array_equal(example[name], sample[name]) for name in names)
        assert (example["image"].dtype, example["segmentation"].dtype) == (np.float32, np.int32)
        count += 1
    assert count == len(expected)


def test_volumes_are_the_hubs_rows(hf: Any, store: cz.Store) -> None:
    lps = store.select(source="COLONOG")
    found = hf.iterable_dataset(lps, cz.Volumes(orientation="hub"))
    assert found.features["image"].shape == (None, 96, 96)
    assert found.info.license == store.spec.licence
    assert "CC-BY-NC-SA" in found.info.license
    assert found.info.citation == store.spec.citation
    for example, sample in zip(found, cz.Dataset(lps, cz.Volumes(orientation="hub")), strict=True):
        assert list(example) == ["image", "segmentation", "patient_id", "index"]
        assert np.array_equal(example["image"], sample["image"])


@pytest.mark.parametrize("kind", [cz.Slices, cz.Volumes])
def test_images_alone_have_no_mask_in_their_features(hf: Any, store: cz.Store, kind: Any) -> None:
    found = hf.iterable_dataset(store, kind(segmentation=False))
    both = hf.iterable_dataset(store, kind())
    assert set(both.features) - set(found.features) == {"segmentation"}
    for example, expected in zip(found.take(30), both.take(30), strict=True):
        assert list(example) == list(found.features)
        assert all(np.array_equal(example[name], expected[name]) for name in example)


def test_cases_are_shards(hf: Any, store: cz.Store) -> None:
    distributed = pytest.importorskip("datasets.distributed")
    whole = hf.iterable_dataset(store, cz.Slices())
    assert whole.num_shards == len(store)

    def rows(found: Any) -> list[tuple[str, int]]:
        return [(example["patient_id"], example["slice_index"]) for example in found]

    parts = [rows(distributed.split_dataset_by_node(whole, rank, 2)) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(rows(whole))
    shuffled = whole.shuffle(seed=1, buffer_size=50)
    assert rows(shuffled) != rows(whole)
    assert sorted(rows(shuffled)) == sorted(rows(whole))
    assert len(rows(whole.take(3))) == 3


def test_nothing_is_read_before_it_is_asked_for(
    hf: Any, store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctspine_zarr.training.samples.Samples._read", lambda *_: pytest.fail("read"))
    assert hf.iterable_dataset(store).num_shards == 5


def test_what_it_cannot_give_is_refused(hf: Any, store: cz.Store) -> None:
    for kind in (cz.Patches(8), cz.Windows(8), "2d"):
        with pytest.raises(UnknownValue, match=r"as examples; legal: Slices\(...\) or Volumes\(...\)"):
            hf.iterable_dataset(store, kind)


@pytest.fixture(scope="module")
def tf() -> Any:
    with warnings.catch_warnings():
        # Its own imports, not ours.
        warnings.simplefilter("ignore")
        return pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'ctspine-zarr[tf]'")


def test_the_signature_is_that_of_the_samples(tf: Any, store: cz.Store) -> None:
    from ctspine_zarr.tf import from_samples  # noqa: PLC0415 - after it is known to be there

    stream = cz.Stream(store, cz.Slices(channel=True, window=(-450, 1050)))
    found = from_samples(stream)
    assert found.element_spec["image"] == tf.TensorSpec((1, 96, 96), tf.float32)
    assert found.element_spec["patient_id"] == tf.TensorSpec((), tf.string)
    samples: list[Any] = list(stream)
    stream.set_epoch(0)
    for element, sample in zip(found, samples, strict=True):
        for name in ("patient_id", "case"):
            assert element[name].numpy().decode() == sample.pop(name)
        assert all(np.array_equal(element[name].numpy(), sample[name]) for name in sample)
    # The pass is over: the next is another epoch.
    assert stream.epoch == 1


@pytest.mark.usefixtures("tf")
def test_images_alone_have_no_mask_in_their_signature(store: cz.Store) -> None:
    from ctspine_zarr.tf import from_samples  # noqa: PLC0415 - after it is known to be there

    dataset = cz.Dataset(store, cz.Slices(segmentation=False, every=20))
    found = from_samples(dataset)
    assert list(found.element_spec) == list(dataset.spec())
    assert "segmentation" not in found.element_spec
    for element, sample in zip(found, dataset, strict=True):
        assert np.array_equal(element["image"].numpy(), sample["image"])


def test_volumes_of_several_sizes_have_a_signature(tf: Any, store: cz.Store) -> None:
    from ctspine_zarr.tf import from_samples  # noqa: PLC0415 - after it is known to be there

    found = from_samples(cz.Dataset(store, cz.Volumes(keep_dtype=True)))
    assert found.element_spec["image"] == tf.TensorSpec((None, 96, 96), tf.int16)
    assert [int(element["index"]) for element in found] == list(range(5))
    with pytest.raises(UnknownValue, match="transform=None"):
        from_samples(cz.Dataset(store, cz.Volumes(), transform=len))
