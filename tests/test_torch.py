"""PyTorch: the same samples through a DataLoader, by any start method, over epochs, ranks and restarts."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from arrays import decoded
from numpy.typing import NDArray
from servers import folder, served

import ctspine_zarr as cz
from ctspine_zarr.errors import UnknownValue
from ctspine_zarr.format.layout import DEFAULT_CHUNK

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'ctspine-zarr[torch]'")
from ctspine_zarr import torch as ct  # noqa: E402 - after it is known to be there
from ctspine_zarr.memory.shared import Sender  # noqa: E402
from ctspine_zarr.torch.loader import default_workers  # noqa: E402

METHODS = ["fork", "forkserver", "spawn"]
pytestmark = [
    # Python warns of any fork of a process with threads; that this one goes well is what is shown.
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    # Three workers on two cores show what is wanted here.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.timeout(240),
]

MADE: dict[str, Any] = {
    "slices": lambda store, **form: ct.Stream(store, cz.Slices(**form), buffer=3),
    "patches": lambda store, **form: ct.Stream(store, cz.Patches(16, samples_per_volume=6, **form), buffer=3),
    "slice dataset": lambda store, **form: ct.Dataset(store, cz.Slices(every=2, **form)),
    "patch dataset": lambda store, **form: ct.Dataset(store, cz.Patches(16, **form)),
}


@pytest.fixture(scope="module")
def store(phantom_store: cz.Store) -> cz.Store:
    """Cases of one in-plane size, so that slices stack."""
    return phantom_store.select(split="train")


def keys(batches: Any) -> list[list[tuple[Any, ...]]]:
    """For each batch what tells its samples apart, a check sum of their voxels included."""
    found = []
    for batch in batches:
        where = batch["slice_index"] if "slice_index" in batch else batch["start"]
        sums = batch["image"].flatten(1).sum(1)
        found.append(list(zip(batch["patient_id"], map(str, where.tolist()), sums.tolist(), strict=True)))
    return found


def flat(batches: Any) -> list[tuple[Any, ...]]:
    return [key for batch in keys(batches) for key in batch]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("method", METHODS)
def test_workers_give_each_sample_once(store: cz.Store, kind: str, method: Any) -> None:
    alone = flat(ct.make_loader(MADE[kind](store), 8, workers=0))
    samples = MADE[kind](store)
    loader = ct.make_loader(samples, 8, workers=2, start_method=method)
    shared = keys(loader)
    assert len(shared) == len(loader)
    assert sorted(key for batch in shared for key in batch) == sorted(alone)
    assert len(alone) == len(samples)


def test_tensors_are_what_numpy_samples_are(store: cz.Store) -> None:
    options: dict[str, Any] = {"channel": True, "window": (-450, 1050)}
    dataset = cz.Dataset(store, cz.Slices(**options))
    batch = next(iter(ct.make_loader(ct.Dataset(store, cz.Slices(**options)), 4, workers=1)))
    assert batch["image"].dtype == torch.float32
    assert batch["segmentation"].dtype == torch.int32
    assert batch["image"].shape == (4, 1, 96, 96)
    assert batch["affine"].shape == (4, 4, 4)
    for at in range(4):
        for name, value in dataset[at].items():
            assert np.array_equal(np.asarray(batch[name][at]), np.asarray(value)), name


class Pair(NamedTuple):
    one: Any
    other: Any


def all_sorts(sample: cz.TrainingSample) -> dict[str, Any]:
    """What PyTorch collates, large and small, from an image."""
    image, number = sample["image"], sample["index"]
    tensor = torch.from_numpy(image.copy())
    return {
        "arrays": [image, image[:, ::2].T, image[:2, :2], image.astype(np.float16)],
        "tensors": (tensor, tensor[0, 0], tensor.to(torch.bfloat16), torch.tensor([1, 2])),
        "turned": [image[:9, :8].T, image.T, tensor[:9, :8].T, np.asfortranarray(image[:7, :9])],
        "numbers": Pair({"int": number, "float": 0.5, "bool": True}, np.float32(number)),
        "other": [
            sample["case"],
            np.int64(3),
            np.bool_(False),
            np.array(7),
            image > 0,
            image.astype(complex),
        ],
    }


def same(found: Any, expected: Any) -> bool:
    """Whether two batches have the same values, of the same types."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, torch.Tensor):
        return (found.dtype, found.stride()) == (expected.dtype, expected.stride()) and torch.equal(
            found, expected
        )
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, str):
        return bool(found == expected)
    return len(found) == len(expected) and all(map(same, found, expected))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 6])
