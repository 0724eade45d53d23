"""One bit of a store flipped, or two objects swapped: `verify` tells it, and no read is wrong in silence."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hostile import Objects, build_every_kind, facts_of, fresh_seed, many, put_for_now, truth_of
from stores import catalog_of, objects
from trees import NnunetTree

import ctspine_zarr as cz
from ctspine_zarr.errors import DamagedStore, NotAStore, StorageError
from ctspine_zarr.format.codecs import with_checksum

pytestmark = pytest.mark.usefixtures("engine")

type Truth = dict[str, dict[str, Any]]

DOCUMENTED: Final = (DamagedStore, NotAStore, StorageError)
IMAGE: Final = "image/c/0/0/0"
MASK: Final = "labels/structures"


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a case that replaced another, one with an extension, one without a mask."""
    return build_every_kind(tmp_path_factory.mktemp("flips"))


@pytest.fixture(scope="module")
def before(location: Path) -> Objects:
    return objects(location)


@pytest.fixture(scope="module")
def paths(location: Path) -> dict[str, str]:
    """Case id -> path of its group."""
    return {case: one.record.path for case, one in cz.open_store(location).items()}


@pytest.fixture(scope="module")
def truth(location: Path) -> Truth:
    return truth_of(cz.open_store(location))


def problems(location: Path, *cases: str) -> list[str]:
    """What `verify` says of a store, or of some cases, each by its id, and all that lies above them."""
    try:
        result = cz.verify(location, cases=cases)
    except (NotAStore, StorageError) as error:
        return [str(error)]
    of_cases = (f"{one.case}: {problem}" for one in result.cases for problem in one.problems)
    return [*result.problems, *of_cases]


def case_of(paths: dict[str, str], key: str) -> str | None:
    """The case that an object or receipt is of."""
    for case, path in paths.items():
        if key.startswith(f"{path}/") or key == receipt_of(path):
            return case
    return None


def receipt_of(path: str) -> str:
    return f"receipts/{path.rpartition('/')[2]}.json"


def names_of(paths: dict[str, str], key: str, location: Path) -> tuple[str, ...]:
    """How the problem of an object begins, and that of no other."""
    case = case_of(paths, key)
    if case is not None:
        is_receipt = key == receipt_of(paths[case])
        return (f"{case}: its receipt " if is_receipt else f"{case}: {key.removeprefix(paths[case] + '/')} ",)
    if key == "zarr.json":
        return f"{location}: {key} is damaged ", f"{location} is a store of another version "
    return (f"{location}: {key} was altered: ",) if key.startswith("catalog-") else (f"{key} is missing or ",)


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


def require_seen(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str], flip: tuple[str, int, int]
) -> None:
    key, at, bit = flip
    altered = bytearray(before[key])
    altered[at] ^= 1 << bit
    case = case_of(paths, key)
    cases = sorted(truth) if case is None else [case]
    with put_for_now(location, {key: bytes(altered)}, before):
        wrong = list(wrong_reads(location, truth, cases, shard="/c/" in key))
        assert not wrong, f"{key}, byte {at}, bit {bit}: {wrong}"
        told = problems(location, *cases)
        is_named = any(problem.startswith(names_of(paths, key, location)) for problem in told)
        assert is_named, f"{key}, byte {at}, bit {bit}: {told}"


def flips(before: Objects, chooser: random.Random, count: int) -> Iterator[tuple[str, int, int]]:
    """Half of them anywhere by bytes, so most in shards; half by objects, so that each has its share."""
    keys = sorted(before)
    sizes = [len(before[key]) for key in keys]
    for number in range(count):
        [key] = chooser.choices(keys, sizes) if number % 2 else [chooser.choice(keys)]
        yield key, chooser.randrange(len(before[key])), chooser.randrange(8)


