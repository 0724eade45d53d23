"""Documents and shards of a hostile author, every digest fitting: documented errors alone, within bounds."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import crc32c
import numpy as np
import pytest
from click.testing import CliRunner
from hostile import (
    OWN,
    Author,
    Objects,
    Raw,
    build_every_kind,
    dumps,
    many,
    memory_within,
    put_for_now,
    time_within,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import objects

import ctspine_zarr as cz
from ctspine_zarr.cli.main import cli
from ctspine_zarr.errors import CtspineError

MEMORY: Final = 1 << 30
SECONDS: Final = 10.0
# A reader of more than that asks for it himself: the size of what he asks for is in the catalog.
MOST_VOXELS: Final = 1 << 22

NUMBERS: Final = [
    -1,
    0,
    1,
    2,
    255,
    256,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**40,
]
FLOATS: Final = [0.5, -0.0, 1e-320, 1e308, -1e308, 2.0]
TOKENS: Final = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", "-0", "01", "0x10", "1e-999", "1.0e0"),
    *("9" * 5000, "[" * 900 + "]" * 900, "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "nul", ""),
    *('"\\ud800"', '"\\u0000"', '"\\x"', '"\n"', '{"a":1,"a":2}', '"\udc80"'),
]
TEXTS: Final = [
    *("", "x", "x" * 129, "x" * 100_000, "../../x", "/etc/passwd", "a/../../b", "a\\b", "a\0b", "a\nb", "."),
    *(
        "..",
        "CON",
        "nul.txt",
        "zarr.json",
        "receipts",
        "A",
        "a~b",
        "\u202eabc",
        "é",
        "e\u0301",
        "L4",
        "train",
    ),
    *(
        "int16",
        "float64",
        "predict",
        "zstd",
        "foreign",
        "0" * 64,
        "f" * 64,
        "c" * 63,
        "RAS",
        "SSS",
        ">i8",
        "|O",
    ),
]
OTHERS: Final[list[Any]] = [
    None,
    True,
    False,
    [],
    {},
    [[[]]],
    {"": None},
    [1] * 500,
    [None],
    {"a": {"b": []}},
]
JUNK: Final = (OTHERS, NUMBERS, FLOATS, [Raw(token) for token in TOKENS], TEXTS)

type Path_ = tuple[Any, ...]
type Use = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A store to be attacked.

    Attributes:
        location: of it.
        before: its objects.
        author: of what is put in their place.
    """

    location: Path
    before: Objects
    author: Author


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    location = build_every_kind(tmp_path_factory.mktemp("fuzz"))
    before = objects(location)
    use_all(location)
    return Target(location, before, Author(before))


# -- documents, spoilt


def paths_in(document: Any, above: Path_ = ()) -> Iterator[Path_]:
    """Of every value of a document but the document itself."""
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in items:
            yield (*above, key)
            yield from paths_in(value, (*above, key))


def junk(chooser: random.Random) -> Any:
    """A value that is not expected where it will stand."""
    return copy.deepcopy(chooser.choice(chooser.choice(JUNK)))


def spoil(document: Any, chooser: random.Random) -> None:
    """Up to three edits of a document, in place."""
    for _ in range(chooser.choice([1, 1, 1, 2, 3])):
        paths = list(paths_in(document))
        if not paths:
            return
        *above, last = chooser.choice(paths)
        holder = document
        for key in above:
            holder = holder[key]
        _edit(holder, last, document, paths, chooser)


def _edit(holder: Any, last: Any, document: Any, paths: list[Path_], chooser: random.Random) -> None:
    kind = chooser.choice(["junk", "junk", "junk", "near", "other", "delete", "rename", "add"])
    value = holder[last]
    if kind == "junk":
        holder[last] = junk(chooser)
    elif kind == "near":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        holder[last] = value + chooser.choice([-1, 1, 0.5, 1e9]) if is_number else [value]
    elif kind == "other":
        holder[last] = copy.deepcopy(_at(document, chooser.choice(paths)))
    elif kind == "delete":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    else:
        # A key of its own, or, as JSON allows it, one that is there twice.
        name = chooser.choice([*TEXTS, *map(str, NUMBERS)])
        holder[name] = holder.pop(last) if kind == "rename" else junk(chooser)


