"""One bit of a store flipped, or two objects swapped: `verify` tells it, and no read is wrong in silence."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hostile import Objects, build_every_kind, facts_of, fresh_seed, put_for_now, truth_of
from stores import catalog_of, objects
from trees import NnunetTree

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, NotAStore, StorageError
from ctspine_zarr.format.codecs import with_checksum

type Truth = dict[str, dict[str, Any]]

DOCUMENTED: Final = (DamagedStore, NotAStore, StorageError)
IMAGE: Final = "image/c/0/0/0"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a case that replaced another, one with an extension, one without a mask."""
    return build_every_kind(tmp_path_factory.mktemp("flips"))


@pytest.fixture(scope="module")
def before(location: Path) -> Objects:
    return objects(location)


@pytest.fixture(scope="module")
def truth(location: Path) -> Truth:
    return truth_of(cz.open_store(location))


def problems(location: Path, *cases: str) -> list[str]:
    """What `verify` says of a store, or of some of its cases and all that lies above them."""
    try:
        result = cz.verify(location, cases=cases)
    except (NotAStore, StorageError) as error:
        return [str(error)]
    return [*result.problems, *(problem for report in result.cases for problem in report.problems)]


def concerned(store_truth: Truth, key: str) -> list[str]:
    """Cases that an object may be of: one that has a group or receipt of that name, else all."""
    names = {part.partition("~")[0].removesuffix(".json") for part in key.split("/")}
    return sorted(names & set(store_truth)) or sorted(store_truth)


def wrong_reads(location: Path, truth: Truth, cases: list[str], *, shard: bool = False) -> Iterator[str]:
    """What a reader is given that is neither the truth nor a documented error.

    Where it is known that only a shard was touched, files are not made of voxels that are read anyway.
    """
    try:
        store = cz.open_store(location)
        if sorted(store) != sorted(truth):
            yield f"cases {sorted(store)}"
    except DOCUMENTED:
        return
    for case in cases:
        for name, read in facts_of(store, case).items():
            if shard and name.startswith("nibabel"):
                continue
            try:
                if read() != truth[case][name]:
                    yield f"{name} of {case} is wrong"
            except DOCUMENTED:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                yield f"{name} of {case}: {error!r}"


def require_seen(location: Path, before: Objects, truth: Truth, flip: tuple[str, int, int]) -> None:
    key, at, bit = flip
    altered = bytearray(before[key])
    altered[at] ^= 1 << bit
    cases = concerned(truth, key)
    with put_for_now(location, {key: bytes(altered)}, before):
        wrong = list(wrong_reads(location, truth, cases, shard="/c/" in key))
        assert not wrong, f"{key}, byte {at}, bit {bit}: {wrong}"
        assert problems(location, *cases), f"{key}, byte {at}, bit {bit}: verify names nothing"


def flips(before: Objects, chooser: random.Random, count: int) -> Iterator[tuple[str, int, int]]:
    """Half of them anywhere by bytes, so most in shards; half by objects, so that each has its share."""
    keys = sorted(before)
    sizes = [len(before[key]) for key in keys]
    for number in range(count):
        [key] = chooser.choices(keys, sizes) if number % 2 else [chooser.choice(keys)]
        yield key, chooser.randrange(len(before[key])), chooser.randrange(8)