def test_workers_collate_as_pytorch_does(store: cz.Store, method: Any, size: int) -> None:
    dataset = ct.Dataset(store, cz.Slices(every=9), transform=all_sorts)
    expected = torch.utils.data.default_collate([dataset[number] for number in range(size)])
    found = next(iter(ct.make_loader(dataset, size, workers=1, start_method=method)))
    assert same(found, expected)
    assert not same(found, expected | {"other": expected["other"][:1]})
    assert found["arrays"][0].nbytes > 1 << 17 or size == 1


class Named(NamedTuple):
    values: NDArray[Any]


def test_who_extends_pytorchs_collation_has_its_own(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(batch: Any, *, collate_fn_map: Any) -> Any:
        values = [one.values for one in batch]
        return torch.utils.data._utils.collate.collate(values, collate_fn_map=collate_fn_map).float() * 2

    known = torch.utils.data._utils.collate.default_collate_fn_map
    monkeypatch.setitem(known, Named, doubled)
    dataset = ct.Dataset(store, cz.Slices(), transform=lambda sample: Named(sample["segmentation"]))
    found = next(iter(ct.make_loader(dataset, 8, workers=1, start_method="fork")))
    assert torch.equal(found[3], torch.from_numpy(dataset[3].values).float() * 2)


@pytest.mark.parametrize("odd", [lambda one: one.astype(np.longdouble), lambda one: one.astype(">f4")])
def test_what_pytorch_has_no_dtype_for_is_a_workers_error(store: cz.Store, odd: Any) -> None:
    dataset = ct.Dataset(store, cz.Slices(), transform=lambda sample: odd(sample["image"]))
    failed = 0
    batches = iter(ct.make_loader(dataset, 8, workers=1, start_method="fork", drop_last=True))
    while True:
        try:
            next(batches)
        except StopIteration:
            break
        except (TypeError, ValueError):
            failed += 1
    assert failed == len(dataset) // 8


@pytest.mark.parametrize("workers", [0, 2])
def test_what_does_not_stack_is_named(store: cz.Store, workers: int) -> None:
    uneven = ct.Dataset(store, cz.Slices(), transform=lambda sample: sample["image"][sample["slice_index"] :])
    with pytest.raises(RuntimeError, match=r"equal size, but got \[96, 96\] at entry 0 and \[95, 96\] at"):
        next(iter(ct.make_loader(uneven, 8, workers=workers)))


class Keeping(ct.Dataset[cz.TrainingSample]):
    """A dataset that reads each sample once."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: dict[Any, cz.TrainingSample] = {}

    def __getitem__(self, number: Any) -> cz.TrainingSample:
        return self.kept.setdefault(number, super().__getitem__(number))


def by_transform(store: cz.Store) -> ct.Dataset[cz.TrainingSample]:
    """A dataset whose transform keeps each sample."""
    kept: dict[Any, cz.TrainingSample] = {}
    keep = lambda one: kept.setdefault((one["case"], one["slice_index"]), one)  # noqa: E731 - a closure
    return ct.Dataset(store, cz.Slices(), transform=keep)


@pytest.mark.parametrize("make", [lambda store: Keeping(store, cz.Slices()), by_transform])
def test_what_is_done_to_a_batch_is_not_done_to_what_a_worker_keeps(store: cz.Store, make: Any) -> None:
    loader = ct.make_loader(make(store), 8, workers=1, start_method="fork")
    plain = [batch["image"] for batch in ct.make_loader(ct.Dataset(store, cz.Slices()), 8, workers=0)]
    for _ in range(3):
        for batch, expected in zip(loader, plain, strict=True):
            assert torch.equal(batch["image"], expected)
            batch["image"][...] = -7777


def test_batches_are_made_where_they_are_sent(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        message = "arrays were copied"
        raise AssertionError(message)

    monkeypatch.setattr("ctspine_zarr.memory.shared.Sender.stacked", refused)
    for make in MADE.values():
        loader = ct.make_loader(make(store), 8, workers=1, start_method="fork", drop_last=True)
        assert sum(len(batch["image"]) for batch in loader)
    shuffled = ct.make_loader(ct.Dataset(store, cz.Slices()), 8, workers=1, shuffle=True, start_method="fork")
    with pytest.raises(AssertionError, match="arrays were copied"):
        list(shuffled)


def test_what_exceeds_the_memory_comes_as_pytorch_sends_it(
    store: cz.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctspine_zarr.torch.batches.Sender", functools.partial(Sender, most=1 << 20))
    loader = ct.make_loader(ct.Stream(store, cz.Slices()), 8, workers=1, start_method="fork")
    plain = ct.make_loader(ct.Stream(store, cz.Slices()), 8, workers=0)
    for _ in range(2):
        batches = zip(list(loader), list(plain), strict=True)
        pairs = [(batch["image"], expected["image"]) for batch, expected in batches]
        assert all(torch.equal(one, other) for one, other in pairs)
        assert 0 < sum(one.is_shared() for one, _ in pairs) < len(pairs)


def test_batches_take_no_memory_of_pytorchs_kind(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        message = "memory of PyTorch's"
        raise AssertionError(message)

    plain = {"num_workers": 1, "multiprocessing_context": "fork"}
    for make in MADE.values():
        loader = ct.make_loader(make(store), 8, workers=1, start_method="fork")
        with monkeypatch.context() as patched:
            patched.setattr(torch.UntypedStorage, "_new_using_fd_cpu", refused)
            assert sum(len(batch["image"]) for batch in loader)
            with pytest.raises(AssertionError, match="PyTorch's"):
                list(torch.utils.data.DataLoader(make(store), 8, **plain))


def test_dataset_and_collation_go_to_a_worker_as_one(store: cz.Store) -> None:
    loader = ct.make_loader(ct.Stream(store, cz.Slices()), 8, workers=1)
    dataset, collation = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))  # noqa: S301 - our own
    assert dataset._maker.memory.__self__ is collation


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("made", ["as it is", "copied"])
def test_another_loader_may_be_made_of_the_parts_of_one(store: cz.Store, method: Any, made: str) -> None:
    def remade() -> Any:
        loader = ct.make_loader(ct.Dataset(store, cz.Slices()), 8, workers=1, start_method=method)
        dataset, collation = loader.dataset, loader.collate_fn
        if made == "copied":
            dataset, collation = copy.deepcopy((dataset, collation))
        parts = {"collate_fn": collation, "multiprocessing_context": method}
        del loader
        return torch.utils.data.DataLoader(dataset, 9, num_workers=2, **parts)

    plain = ct.make_loader(ct.Dataset(store, cz.Slices()), 9, workers=0)
    batches = zip(remade(), plain, strict=True)
    assert all(torch.equal(batch["image"], expected["image"]) for batch, expected in batches)


@pytest.mark.parametrize("method", METHODS)
def test_memory_of_batches_is_used_again_when_they_are_gone(store: cz.Store, method: Any) -> None:
    loader = ct.make_loader(ct.Dataset(store, cz.Slices()), 8, workers=2, start_method=method)
    held = list(loader)
    expected = [{name: batch[name].clone() for name in ("image", "segmentation")} for batch in held]
    views: list[Any] = []
    for batch, kept in zip(loader, expected, strict=True):
        assert all(torch.equal(batch[name], kept[name]) for name in kept)
        # A slice of one is enough to keep it.
        views = [*views[-1:], batch["image"][3:4, ..., ::2]]
        batch["image"][0] = -7777
    for batch, kept in zip(held, expected, strict=True):
        assert all(torch.equal(batch[name], kept[name]) for name in kept)
    del held, batch, views
    gone = {batch["image"].data_ptr() for _ in range(3) for batch in loader}
    # Of each worker two wait, one is made, one is here, and one was.
    assert len(gone) <= 2 * 5 < 3 * len(loader) / 2


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("workers", [0, 2])
def test_images_alone_are_batches_without_masks(store: cz.Store, kind: str, workers: int) -> None:
    both = list(ct.make_loader(MADE[kind](store), 8, workers=workers))
    alone = list(ct.make_loader(MADE[kind](store, segmentation=False), 8, workers=workers))
    assert {"segmentation"} == set(both[0]) - set(alone[0])
    for batch, expected in zip(alone, both, strict=True):
        assert torch.equal(batch["image"], expected["image"])
        assert batch["patient_id"] == expected["patient_id"]


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_a_loader_goes_on_with_the_exact_next_batch(store: cz.Store, kind: str, workers: int) -> None:
    make = functools.partial(ct.make_loader, batch_size=7, workers=workers, seed=3)
    loader = make(MADE[kind](store), shuffle="dataset" in kind)
    first, second = keys(loader), keys(loader)
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))
    # Single stops, and those where one worker has no more and others have.
    for count in {0, 1, 2, len(first) - 2, len(first) - 1}:
        fresh = make(MADE[kind](store), shuffle="dataset" in kind)
        begun = iter(fresh)
        assert keys(next(begun) for _ in range(count)) == first[:count]
        state = pickle.loads(pickle.dumps(fresh.state_dict()))  # noqa: S301 - our own
        assert state["batches"] == count
        other = make(MADE[kind](store), shuffle="dataset" in kind)
        other.load_state_dict(state)
        assert other.state_dict() == state
        assert keys(other) == first[count:]
        # And then with the next epoch.
        assert keys(other) == second


def test_the_end_of_an_epoch_is_the_beginning_of_the_next(store: cz.Store) -> None:
    loader = ct.make_loader(MADE["slices"](store), 16, workers=2)
    assert keys(loader) != (second := keys(loader))
    loader = ct.make_loader(MADE["slices"](store), 16, workers=2)
    for _ in loader:
        pass
    other = ct.make_loader(MADE["slices"](store), 16, workers=2)
    other.load_state_dict(loader.state_dict())
    assert keys(other) == second


def test_a_state_of_another_loader_is_refused(store: cz.Store) -> None:
    state = ct.make_loader(MADE["slices"](store), 8, workers=2).state_dict()
    for change in ({"workers": 1}, {"batch_size": 4}, {"drop_last": True}):
        settings: dict[str, Any] = {"batch_size": 8, "workers": 2} | change
        other = ct.make_loader(MADE["slices"](store), **settings)
        with pytest.raises(UnknownValue, match=r"cannot go on here; legal:"):
            other.load_state_dict(state)


def test_a_state_of_other_samples_is_refused(store: cz.Store) -> None:
    pairs: Any = (
        (ct.Dataset(store, cz.Patches(8, seed=0)), ct.Dataset(store, cz.Patches(8, seed=9))),
        (ct.Dataset(store, cz.Patches(8)), ct.Dataset(store, cz.Patches(9))),
        (ct.Dataset(store, cz.Slices()), ct.Dataset(store, cz.Slices(axis="coronal"))),
        (ct.Dataset(store, cz.Slices()), ct.Dataset(store.select(source="COLONOG"), cz.Slices())),
        (ct.Dataset(store, cz.Volumes()), ct.Dataset(store, cz.Windows(500))),
    )
    for one, other in pairs:
        with pytest.raises(UnknownValue, match=r"cannot go on here; legal:"):
            ct.make_loader(other).load_state_dict(ct.make_loader(one).state_dict())


@pytest.mark.parametrize("kind", MADE)
def test_every_pass_is_the_next_epoch_also_for_workers_that_stay(store: cz.Store, kind: str) -> None:
    loader = ct.make_loader(MADE[kind](store), 8, workers=2, shuffle="dataset" in kind)
    passes = [keys(loader) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    samples = MADE[kind](store)
    samples.set_epoch(1)
    again = ct.make_loader(samples, 8, workers=2, shuffle="dataset" in kind)
    assert keys(again) == passes[1]
    # The same epoch as often as is said.
    for _ in range(2):
        again.set_epoch(0)
        assert keys(again) == passes[0]
    # A pass that is broken off counts.
    next(iter(again))
    assert keys(again) == passes[2]
    assert samples.epoch == 1


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301 - our own
def test_a_copy_goes_from_epoch_to_epoch_too(store: cz.Store, kind: str, copied: Any) -> None:
    expected = ct.make_loader(MADE[kind](store), 8, workers=1, shuffle="dataset" in kind)
    found = ct.make_loader(copied(MADE[kind](store)), 8, workers=1, shuffle="dataset" in kind)
    assert [keys(found) for _ in range(2)] == [keys(expected) for _ in range(2)]


def test_loaders_of_one_stream_do_not_meet(store: cz.Store) -> None:
    stream = MADE["slices"](store)
    alone = sorted(flat(ct.make_loader(stream, 8, workers=0)))
    loaders = [ct.make_loader(stream, 8, workers=2, rank=rank, ranks=2) for rank in range(2)]
    assert sorted(flat(loaders[0]) + flat(loaders[1])) == alone
    assert len(stream) == len(alone)
    # What a loader goes on from is its own.
    loader = ct.make_loader(stream, 8, workers=0)
    loader.load_state_dict(loader.state_dict() | {"batches": 3})
    assert len(flat(loader)) == len(alone) - 24
    assert len(list(stream)) == len(alone)


def test_a_loader_keeps_the_streams_own_share(store: cz.Store) -> None:
    stream = MADE["slices"](store)
    stream.shard(1, 3, even=True)
    loader = ct.make_loader(stream, 8, workers=0)
    assert len(flat(loader)) == len(stream) == len(MADE["slices"](store)) // 3
    assert loader.state_dict()["rank"] == [1, 3, True]
    assert ct.make_loader(stream, 8, even=False).state_dict()["rank"] == [1, 3, False]
    stream.shard(1, 3)
    assert ct.make_loader(stream, 8, even=True).state_dict()["rank"] == [1, 3, True]


def test_a_place_of_one_process_is_not_that_of_its_workers(store: cz.Store) -> None:
    stream = MADE["slices"](store)
    stream.load_state_dict(stream.state_dict() | {"position": 5})
    with pytest.raises(UnknownValue, match="legal: the loader's load_state_dict"):
        ct.make_loader(stream)
    context = {"num_workers": 2, "multiprocessing_context": "fork"}
    for workers in (1, 2):
        with pytest.raises(UnknownValue, match="legal: make_loader's load_state_dict"):
            list(torch.utils.data.DataLoader(stream, 4, **context | {"num_workers": workers}))
    # A beginning is none to go on from.
    stream.load_state_dict(stream.state_dict() | {"position": 0})
    assert len(flat(ct.make_loader(stream, 8, workers=1))) == len(stream)


def test_samples_share_nothing_with_their_copies_or_other_processes(store: cz.Store) -> None:
    for make in MADE.values():
        samples = make(store)
        for copied in (copy.copy(samples), copy.deepcopy(samples)):
            copied.set_epoch(5)
        child = os.fork()
        if child == 0:
            samples.set_epoch(7)
            os._exit(0)
        os.waitpid(child, 0)
        assert samples.epoch == 0


def test_one_pass_of_a_loader_at_a_time(store: cz.Store) -> None:
    for workers in (0, 2):
        loader = ct.make_loader(ct.Dataset(store, cz.Patches(8)), 4, workers=workers, shuffle=True)
        older = iter(loader)
        next(older)
        newer = iter(loader)
        with pytest.raises(UnknownValue, match="a later pass of this loader has begun; legal: one pass"):
            next(older)
        assert len(list(newer)) == len(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_fails_is_not_the_last(store: cz.Store, workers: int) -> None:
    loader = ct.make_loader(ct.Dataset(store, cz.Slices(), transform=failing), 8, workers=workers)
    begun, whole, failed = iter(loader), 0, 0
    for _ in range(len(loader)):
        try:
            next(begun)
            whole += 1
        except ValueError:
            failed += 1
    assert failed == len(store)
    assert next(begun, None) is None
    assert loader.state_dict()["batches"] == whole + failed == len(loader)


def test_an_epoch_set_later_is_saved_as_its_beginning(store: cz.Store) -> None:
    for kind, make in MADE.items():
        loader = ct.make_loader(make(store), 8, workers=0, shuffle="dataset" in kind)
        for _ in loader:
            pass
        loader.set_epoch(5)
        state = loader.state_dict()
        assert (state["epoch"], state["batches"]) == (5, 0)
        assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("even", [False, True])
def test_ranks_share_what_there_is(store: cz.Store, kind: str, even: bool) -> None:
    options: dict[str, Any] = {"workers": 0, "even": even}
    if "dataset" in kind:
        options["shuffle"] = True
    alone = sorted(flat(ct.make_loader(MADE[kind](store), 5, workers=0)))
    loaders = [ct.make_loader(MADE[kind](store), 5, rank=rank, ranks=3, **options) for rank in range(3)]
    parts = [flat(loader) for loader in loaders]
    shared = sorted(key for part in parts for key in part)
    if even:
        assert len({len(part) for part in parts}) == len({len(loader) for loader in loaders}) == 1
        assert len(shared) == len(alone) - len(alone) % 3
        assert not set(shared) - set(alone)
    else:
        assert shared == alone


def test_ranks_are_those_of_torch_distributed(store: cz.Store, tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        loader = ct.make_loader(MADE["slices"](store), 8, workers=0)
        # Even: ranks that have more would wait for ever for those that have fewer.
        assert loader.state_dict()["rank"] == [0, 1, True]
    finally:
        torch.distributed.destroy_process_group()
    with pytest.raises(UnknownValue, match="rank 1 of ranks None; legal: both or none"):
        ct.make_loader(MADE["slices"](store), rank=1)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("kind", MADE)
def test_the_length_is_that_of_a_pass(store: cz.Store, kind: str, drop_last: bool) -> None:
    for workers in (0, 2, 3):
        loader = ct.make_loader(MADE[kind](store), 7, workers=workers, drop_last=drop_last)
        sizes = [len(batch["image"]) for batch in loader]
        assert len(sizes) == len(loader)
        assert not drop_last or set(sizes) == {7}


def test_a_plain_dataloader_takes_every_kind(store: cz.Store) -> None:
    for make in MADE.values():
        alone = sorted(flat(torch.utils.data.DataLoader(make(store), 4)))
        context = {"num_workers": 2, "multiprocessing_context": "fork"}
        assert sorted(flat(torch.utils.data.DataLoader(make(store), 4, **context))) == alone
        assert issubclass(type(make(store)), torch.utils.data.Dataset)
    volumes = torch.utils.data.DataLoader(ct.Dataset(store, cz.Volumes()), None, num_workers=1)
    assert [volume["index"] for volume in volumes] == list(range(len(store)))


def test_a_pickled_dataset_is_one_of_its_own(store: cz.Store) -> None:
    dataset = MADE["patch dataset"](store)
    other = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own
    dataset.set_epoch(5)
    assert (dataset.epoch, other.epoch) == (5, 0)
    assert np.array_equal(other[3]["image"], cz.Dataset(store, cz.Patches(16))[3]["image"])


def test_what_a_loader_cannot_load_is_refused(store: cz.Store) -> None:
    with pytest.raises(
        UnknownValue, match="Dataset to load from; legal: a Dataset or Stream of ctspine_zarr"
    ):
        ct.make_loader(cz.Dataset(store, cz.Slices()))  # type: ignore[arg-type]
    for options, message in (
        ({"start_method": "thread"}, r"unknown start_method for .* 'thread'; legal: "),
        ({"batch_size": 0}, "batch_size 0; legal: an integer from 1"),
        ({"workers": -1}, "workers -1; legal: an integer from 0"),
        ({"seed": -1}, "seed -1; legal"),
        ({"rank": 0.5, "ranks": 2}, "rank 0.5; legal"),
        ({"rank": 2, "ranks": 2}, "below its count"),
        ({"workers": 0, "prefetch_factor": 2}, "prefetch_factor 2 without workers; legal: None"),
        ({"prefetch_factor": 0}, "prefetch_factor 0; legal"),
    ):
        settings: dict[str, Any] = {"batch_size": 2, "workers": 1} | options
        with pytest.raises(UnknownValue, match=message):
            ct.make_loader(ct.Dataset(store, cz.Slices()), **settings)


def seed_of(worker: int, found: Any) -> None:
    found[worker] = 1


def test_a_users_worker_init_is_called(store: cz.Store) -> None:
    found = torch.zeros(2).share_memory_()
    init = functools.partial(seed_of, found=found)
    list(ct.make_loader(MADE["slices"](store), 32, workers=2, worker_init_fn=init))
    assert found.tolist() == [1, 1]


def noisy(_: Any) -> dict[str, float]:
    return {"torch": float(torch.rand(1)), "python": random.random()}


def test_what_a_loader_is_told_is_done(store: cz.Store) -> None:
    def drawn(seed: int) -> list[dict[str, float]]:
        loader = ct.make_loader(
            ct.Dataset(store, cz.Slices(every=20), transform=noisy), 4, workers=1, seed=seed, collate_fn=list
        )
        return [sample for batch in loader for sample in batch]

    assert drawn(1) == drawn(1) != drawn(2)
    assert ct.make_loader(ct.Dataset(store, cz.Slices()), workers=1, prefetch_factor=5).prefetch_factor == 5
    assert ct.make_loader(ct.Dataset(store, cz.Slices()), workers=1).prefetch_factor == 2
    assert ct.make_loader(ct.Dataset(store, cz.Slices()), workers=1, pin_memory=True).pin_memory


def failing(sample: Any) -> Any:
    if sample["slice_index"] == 3:
        message = "a transform's own"
        raise ValueError(message)
    return sample


def test_a_workers_error_is_raised_here_and_the_next_pass_works(store: cz.Store) -> None:
    loader = ct.make_loader(ct.Stream(store, cz.Slices(), transform=failing), 8, workers=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="a transform's own"):
            list(loader)


def test_batches_of_neighbours_decode_a_slab_once(store: cz.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with decoded(monkeypatch) as count:
        next(iter(ct.make_loader(ct.Dataset(store, cz.Slices()), DEFAULT_CHUNK[0], workers=0)))
    assert count[0] <= 2 * 4


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (64, 8)])
def test_workers_are_one_less_than_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr("ctspine_zarr.torch.loader.usable_cores", lambda: cores)
    assert default_workers() == workers


INTERRUPTED = """
import sys, time
import ctspine_zarr as cz
from ctspine_zarr import Slices
from ctspine_zarr.torch import Stream, make_loader
if __name__ == "__main__":
    store = cz.open_store(sys.argv[1]).select(split="train")
    loader = make_loader(Stream(store, Slices()), 2, workers=2, start_method=sys.argv[2])
    for batch in loader:
        print("batch", flush=True)
        time.sleep(0.2)
"""


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_ends_the_workers(store: cz.Store, tmp_path: Path, method: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, script, store.location, method],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    # The second batch is the second worker's: both are at work.
    assert [process.stdout.readline() for _ in range(2)] == ["batch\n"] * 2
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_monai_transforms_compose(store: cz.Store) -> None:
    transforms = pytest.importorskip("monai.transforms", reason="needs MONAI: pip install monai")
    names = ["image", "segmentation"]
    compose = transforms.Compose(
        [
            transforms.ScaleIntensityRanged("image", -450, 1050, 0, 1, clip=True),
            transforms.RandFlipd(names, prob=1.0, spatial_axis=2),
            transforms.RandRotate90d(names, prob=0.5, spatial_axes=(1, 2)),
            transforms.EnsureTyped(names),
        ]
    )
    options: dict[str, Any] = {"strategy": cz.Foreground(probability=1), "patches_per_region": 1}
    stream = ct.Stream(store, cz.Patches(24, channel=True, **options), transform=compose)
    plain = {key_of(sample): sample for sample in cz.Stream(store, cz.Patches(24, channel=True, **options))}
    batches = list(ct.make_loader(stream, 4, workers=2))
    assert sum(len(batch["image"]) for batch in batches) == len(plain) == 20
    for batch in batches:
        assert batch["image"].shape[1:] == (1, 24, 24, 24)
        for at, (name, start) in enumerate(zip(batch["patient_id"], batch["start"].tolist(), strict=True)):
            before = plain[name, tuple(start)]
            expected = np.clip((before["image"] + 450) / 1500, 0, 1)
            assert float(batch["image"][at].sum()) == pytest.approx(float(expected.sum()), rel=1e-4)
            assert int(batch["segmentation"][at].sum()) == int(before["segmentation"].sum())


def key_of(sample: Any) -> tuple[str, tuple[int, ...]]:
    return sample["patient_id"], tuple(sample["start"].tolist())


def test_a_store_behind_a_web_server_is_loaded_by_workers_that_can_read(store: cz.Store) -> None:
    with served(folder(Path(store.location))) as url:
        remote = cz.open_store(url).select(split="train")
        stream: ct.Stream[cz.TrainingSample] = ct.Stream(remote, cz.Slices(), buffer=3)
        loader = ct.make_loader(stream, 8, workers=2)
        assert type(loader.multiprocessing_context).__name__ == "ForkServerContext"
        local = ct.make_loader(ct.Stream(store, cz.Slices(), buffer=3), 8, workers=2)
        assert keys(loader) == keys(local)
        with pytest.raises(UnknownValue, match=r"unknown start_method for http://.* 'fork'; legal: spawn"):
            ct.make_loader(stream, 8, workers=2, start_method="fork")