def _at(document: Any, path: Path_) -> Any:
    for key in path:
        document = document[key]
    return document


def spoilt(target: Target, chooser: random.Random) -> Objects:
    """A root, line of the catalog, record, receipt or group of a hostile author, and all that proves it."""
    author = target.author
    kind = chooser.choice(["root", "line", "record", "record", "receipt", "group", "array"])
    case = chooser.choice(sorted(author.groups))
    path = author.groups[case]
    if kind == "root":
        root = json.loads(target.before["zarr.json"])
        spoil(root, chooser)
        return author.root(root)
    if kind == "line":
        lines = [json.loads(line) for line in target.before[author.catalog].splitlines()]
        spoil(lines, chooser)
        return author.lines(lines)
    if kind == "record":
        record = author.record(case)
        spoil(record, chooser)
        return author.case(case, record=record)
    if kind == "receipt":
        receipt = json.loads(target.before[author.receipts[case]])
        spoil(receipt, chooser)
        return author.case(case, receipt=receipt)
    key = f"{path}/zarr.json" if kind == "group" else f"{path}/image/zarr.json"
    document = json.loads(target.before[key])
    spoil(document["attributes"][OWN] if kind == "group" else document, chooser)
    foreign: dict[str, Any] | None = None
    if kind == "array":
        foreign = author.record(case)
        foreign["image"]["codec"] = "foreign"
    return author.case(case, objects={key: dumps(document)}, record=foreign)


# -- what is done with them


def cases_of(location: Path) -> list[cz.Case]:
    """Those of which a whole volume is little."""
    return [
        case for case in cz.open_store(location).values() if np.prod(case.shape, dtype=float) < MOST_VOXELS
    ]


def each_case(use: Callable[[cz.Case], object]) -> Use:
    def use_each(location: Path) -> None:
        for case in cases_of(location):
            with contextlib.suppress(CtspineError):
                use(case)

    return use_each