@pytest.mark.parametrize(
    "count", [150, pytest.param(many(20_000), marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_one_flipped_bit_anywhere_is_told_and_never_read_wrong(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str], count: int
) -> None:
    for flip in flips(before, random.Random(fresh_seed()), count):
        require_seen(location, before, truth, paths, flip)
    assert objects(location) == before
    assert not problems(location)


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_a_flip_in_every_byte_of_the_root_is_told(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str], bits: int
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
                [problem] = problems(location)
                assert problem.startswith(names_of(paths, "zarr.json", location)), f"byte {at}, bit {bit}"
    assert not list(wrong_reads(location, truth, sorted(truth)))


def test_a_flip_in_the_version_of_a_receipt_is_told_as_that_of_any_digit(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str]
) -> None:
    for key in before:
        if key.startswith("receipts/"):
            at = before[key].index(b'"format": 2') + len('"format": ')
            for bit in range(8):
                require_seen(location, before, truth, paths, (key, at, bit))


# -- two things of equal size in each other's place


def swap(before: Objects, one: str, other: str) -> Objects:
    """Two objects in each other's place: other bytes, else nothing would be swapped."""
    assert before[one] != before[other]
    return {one: before[other], other: before[one]}


def keys_of(before: Objects, ending: str) -> list[str]:
    return sorted(key for key in before if key.endswith(ending))


# Of the same shape and settings, `a` and `t` differ in voxels alone.
@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ("a", "t", IMAGE),
        ("a", "b", IMAGE),
        ("a", "b", "image/zarr.json"),
        ("a", "b", f"{MASK}/segmentation/c/0/0/0"),
        ("a", "b", f"{MASK}/segmentation/zarr.json"),
        ("a", "b", f"{MASK}/zarr.json"),
        ("a", "b", "zarr.json"),
        ("a", "t", "zarr.json"),
        ("b", "t", "zarr.json"),
    ],
)
def test_objects_of_two_cases_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str], one: str, other: str, key: str
) -> None:
    keys = [f"{paths[case]}/{key}" for case in (one, other)]
    with put_for_now(location, swap(before, *keys), before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        told = {" ".join(problem.split(" ")[:2]) for problem in problems(location)}
        assert told == {f"{one}: {key}", f"{other}: {key}"}


def test_the_list_of_masks_is_the_same_in_every_case(before: Objects, paths: dict[str, str]) -> None:
    """So that there is nothing to be told of two in each other's place."""
    one, other = (f"{paths[case]}/labels/zarr.json" for case in ("a", "b"))
    assert before[one] == before[other]


def test_receipts_of_two_cases_in_each_others_place_are_told(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str]
) -> None:
    for one, other in itertools.combinations(sorted(truth), 2):
        keys = [receipt_of(paths[case]) for case in (one, other)]
        with put_for_now(location, swap(before, *keys), before):
            assert not list(wrong_reads(location, truth, sorted(truth)))
            told = [problem for problem in problems(location) if "its receipt is damaged" in problem]
            assert [problem[0] for problem in sorted(told)] == [one, other]


def test_a_whole_group_in_the_place_of_another_is_told(
    location: Path, before: Objects, truth: Truth, paths: dict[str, str]
) -> None:
    """Every object, so that each fits the others there."""
    one, other = (f"{paths[case]}/" for case in ("b", "a"))
    new = {key.replace(one, other): data for key, data in before.items() if key.startswith(one)}
    with put_for_now(location, new, before):
        assert not list(wrong_reads(location, truth, sorted(truth)))
        told = {" ".join(problem.split(" ")[:2]) for problem in problems(location)}
        assert told == {f"a: {key.removeprefix(other)}" for key in new if new[key] != before[key]}
        assert len(told) == len(new) - 1, "all but the list of masks are others"


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
    noise = np.random.default_rng(3).integers(-(2**15), 2**15, (64, 64, 16)).astype("int16")
    mask = np.zeros((64, 64, 16), "uint8")
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
            cz.open_store(equal_chunks)["b"].slice(12)
        assert problems(equal_chunks)