@pytest.mark.parametrize(
    "count", [400, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_one_flipped_bit_anywhere_is_told_and_never_read_wrong(
    location: Path, before: Objects, truth: Truth, count: int
) -> None:
    for flip in flips(before, random.Random(fresh_seed()), count):
        require_seen(location, before, truth, flip)
    assert objects(location) == before
    assert not problems(location)


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_a_flip_in_every_byte_of_the_root_is_told(
    location: Path, before: Objects, truth: Truth, bits: int
) -> None:
    chooser = random.Random(fresh_seed())
    root = before["zarr.json"]
    for at in range(len(root)):
        for bit in chooser.sample(range(8), bits):
            altered = bytearray(root)
            altered[at] ^= 1 << bit
            with put_for_now(location, {"zarr.json": bytes(altered)}, before):
                with pytest.raises(DOCUMENTED):
                    cz.open_store(location)
                assert problems(location), f"byte {at}, bit {bit}"
    assert not list(wrong_reads(location, truth, sorted(truth)))


def test_a_flip_in_the_version_of_a_receipt_is_told_as_that_of_any_digit(
    location: Path, before: Objects, truth: Truth
) -> None:
    for key in before:
        if key.startswith("receipts/"):
            at = before[key].index(b'"format": 2') + len('"format": ')
            for bit in range(8):
                require_seen(location, before, truth, (key, at, bit))


# -- two things of equal size in each other's place


def swapped(before: Objects, one: str, other: str) -> Objects:
    return {one: before[other], other: before[one]}


def keys_of(before: Objects, ending: str) -> list[str]:
    return sorted(key for key in before if key.endswith(ending))


@pytest.mark.parametrize(
    "ending", [IMAGE, "segmentation/c/0/0/0", "image/zarr.json", "structures/zarr.json", "labels/zarr.json"]
)
def test_objects_of_two_cases_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth, ending: str
) -> None:
    one, other, *_ = keys_of(before, ending)[::-1]
    is_same = before[one] == before[other]
    with put_for_now(location, swapped(before, one, other), before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        assert bool(problems(location)) != is_same


def test_groups_of_two_cases_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth
) -> None:
    one, other, *_ = (
        key for key in before if key.endswith(("/b/zarr.json", "31665c/zarr.json", "t/zarr.json"))
    )
    with put_for_now(location, swapped(before, one, other), before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        assert problems(location)


def test_receipts_of_two_cases_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth
) -> None:
    one, other, *_ = (key for key in before if key.startswith("receipts/"))
    with put_for_now(location, swapped(before, one, other), before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        assert len([p for p in problems(location) if "receipt" in p]) >= 2


def test_a_whole_group_in_the_place_of_another_is_told(location: Path, before: Objects, truth: Truth) -> None:
    """Every object, so that each fits the others there."""
    [one] = (key.removesuffix("zarr.json") for key in before if key.endswith("/b/zarr.json"))
    [other] = (group for key in before if (group := key.partition("image/c/")[0]) != key and "/a~" in key)
    new = {key.replace(one, other): data for key, data in before.items() if key.startswith(one)}
    with put_for_now(location, new, before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        assert problems(location)


def test_catalogs_of_two_stores_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth, tmp_path: Path
) -> None:
    """The other one has the same cases, of other voxels."""
    other = build_every_kind(tmp_path)
    theirs = catalog_of(other).read_bytes().replace(b'"mean":', b'"mean": 1')
    with put_for_now(location, {catalog_of(location).name: theirs}, before):
        assert problems(location)
        assert not list(wrong_reads(location, truth, sorted(truth)))
    with put_for_now(location, {"zarr.json": (other / "zarr.json").read_bytes()}, before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        digest = cz.open_store(other).digest
        assert cz.verify(location, digest=digest).is_whole, "two builds of one source are one store"


@pytest.fixture(scope="module")
def equal_chunks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose case `b` has two chunks of equal stored size and other voxels: they do not compress."""
    root = tmp_path_factory.mktemp("chunks")
    tree = NnunetTree(root / "source")
    noise = np.random.default_rng(3).integers(-(2**15), 2**15, (64, 64, 32)).astype("int16")
    mask = np.zeros((64, 64, 32), "uint8")
    mask[3:9, 3:9, 3:9] = 23
    tree.add("b", noise, mask)
    cz.build_store(cz.plan_build(tree.root, root / "s.zarr", workers=1))
    return root / "s.zarr"


def chunks_of(shard: bytes, count: int) -> list[bytes]:
    index = struct.unpack_from(f"<{2 * count}Q", shard, len(shard) - 16 * count - 4)
    return [shard[at : at + size] for at, size in zip(index[::2], index[1::2], strict=True)]


def test_two_chunks_of_one_shard_in_each_others_place_are_told(equal_chunks: Path) -> None:
    before = objects(equal_chunks)
    [key] = keys_of(before, IMAGE)
    shard = before[key]
    first, second = chunks_of(shard, 2)
    assert len(first) == len(second)
    assert first != second
    assert first + second == shard[: 2 * len(first)]
    with put_for_now(equal_chunks, {key: second + first + shard[2 * len(first) :]}, before):
        assert [p for p in problems(equal_chunks) if "was altered: its sha256" in p]
        # A read cannot tell: no checksum of a chunk covers its place. `verify` is what does.
        cz.open_store(equal_chunks)["b"].slice(0)


def test_a_shard_whose_index_is_another_is_an_error_of_a_read(equal_chunks: Path) -> None:
    """Chunks of other sizes, each with its checksum, and an index that fits them."""
    before = objects(equal_chunks)
    [key] = keys_of(before, IMAGE)
    shard = before[key]
    first, second = chunks_of(shard, 2)
    body = with_checksum(first[:-5]) + second + b"\0"
    sizes = (0, len(first) - 1, len(first) - 1, len(second) + 1)
    altered = body + with_checksum(struct.pack("<4Q", *sizes))
    assert len(altered) == len(shard)
    with put_for_now(equal_chunks, {key: altered}, before):
        with pytest.raises(DamagedStore, match="its index is not the one the catalog has"):
            cz.open_store(equal_chunks)["b"].slice(20)
        assert problems(equal_chunks)