def command(*arguments: str) -> Use:
    def run(location: Path) -> None:
        done = CliRunner().invoke(cli, [arguments[0], str(location), *arguments[1:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in {0, 1, 2, 4}, done.output

    return run


def export(case: cz.Case) -> None:
    """Nothing is ever written but below the output."""
    output = Path(case._storage.location).parent / "out"
    for path in cz.export(case, output, overwrite=True):
        assert path.resolve().is_relative_to(output.resolve())


USES: Final[dict[str, Use]] = {
    "verify": cz.verify,
    "table": lambda location: cz.open_store(location).cases,
    "select": lambda location: cz.open_store(location).select(
        split="train", has_label="L4", min_slices=3, without_finding="stray_label"
    ),
    "slices": each_case(lambda case: case.slices([0, -1])),
    "patch": each_case(lambda case: case.patch(center=tuple(n // 2 for n in case.shape), size=8)),
    "xarray": each_case(lambda case: case.to_xarray(world=True).image[0].compute()),
    "nibabel": each_case(lambda case: case.to_nibabel().get_fdata()),
    "mask": each_case(lambda case: case.to_nibabel("segmentation")),
    "canonical": each_case(lambda case: case.to_nibabel(original=False)),
    "receipt": each_case(lambda case: (case.receipt, case.facts)),
    "export": each_case(export),
    "repr": each_case(repr),
    "info": command("info"),
    "info a": command("info", "a"),
    "info a as json": command("info", "a", "--json"),
}


def use_all(location: Path) -> None:
    """Once, so that what is imported on the way is there and counted."""
    for use in USES.values():
        use(location)


def require_documented(location: Path, name: str) -> None:
    """Nothing but a documented error, no more memory than is there, and soon."""
    with memory_within(MEMORY), time_within(SECONDS, name), contextlib.suppress(CtspineError):
        USES[name](location)


FUZZ: Final = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def attack(target: Target, chooser: random.Random) -> None:
    new = spoilt(target, chooser)
    name = chooser.choice(sorted(USES))
    with put_for_now(target.location, new, target.before):
        require_documented(target.location, name)


@settings(FUZZ, max_examples=200)
@given(st.randoms(use_true_random=True))
def test_any_document_is_read_or_a_documented_error(target: Target, chooser: random.Random) -> None:
    attack(target, chooser)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(FUZZ, max_examples=many(20_000))
@given(st.randoms(use_true_random=True))
def test_many_documents_are_read_or_a_documented_error(target: Target, chooser: random.Random) -> None:
    attack(target, chooser)


# -- shards


def spoilt_shard(shard: bytes, chooser: random.Random) -> bytes:
    """Chunks, their headers and the index altered, and the checksums of all of them right again."""
    count = 2
    at = len(shard) - 16 * count - 4
    index = list(struct.unpack_from(f"<{2 * count}Q", shard, at))
    chunks = [bytearray(shard[index[2 * i] : index[2 * i] + index[2 * i + 1] - 4]) for i in range(count)]
    for number in chooser.choices(range(count), k=chooser.randrange(3)):
        _spoil_chunk(chunks[number], chooser)
    bodies = [bytes(chunk) + crc32c.crc32c(bytes(chunk)).to_bytes(4, "little") for chunk in chunks]
    sizes = [len(body) for body in bodies]
    index = [value for i in range(count) for value in (sum(sizes[:i]), sizes[i])]
    for position in chooser.choices(range(2 * count), k=chooser.randrange(3)):
        edges = [
            0,
            1,
            2**63 - 1,
            2**63,
            2**64 - 1,
            2**32,
            chooser.randrange(2**64),
            chooser.randrange(20_000),
        ]
        index[position] = chooser.choice(edges)
    packed = struct.pack(f"<{2 * count}Q", *index)
    return b"".join(bodies) + packed + crc32c.crc32c(packed).to_bytes(4, "little")


def _spoil_chunk(chunk: bytearray, chooser: random.Random) -> None:
    kind = chooser.choice(["byte", "word", "cut", "longer", "empty"])
    if kind == "byte":
        at = chooser.randint(0, 40)
        chunk[at : at + 1] = [chooser.randint(0, 255)]
    elif kind == "word":
        at = chooser.randint(0, 9) * 4
        chunk[at : at + 4] = struct.pack("<I", chooser.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
    elif kind == "cut":
        del chunk[chooser.randint(0, len(chunk)) :]
    elif kind == "longer":
        chunk += bytes(chooser.randint(1, 5000))
    else:
        chunk.clear()
    if chooser.random() < 0.5 and len(chunk) >= 16:
        # blosc's own header says how long the chunk is.
        chunk[12:16] = struct.pack("<I", len(chunk))


def attack_shard(target: Target, chooser: random.Random) -> None:
    """In the store the catalog and the receipt are right for the shard, as a hostile author would have it."""
    case, array = chooser.choice([("a", "image"), ("t", "image"), ("b", "segmentation")])
    author = target.author
    folder = "image" if array == "image" else "labels/structures/segmentation"
    key = f"{author.groups[case]}/{folder}/c/0/0/0"
    shard = spoilt_shard(target.before[key], chooser)
    record = author.record(case)
    record[array] |= {"bytes": len(shard), "index_crc32c": int.from_bytes(shard[-4:], "little")}
    if chooser.random() < 0.5:
        record[array]["codec"] = chooser.choice(["predict", "zstd", "blosc-zstd", "foreign"])
    new = author.case(case, objects={key: shard}, record=record)
    name = chooser.choice(["verify", "slices", "patch", "nibabel", "mask", "canonical"])
    with put_for_now(target.location, new, target.before):
        require_documented(target.location, name)


@settings(FUZZ, max_examples=100)
@given(st.randoms(use_true_random=True))
def test_any_shard_is_read_or_a_documented_error(target: Target, chooser: random.Random) -> None:
    attack_shard(target, chooser)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(FUZZ, max_examples=many(10_000))
@given(st.randoms(use_true_random=True))
def test_many_shards_are_read_or_a_documented_error(target: Target, chooser: random.Random) -> None:
    attack_shard(target, chooser)
